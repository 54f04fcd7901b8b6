"""Pictures through a checkpoint into folders, for measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from i2icli.data.held_out import HeldOut
from i2icli.errors import DataError
from i2icli.evaluation.protocols import Protocol, write_resized
from i2icli.metrics.picture_sets import broken_pictures, find_set
from i2icli.metrics.results import Fact
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system.shares import ALONE, Shard
from i2icli.translation.folder import FolderOptions, translate_jobs
from i2icli.translation.sources import find_sources
from i2icli.translation.styles import style_names
from i2icli.translation.targets import Job, Plan, plan_outputs
from i2icli.translation.translator import Translator


@dataclass(frozen=True)
class Translated:
    """Folders of equal names: what was fed to the network, and what came out.

    Attributes:
        inputs: what was fed.
        outputs: what came out.
        styles: what came out in random styles, NAME_style1.png, ...; None where none were wanted.
    """

    inputs: Path
    outputs: Path
    styles: Path | None = None


def translate_held_out(
    translator: Translator,
    held_out: HeldOut,
    out: Path,
    *,
    direction: str,
    protocol: Protocol | None,
    styles: int = 0,
    shard: Shard = ALONE,
    on_done: Callable[[int], None] = lambda _count: None,
) -> Translated:
    """Translate all test pictures into `out`/outputs, as PNG; in random styles into `out`/styles.

    Args:
        translator: what translates.
        held_out: the pictures.
        out: gets outputs/, styles/ where some are wanted, and inputs/ where the protocol resizes
            them.
        direction: of the translator.
        protocol: resizes the inputs; None: every picture at its own size.
        styles: how many random styles to translate each picture in, each picture in its own.
        shard: this process' part in the work; all return when all are done.
        on_done: called with the translations that are done here.

    Raises:
        ConfigError: the translator does not offer the direction, or has no styles.
        DataError: naming the pictures that cannot be read; no number leaves any out.
    """
    inputs = held_out.inputs
    find_set(inputs)
    if protocol is not None:
        inputs = resize_all(inputs, out / "inputs", protocol, shard=shard)
    plan = plan_outputs(find_sources(str(inputs)), out / "outputs")
    options = FolderOptions(direction=direction)
    translate_plan(translator, plan, options, on_done=on_done, shard=shard)
    if not styles:
        return Translated(inputs, out / "outputs")
    done = len(shard.share(plan.jobs))
    plan = plan_outputs(find_sources(str(inputs)), out / "styles", styles=style_names(styles))
    options = replace(options, styles_of=_styles_by_job(translator, plan, styles))
    translate_plan(
        translator, plan, options, on_done=lambda count: on_done(done + count), shard=shard
    )
    return Translated(inputs, out / "outputs", out / "styles")


def translate_folder(
    translator: Translator,
    folder: Path,
    out: Path,
    *,
    on_done: Callable[[int], None] = lambda _count: None,
    shard: Shard = ALONE,
) -> None:
    """Translate or segment all pictures of a folder into another; as `translate_plan`."""
    plan = plan_outputs(find_sources(str(folder)), out)
    translate_plan(translator, plan, FolderOptions(), on_done=on_done, shard=shard)


def translate_plan(
    translator: Translator,
    plan: Plan,
    options: FolderOptions,
    *,
    on_done: Callable[[int], None] = lambda _count: None,
    shard: Shard = ALONE,
) -> None:
    """Write translations that are to be measured; every measurement's go through here.

    Args:
        translator: what translates, or segments.
        plan: which pictures, and where to.
        options: how.
        on_done: called with the outputs that are written here.
        shard: this process' part in the work; all return when all are done.

    Raises:
        ConfigError: the translator does not offer the direction, or has no styles.
        DataError: naming the pictures that cannot be read; no number leaves any out.
    """
    done = 0

    def count(job: Job, _error: str | None) -> None:
        nonlocal done
        done += len(job.targets)
        on_done(done)

    report = translate_jobs(translator, shard.share(plan.jobs), options, on_done=count)
    if report.failures:
        faults = [DataError(failure.error) for failure in report.failures]
        raise broken_pictures(faults, report.found)
    shard.wait()


def _styles_by_job(translator: Translator, plan: Plan, count: int) -> Callable[[Job], Tensor]:
    """Return what gives every picture styles of its own, the same in every measurement.

    Common styles would make the pictures depend on each other, and the interval too narrow.
    """
    seeds = {job: place for place, job in enumerate(plan.jobs)}
    return lambda job: translator.styles(count, seed=seeds[job])


def resize_all(folder: Path, out: Path, protocol: Protocol, *, shard: Shard = ALONE) -> Path:
    """Write every picture of a folder into `out`, resized as the protocol says; return `out`.

    Raises:
        DataError: naming the pictures that cannot be read.
    """
    plan = plan_outputs(find_sources(str(folder)), out)
    faults: list[Exception] = []
    for job in shard.share(plan.jobs):
        try:
            write_resized(job.source, job.target, protocol)
        except DataError as fault:
            faults.append(fault)
    if faults:
        raise broken_pictures(faults, len(plan.jobs))
    shard.wait()
    return out


def checkpoint_facts(path: Path) -> dict[str, Fact]:
    """Return what is said of a checkpoint with its numbers.

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
