"""The measurements themselves; each is meant for a process of its own, see `bench_child`."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from i2icli.data.loader import build_loader
from i2icli.engine.bench_limit import LimitProbe
from i2icli.engine.bench_rig import Rig, Variant, build_rig
from i2icli.engine.bench_spread import in_turn
from i2icli.errors import I2IError
from i2icli.inference.folder import FolderOptions, translate_jobs
from i2icli.inference.targets import Job
from i2icli.inference.translator import Translator

Result = dict[str, Any]


def measure_steps(variants: Sequence[Variant], *, steps: int, warmup: int) -> Result:
    """Time training steps of all variants in turn, and the machine's limit beside each round.

    Pictures are loaded and on the device beforehand. Afterwards the loader of the first variant
    is timed by itself.

    Args:
        variants: one, or two to compare.
        steps: rounds that count; in each every variant takes one step.
        warmup: rounds before, that do not.

    Returns:
        `seconds`, by variant one number a round; `rates` of the limit, by kind; `order` of the
        variants in each round; `loader`, images/s of several stretches; and what was chosen.
    """
    rigs = [build_rig(variant) for variant in variants]
    probe = LimitProbe(rigs[0].device, rigs[0].precision)
    for _ in range(warmup):
        for rig in rigs:
            rig.step()
        probe.rates()
    seconds: list[list[float]] = [[] for _ in rigs]
    rates: list[dict[str, float]] = []
    orders = list(in_turn(steps, len(rigs)))
    for order in orders:
        for index in order:
            started = time.perf_counter()
            rigs[index].step()
            seconds[index].append(time.perf_counter() - started)
        rates.append(probe.rates())
    return {
        "seconds": seconds,
        "rates": {kind: [rate[kind] for rate in rates] for kind in rates[0]},
        "order": orders,
        "loader": measure_loader(rigs[0], stretches=steps),
        **_choices(rigs[0]),
        "notes": [note for rig in rigs for note in rig.notes],
    }


def measure_loader(rig: Rig, *, stretches: int, batches: int = 4) -> list[float]:
    """Return pictures of each domain a second that the run's loader gives when nobody trains.

    Args:
        rig: whose data set and workers.
        stretches: how often to measure.
        batches: that make one stretch.
    """
    config = rig.config
    workers = config.runtime.workers
    with build_loader(
        rig.dataset,
        config.data,
        seed=config.train.seed,
        start_step=0,
        is_decaying=config.method.schedule.is_decaying,
        workers=workers,
        pin=rig.device.type == "cuda",
    ) as stream:
        # What the workers load ahead of the first batch must not count.
        for _ in range(1 + 2 * workers):
            next(stream)
        found = []
        for _ in range(stretches):
            started = time.perf_counter()
            for _ in range(batches):
                next(stream)
            took = time.perf_counter() - started
            found.append(batches * config.data.batch_size / took)
    return found


def measure_cost(variant: Variant, *, imports_bytes: int | None) -> Result:
    """Measure the peak of memory over training steps, and count the operations of one more.

    Args:
        variant: what to measure.
        imports_bytes: resident memory before anything was built; None where not known.

    Returns:
        `peak_bytes` of the process or the GPU, `less_imports_bytes`, `flops`, `state_bytes`,
        `weights_bytes`, `seconds` of the faster of two steps after a first, and the shape.
    """
    rig = build_rig(variant)
    if rig.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(rig.device)
    seconds = []
    for _ in range(3):  # the optimizers' moments exist from the second on
        started = time.perf_counter()
        rig.step()
        seconds.append(time.perf_counter() - started)
    peak = _peak(rig.device)
    flops = count_operations(rig.step)
    weights = (*rig.method.parameters(), *rig.method.buffers())
    return {
        **_memory(rig.device, peak, imports_bytes),
        "flops": flops,
        "state_bytes": rig.state_bytes(),
        "weights_bytes": sum(w.numel() * w.element_size() for w in weights),
        "seconds": min(seconds[1:]),
        "shape": rig.shape,
        "size_multiple": rig.method.size_multiple,
        **_choices(rig),
        "notes": list(rig.notes),
    }


def count_operations(work: Callable[[], object]) -> int:
    """Return the floating-point operations of matrix products and convolutions in some work.

    A multiplication and an addition are two; backward passes, also inside the forward pass as in
    gradient penalties, count as what they compute.
    """
    counter = FlopCounterMode(display=False)
    # The counter's table by module hooks into autograd in a way that torch.autograd.grad refuses;
    # the total needs no table.
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        work()
    return int(counter.get_total_flops())


class _NoModules:
    """Stands where the counter asks in which module it is: always in the whole."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        """Hook into nothing."""

    def __exit__(self, *exception: object) -> None:
        """Unhook nothing."""


def measure_translation(
    variants: Sequence[Variant],
    *,
    pictures: Sequence[Path],
    out: Path,
    repeats: int,
    batch_size: int | None,
    imports_bytes: int | None,
) -> Result:
    """Time reading, translating and writing pictures as `i2i translate` does, all in turn.

    Args:
        variants: one, or two to compare.
        pictures: the files to translate; none: the test pictures of the data set.
        out: folder to write into; removed after each pass.
        repeats: passes over all pictures that count, after one that does not.
        batch_size: pictures translated together; None: as memory allows.
        imports_bytes: resident memory before anything was built; None where not known.

    Returns:
        `images_per_s`, by variant one number a pass; `pictures`; memory as `measure_cost`.

    Raises:
        I2IError: a picture could not be translated.
    """
    rigs = [build_rig(variant) for variant in variants]
    device = rigs[0].device
    own = rigs[0].domains.test_a or rigs[0].domains.train_a
    sources = list(pictures) or list(own[:16])
    translators = [rig.translator() for rig in rigs]
    for rig in rigs:  # a translator has neither
        rig.batches.clear()
        rig.steppers.clear()
    options = FolderOptions(batch_size=batch_size)
    for translator in translators:
        _one_pass(translator, sources, out, options)
    speeds: list[list[float]] = [[] for _ in rigs]
    for order in in_turn(repeats, len(rigs)):
        for index in order:
            speeds[index].append(_one_pass(translators[index], sources, out, options))
    return {
        "images_per_s": speeds,
        "pictures": len(sources),
        **_memory(device, _peak(device), imports_bytes),
    }


def _one_pass(
    translator: Translator, sources: Sequence[Path], folder: Path, options: FolderOptions
) -> float:
    """Translate all pictures once; return pictures a second."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(source, (folder / f"{number:04d}.png",), source.name)
        for number, source in enumerate(sources)
    ]
    report = translate_jobs(translator, jobs, options)
    shutil.rmtree(folder)
    if report.failures:
        failure = report.failures[0]
        raise I2IError(f"{failure.path} could not be translated: {failure.error}")
    return report.images_per_s


def resident_bytes(field: str) -> int | None:
    """Return what Linux says of this process's memory: VmRSS now, VmHWM at its peak.

    The peak that getrusage gives is no use here: a child inherits its parent's.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return None


def _peak(device: torch.device) -> int | None:
    """Return the most memory taken so far, bytes; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    peak = resident_bytes("VmHWM")
    if peak is not None or sys.platform == "win32":
        return peak
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _memory(device: torch.device, peak: int | None, imports_bytes: int | None) -> Result:
    """Return a peak with and without what the imports hold; a GPU holds nothing of them."""
    before = imports_bytes if device.type == "cpu" else 0
    return {
        "peak_bytes": peak,
        "imports_bytes": before,
        "less_imports_bytes": None if peak is None or before is None else peak - before,
    }


def _choices(rig: Rig) -> Result:
    """Return what the configuration left open."""
    return {
        "device": str(rig.device),
        "device_name": torch.cuda.get_device_name(rig.device) if rig.device.type == "cuda" else "",
        "precision": str(rig.precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "workers": rig.config.runtime.workers,
        "shape": rig.shape,
    }
