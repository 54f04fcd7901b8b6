"""Memory, time and disk that a run would take, from a few measured steps."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from i2icli.bench.measure import Result
from i2icli.bench.rig import Variant
from i2icli.bench.run import resize
from i2icli.bench.turns import measure
from i2icli.config.document import config_document
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.system.device import resolve_device
from i2icli.system.memory import free_bytes

_SMALL = 128  # side of a measured crop on a CPU, pixels: seconds, not minutes
_USABLE = 0.9  # of the free memory: other programs live too
_WHOLE = ("none", "resize", "scale-width")  # no crop decides the size of what is trained on


@dataclass(frozen=True)
class Needs:
    """What a run would take.

    Attributes:
        measured_shape: the batch of the measured steps, (B, C, H, W).
        is_scaled: whether the run's batch is another, so that its numbers are scaled by pixels.
        step_seconds: of one step of the run.
        steps: of the whole run; None: not known without its pictures.
        memory_bytes: peak of a step of the run, imports left out; None: not known here.
        available_bytes: memory that is free now; None: not known here.
        largest_crop: the largest crop that fits at the run's batch size, estimated.
        largest_batch: the largest batch that fits at the run's crop, estimated.
        checkpoint_bytes: of one checkpoint: the weights three times, for the two moments of the
            optimizer, and once more for averages.
        disk_needed_bytes: of all checkpoints that the run keeps, and of the one being written.
        disk_free_bytes: where the run folder would be.
        run_parent: that place.
        is_writable: whether this user may write there.
    """

    measured_shape: tuple[int, ...]
    is_scaled: bool
    step_seconds: float
    steps: int | None
    memory_bytes: int | None
    available_bytes: int | None
    largest_crop: int | None
    largest_batch: int | None
    checkpoint_bytes: int
    disk_needed_bytes: int
    disk_free_bytes: int
    run_parent: str
    is_writable: bool

    @property
    def is_too_large(self) -> bool:
        """Whether a step of the run takes more memory than is free."""
        if self.memory_bytes is None or self.available_bytes is None:
            return False
        return self.memory_bytes > self.available_bytes

    @property
    def total_seconds(self) -> float | None:
        """Seconds of all steps; loading, samples and checkpoints not counted."""
        return None if self.steps is None else self.steps * self.step_seconds


def measure_needs(config: AnyRunConfig, *, steps: int | None, runs: Path) -> Needs:
    """Take a few steps in a fresh process: on a GPU the run's own, on a CPU small ones.

    Args:
        config: of the run, its data settled.
        steps: of the whole run; None: not known.
        runs: the folder that run folders are made in.

    Raises:
        I2IError: the steps failed, for example for want of memory.
    """
    device = resolve_device(config.runtime.device)
    is_small = device.type == "cpu" and config.data.preprocess not in _WHOLE
    small = resize(config, min(config.data.crop, _SMALL), 1) if is_small else config
    variant = Variant(config.preset, config_document(small))
    cost = measure(variant, "cost")
    shape = tuple(cost["shape"])
    measured = shape[0] * shape[2] * shape[3]
    batch = config.data.batch_size
    wanted = batch * config.data.crop**2 if is_small else measured
    free = free_bytes(device)
    usable = None if free is None else int(_USABLE * free)
    need, per_pixel = _memory(cost, measured, wanted)
    pixels = _pixels_that_fit(cost, per_pixel, usable)
    multiple = int(cost["size_multiple"])
    side = None if pixels is None else int(math.sqrt(pixels / batch)) // multiple * multiple
    parent = _existing(runs)
    checkpoint, kept = _checkpoints(config, cost, steps)
    return Needs(
        measured_shape=shape,
        is_scaled=wanted != measured,
        step_seconds=cost["seconds"] * wanted / measured,
        steps=steps,
        memory_bytes=need,
        available_bytes=usable,
        largest_crop=side,
        largest_batch=None if pixels is None else int(pixels * batch // wanted),
        checkpoint_bytes=checkpoint,
        disk_needed_bytes=checkpoint * kept,
        disk_free_bytes=shutil.disk_usage(parent).free,
        run_parent=str(parent),
        is_writable=os.access(parent, os.W_OK),
    )


def _memory(cost: Result, measured: int, wanted: int) -> tuple[int | None, float | None]:
    """Return the peak of a step of `wanted` pixels, and the activations of one pixel, bytes.

    Weights, gradients and moments do not grow with the picture; the rest is taken to grow with
    its pixels.
    """
    peak, state = cost["less_imports_bytes"], cost["state_bytes"]
    if peak is None:
        return None, None
    per_pixel = max(0, peak - state) / measured
    return int(max(peak, state + per_pixel * wanted) if wanted >= measured else peak), per_pixel


def _pixels_that_fit(cost: Result, per_pixel: float | None, usable: int | None) -> int | None:
    """Return how many pixels of a batch fit into memory; None where not known."""
    if per_pixel is None or usable is None or per_pixel <= 0:
        return None
    return max(0, int((usable - cost["state_bytes"]) / per_pixel))


def _checkpoints(config: AnyRunConfig, cost: Result, steps: int | None) -> tuple[int, int]:
    """Return the bytes of a checkpoint, and how many there are at the most at one time."""
    copies = 4 if config.ema.decay else 3
    every = config.checkpoint.keep_every_steps
    kept = (steps or 0) // every if every else 0
    # The last, its successor while it is written, and the best where one is sought.
    return copies * int(cost["weights_bytes"]), 2 + bool(config.eval.every_steps) + kept


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    place = Path(os.path.abspath(folder.expanduser()))
    while not place.is_dir():
        place = place.parent
    return place
