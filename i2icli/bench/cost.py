"""What a training step costs, and what a run takes: one answer wherever it is asked for.

`i2i bench`, `i2i doctor` and `i2i train --dry-run` all measure by `step_cost`, so that they say the
same of the same configuration. Memory is the peak of the first steps less what the imports hold, in
a process that does nothing else; on a GPU, what torch allocated. Time is that of steps after the
first, with its spread.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2icli.bench.measure import FIRST_STEPS, Result
from i2icli.bench.rig import Variant, resize
from i2icli.bench.worker import Spread, measuring, take_turns
from i2icli.config.document import config_document
from i2icli.config.words import human_time
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.system.device import resolve_device
from i2icli.system.memory import free_bytes, in_words

_SMALL = 128  # side of the crop that a CPU is tried with first, pixels
_MOST_SECONDS = 60.0  # that the steps of the run itself may take; else they are estimated
_USABLE = 0.9  # of the free memory: other programs live too


@dataclass(frozen=True)
class StepCost:
    """What a training step of one variant costs, the pictures on the device already.

    Attributes:
        seconds: of each step that counts.
        memory: `peak_bytes` of the first steps, `imports_bytes`, `less_imports_bytes`; None where
            the system does not say.
        state_bytes: weights, gradients, moments and averages, which do not grow with pictures.
        weights_bytes: of the method's weights.
        size_multiple: that sides of pictures are brought to.
        choices: where and how it computed, and notes, see `Bench.choices`.
        rates: of the machine's limit beside each step, by kind; none where they were not asked.
        order: which variant went first, second, in each round.
        flops: of a step, a multiplication and an addition being two; None: not counted.
    """

    name: str
    seconds: Sequence[float]
    memory: Mapping[str, int | None]
    state_bytes: int
    weights_bytes: int
    size_multiple: int
    choices: Mapping[str, Any]
    rates: Mapping[str, Sequence[float]]
    order: Sequence[Sequence[int]]
    flops: int | None

    @property
    def step(self) -> Spread:
        """Seconds of a step."""
        return Spread.of(self.seconds)

    @property
    def memory_bytes(self) -> int | None:
        """The peak, without what the imports hold; None where not known."""
        return self.memory["less_imports_bytes"]

    @property
    def shape(self) -> tuple[int, ...]:
        """The source pictures of a step, (B, C, H, W)."""
        return tuple(self.choices["shape"])


def step_cost(
    variants: Sequence[Variant], *, rounds: int = 0, warmup: int = 0
) -> tuple[StepCost, ...]:
    """Measure training steps, each variant in a process of its own.

    Args:
        variants: one, or two to compare.
        rounds: in each every variant takes one step, and the machine's limit is measured beside
            it; operations are counted afterwards. 0: only the first steps are taken, which is
            quick, and their time counts.
        warmup: rounds before, that do not count.

    Raises:
        I2IError: what went wrong there, as the same kind of error; for example want of memory.
    """
    with measuring(variants) as workers:
        # Alone in their process as yet: what measures the limit takes memory too.
        first = [worker.ask("cost") for worker in workers]
        turns: Result = {
            "answers": [each["seconds"] for each in first],
            "rates": [{} for _ in workers],
            "order": [],
        }
        flops: list[int | None] = [None for _ in workers]
        if rounds:
            for _ in range(warmup):
                for worker in workers:
                    worker.ask("step")
                    worker.ask("rates")
            turns = take_turns(workers, "step", rounds=rounds)
            flops = [worker.ask("flops") for worker in workers]
        choices = [worker.ask("choices") for worker in workers]  # steps may have added notes
    return tuple(
        StepCost(
            name=variant.name,
            **{**first[index], "seconds": turns["answers"][index], "choices": choices[index]},
            rates=turns["rates"][index],
            order=turns["order"],
            flops=flops[index],
        )
        for index, variant in enumerate(variants)
    )


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
        run_parent: that folder.
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

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        shape = " x ".join(map(str, self.measured_shape))
        how = f"scaled by pixels from steps of {shape}" if self.is_scaled else f"measured, {shape}"
        yield f"a step: {human_time(self.step_seconds)} ({how})"
        if self.total_seconds is not None:
            whole = human_time(self.total_seconds)
            yield f"the run: {self.steps:,} steps, {whole}, loading, samples and checkpoints aside"
        if self.memory_bytes is not None and self.available_bytes is not None:
            free = in_words(self.available_bytes)
            yield f"memory: {in_words(self.memory_bytes)} at the peak ({how}), {free} usable"
        if self.largest_crop is not None:
            yield (
                f"largest that fits: crop {self.largest_crop}, or batch {self.largest_batch} at "
                "the run's crop (estimated: activations taken to grow with the pixels)"
            )
        yield (
            f"disk: {in_words(self.disk_needed_bytes)} for checkpoints of about "
            f"{in_words(self.checkpoint_bytes)}, {in_words(self.disk_free_bytes)} free in "
            f"{self.run_parent}"
        )


def measure_needs(config: AnyRunConfig, *, steps: int | None, runs: Path) -> Needs:
    """Measure a step of a run, and work out from it what the run would take.

    Where a CPU has not the memory for it, or it would take long, a smaller step is scaled.

    Args:
        config: of the run, its data resolved.
        steps: of the whole run; None: not known.
        runs: the folder that run folders are made in.

    Raises:
        I2IError: the steps failed, for example for want of memory.
    """
    device = resolve_device(config.runtime.device)
    free = free_bytes(device)
    usable = None if free is None else int(_USABLE * free)
    cost = _measure_or_sample(config, device, usable)
    batch = config.data.batch_size
    measured, wanted = _pixels(cost), _pixels_of_run(config, cost)
    need, per_pixel = _memory(cost, wanted)
    pixels = _pixels_that_fit(cost, per_pixel, usable)
    side = None if pixels is None else int(math.sqrt(pixels / batch))
    parent = Path(os.path.abspath(runs.expanduser()))
    while not parent.is_dir():
        parent = parent.parent
    checkpoint, kept = _checkpoints(config, cost, steps)
    return Needs(
        measured_shape=cost.shape,
        is_scaled=wanted != measured,
        step_seconds=cost.step.median * wanted / measured,
        steps=steps,
        memory_bytes=need,
        available_bytes=usable,
        largest_crop=None if side is None else side // cost.size_multiple * cost.size_multiple,
        largest_batch=None if pixels is None else int(pixels * batch // wanted),
        checkpoint_bytes=checkpoint,
        disk_needed_bytes=checkpoint * kept,
        disk_free_bytes=shutil.disk_usage(parent).free,
        run_parent=str(parent),
        is_writable=os.access(parent, os.W_OK),
    )


def _measure_or_sample(config: AnyRunConfig, device: torch.device, usable: int | None) -> StepCost:
    """Return the cost of the run's step; of a small one where a CPU could not bear the other."""

    def measure(config: AnyRunConfig) -> StepCost:
        return step_cost([Variant(config.preset, config_document(config))])[0]

    if device.type != "cpu" or not config.data.is_cropped:
        return measure(config)
    if config.data.crop <= _SMALL and config.data.batch_size == 1:
        return measure(config)
    # A step that is too large would not fail but make the whole machine swap.
    small = measure(resize(config, min(config.data.crop, _SMALL), 1))
    wanted = _pixels_of_run(config, small)
    need, _ = _memory(small, wanted)
    is_too_large = need is not None and usable is not None and need > usable
    seconds = FIRST_STEPS * small.step.median * wanted / _pixels(small)
    return small if is_too_large or seconds > _MOST_SECONDS else measure(config)


def _pixels(cost: StepCost) -> int:
    batch, _, height, width = cost.shape
    return batch * height * width


def _pixels_of_run(config: AnyRunConfig, cost: StepCost) -> int:
    """Return the pixels of a batch of the run; of whole pictures, those that were measured."""
    if not config.data.is_cropped:
        return _pixels(cost)
    return config.data.batch_size * config.data.crop**2


def _memory(cost: StepCost, wanted: int) -> tuple[int | None, float | None]:
    """Return the peak of a step of `wanted` pixels, and the activations of one pixel, bytes.

    Weights, gradients and moments do not grow with the picture; the rest is taken to grow with
    its pixels.
    """
    peak, measured = cost.memory_bytes, _pixels(cost)
    if peak is None:
        return None, None
    per_pixel = max(0, peak - cost.state_bytes) / measured
    if wanted <= measured:
        return peak, per_pixel
    return int(max(peak, cost.state_bytes + per_pixel * wanted)), per_pixel


def _pixels_that_fit(cost: StepCost, per_pixel: float | None, usable: int | None) -> int | None:
    if per_pixel is None or usable is None or per_pixel <= 0:
        return None
    return max(0, int((usable - cost.state_bytes) / per_pixel))


def _checkpoints(config: AnyRunConfig, cost: StepCost, steps: int | None) -> tuple[int, int]:
    """Return the bytes of a checkpoint, and how many there are at the most at one time."""
    copies = 4 if config.ema.decay else 3
    every = config.checkpoint.keep_every_steps
    kept = (steps or 0) // every if every else 0
    # The last, its successor while it is written, and the best where one is sought.
    return copies * cost.weights_bytes, 2 + bool(config.eval.every_steps) + kept
