"""Pictures through a checkpoint into folders, for measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from i2icli.data.held_out import HeldOut
from i2icli.errors import DataError
from i2icli.evaluation.protocols import Protocol, write_resized
from i2icli.metrics.picture_sets import broken_pictures, find_set
from i2icli.metrics.results import Fact
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system.processes.work_queue import Emit, cut, in_order
from i2icli.system.shares import ALONE, Process
from i2icli.translation.folder import FolderOptions, translate_jobs
from i2icli.translation.sources import find_sources
from i2icli.translation.styles import style_names
from i2icli.translation.targets import Job, Plan, plan_outputs
from i2icli.translation.translator import Translator

_MOST = 32  # pictures that a process takes at once


@dataclass(frozen=True)
class Translated:
    """Folders of equal names: what was fed to the network, and what came out.

    Attributes:
        inputs: what was fed.
        outputs: what came out.
        scale: the choice of the size that the network worked at, see `Translator.translate`.
        styles: what came out in random styles, NAME_style1.png, ...; None where none were wanted.
    """

    inputs: Path
    outputs: Path
    scale: str = "auto"
    styles: Path | None = None


def translate_held_out(
    translator: Translator,
    held_out: HeldOut,
    out: Path,
    *,
    direction: str,
    protocol: Protocol | None,
    styles: int = 0,
    process: Process = ALONE,
    on_done: Callable[[int], None] = lambda _count: None,
) -> Translated:
    """Translate all test pictures into `out`/outputs, as PNG; in random styles into `out`/styles.

    Args:
        translator: what translates.
        held_out: the pictures.
        out: gets outputs/, styles/ where some are wanted, and inputs/ where the protocol resizes
            them.
        direction: of the translator.
        protocol: resizes the inputs, and the network works at that size; None: every picture at
            its own size, worked on at that of training (`Translator.scale`).
        styles: how many random styles to translate each picture in, each picture in its own.
        process: this process' part in the work; all return when all are done.
        on_done: called with the translations that are done here.

    Raises:
        ConfigError: the translator does not offer the direction, or has no styles.
        DataError: naming the pictures that cannot be read; no number leaves any out.
    """
    inputs = held_out.inputs
    find_set(inputs)
    if protocol is not None:
        inputs = resize_all(inputs, out / "inputs", protocol, process=process)
    plan = plan_outputs(find_sources(str(inputs)), out / "outputs")
    scale = scale_by(protocol)
    options = FolderOptions(direction=direction, scale=scale)
    translate_plan(translator, plan, options, on_done=on_done, process=process)
    if not styles:
        return Translated(inputs, out / "outputs", scale)
    done = len(process.share(plan.jobs))
    plan = plan_outputs(find_sources(str(inputs)), out / "styles", styles=style_names(styles))
    seeds = {job: number for number, job in enumerate(plan.jobs)}
    options = replace(options, styles_of=_OwnStyles(translator, styles, seeds))
    translate_plan(
        translator, plan, options, on_done=lambda count: on_done(done + count), process=process
    )
    return Translated(inputs, out / "outputs", scale, out / "styles")


def scale_by(protocol: Protocol | None) -> str:
    """Return the choice of the scale: none by a protocol, which names the size itself."""
    return "auto" if protocol is None else "none"


def translate_folder(
    translator: Translator,
    folder: Path,
    out: Path,
    *,
    scale: str = "auto",
    on_done: Callable[[int], None] = lambda _count: None,
    process: Process = ALONE,
) -> None:
    """Translate or segment all pictures of a folder into another; as `translate_plan`."""
    plan = plan_outputs(find_sources(str(folder)), out)
    options = FolderOptions(scale=scale)
    translate_plan(translator, plan, options, on_done=on_done, process=process)


def translate_plan(
    translator: Translator,
    plan: Plan,
    options: FolderOptions,
    *,
    on_done: Callable[[int], None] = lambda _count: None,
    process: Process = ALONE,
) -> None:
    """Write translations that are to be measured; every measurement's go through here.

    Args:
        translator: what translates, or segments.
        plan: which pictures, and where to.
        options: how.
        on_done: called with the outputs that are written here.
        process: this process' part in the work; all return when all are done.

    Raises:
        ConfigError: the translator does not offer the direction, or has no styles.
        DataError: naming the pictures that cannot be read; no number leaves any out.
    """
    done = 0

    def count(job: Job, _error: str | None) -> None:
        nonlocal done
        done += len(job.targets)
        on_done(done)

    jobs, executor = process.share(plan.jobs), process.executor
    report = translate_jobs(translator, jobs, options, on_done=count, executor=executor)
    refuse_broken([failure.error for failure in report.failures], len(plan.jobs), process)


@dataclass(frozen=True)
class _OwnStyles:
    """Gives every picture styles of its own, the same in every measurement.

    Common styles would make the pictures depend on each other, and the interval too narrow.
    """

    translator: Translator
    count: int
    seeds: Mapping[Job, int]

    def __call__(self, job: Job) -> Tensor:
        return self.translator.styles(self.count, seed=self.seeds[job])


def resize_all(folder: Path, out: Path, protocol: Protocol, *, process: Process = ALONE) -> Path:
    """Write every picture of a folder into `out`, resized as the protocol says; return `out`.

    Raises:
        DataError: naming the pictures that cannot be read.
    """
    plan = plan_outputs(find_sources(str(folder)), out)
    executor = process.executor
    pieces = cut(process.share(plan.jobs), executor.count, most=_MOST)
    faults = [text for part in in_order(executor.run(_Resizing(protocol), pieces)) for text in part]
    refuse_broken(faults, len(plan.jobs), process)
    return out


@dataclass(frozen=True)
class _Resizing:
    """Writes pictures resized; the result is what is wrong with those that cannot be read."""

    protocol: Protocol

    def setup(self) -> Callable[[Sequence[Job], Emit], list[str]]:
        return self._resize

    def describe(self, piece: Sequence[Job]) -> str:
        return f"{piece[0].source} to {piece[-1].source}"

    def _resize(self, jobs: Sequence[Job], _emit: Emit) -> list[str]:
        faults = []
        for job in jobs:
            try:
                write_resized(job.source, job.target, self.protocol)
            except DataError as fault:
                faults.append(str(fault))
        return faults


def refuse_broken(faults: Sequence[str], total: int, process: Process) -> None:
    """Return when every process has come here; refuse what any of them could not read.

    Args:
        faults: what is wrong with pictures of this process' share.
        total: pictures of all processes.
        process: this one of them.

    Raises:
        DataError: naming them, in all processes.
    """
    texts = [text for part in process.collect(list(faults)) for text in part]
    if texts:
        raise broken_pictures([DataError(text) for text in texts], total)


def checkpoint_facts(path: Path) -> dict[str, Fact]:
    """Return the facts of a checkpoint that stand with its numbers.

    Raises:
        CheckpointError: if it is none.
    """
    state = load_checkpoint(path)
    best = state.best.get("step") if state.best else None
    choice = "best over training" if path.name == "best.pt" else "last"
    if path.name not in ("best.pt", "last.pt"):
        choice = f"step {state.step}"
    return {
        "checkpoint": str(path),
        "step": state.step,
        "epoch": state.epoch,
        "choice": choice,
        "best_step": best if isinstance(best, int) else None,
    }
