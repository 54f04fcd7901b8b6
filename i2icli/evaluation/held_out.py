"""The test pictures of a run through its checkpoint, laid out in folders for measuring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from i2icli.config.sections import DataConfig
from i2icli.errors import ConfigError, DataError
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

_TESTS = {"a": "testA", "b": "testB"}


@dataclass(frozen=True)
class HeldOut:
    """Test pictures, none of which the run was trained on.

    Attributes:
        inputs: folder of what is translated.
        reals: folder of the target's pictures; None where there is none.
        truth: folder of the true translations; None where they are not known.
        masks: folder of the object masks; None where there are none.
        data_set: name of the folder that holds them, which may be that of a known data set.
        side: "testA" or "testB": which of the two is translated.
    """

    inputs: Path
    reals: Path | None
    truth: Path | None = None
    masks: Path | None = None
    data_set: str = ""
    side: str = "testA"


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


def find_held_out(data: DataConfig, *, root: Path | None, direction: str) -> HeldOut:
    """Find the test pictures of a run.

    Args:
        data: the run's configuration; its direction swaps A and B.
        root: another data set to test on; None: the run's own.
        direction: a2b or b2a, of the translator.

    Raises:
        DataError: there are none.
        ConfigError: the direction is neither.
    """
    if direction not in ("a2b", "b2a"):
        raise ConfigError(f"--direction {direction!r} is no direction: use a2b or b2a.")
    is_straight = data.direction == direction
    first, second = ("a", "b") if is_straight else ("b", "a")
    if root is None and data.root is None:
        return _plain(data, first, second)
    place = Path(root or data.root or "").expanduser()
    if not place.is_dir():
        whose = "" if root else ", where this run found its pictures,"
        raise DataError(f"the folder {place}{whose} does not exist: name it with --data DIR.")
    inputs, reals = place / _TESTS[first], place / _TESTS[second]
    if not inputs.is_dir():
        raise DataError(
            f"{place} has no folder {inputs.name}, so there is nothing to translate: name a data "
            "set that has testA and testB with --data DIR, or measure two plain folders: "
            "i2i eval --fid --real DIR --fake DIR"
        )
    truth, masks = place / "testA_truth", place / "testA_mask"
    return HeldOut(
        inputs,
        reals if reals.is_dir() else None,
        truth if first == "a" and truth.is_dir() else None,
        masks if first == "a" and masks.is_dir() else None,
        place.name,
        inputs.name,
    )


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
    warn: Callable[[str], None] = lambda _message: None,
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
        warn: called with a sentence when a batch had to be made smaller.

    Raises:
        ConfigError: the translator does not offer the direction, or has no styles.
        DataError: naming the pictures that cannot be read; no number leaves any out.
    """
    inputs = held_out.inputs
    find_set(inputs)
    if protocol is not None:
        inputs = resize_all(inputs, out / "inputs", protocol, shard=shard)
    sources, done = find_sources(str(inputs)), 0
    plans = [(plan_outputs(sources, out / "outputs"), FolderOptions(direction=direction))]
    if styles:
        plan = plan_outputs(sources, out / "styles", styles=style_names(styles))
        draw = _styles_by_job(translator, plan, styles)
        plans.append((plan, FolderOptions(direction=direction, styles_of=draw)))

    def count(job: Job, _error: str | None) -> None:
        nonlocal done
        done += len(job.targets)
        on_done(done)

    for plan, options in plans:
        jobs = shard.share(plan.jobs)
        report = translate_jobs(translator, jobs, options, on_done=count, warn=warn)
        if report.failures:
            faults = [DataError(failure.error) for failure in report.failures]
            raise broken_pictures(faults, report.found)
    shard.wait()
    return Translated(inputs, out / "outputs", out / "styles" if styles else None)


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


def _plain(data: DataConfig, first: str, second: str) -> HeldOut:
    folders = {"a": data.test_a, "b": data.test_b}
    inputs, reals = folders[first], folders[second]
    if inputs is None:
        raise DataError(
            "this run was trained on plain folders without test pictures (data.test_a, "
            "data.test_b): name a data set that has testA and testB with --data DIR."
        )
    place = Path(inputs).expanduser()
    return HeldOut(
        place,
        None if reals is None else Path(reals).expanduser(),
        data_set=place.parent.name,
        side=_TESTS[first],
    )
