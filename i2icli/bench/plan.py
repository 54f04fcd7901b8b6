"""What a run would do, found out without starting it: `i2i train --dry-run`."""

from __future__ import annotations

import shlex
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from i2icli.bench import cost
from i2icli.bench.checkup import advice_lines
from i2icli.bench.rig import Variant
from i2icli.config.document import Change, Document, config_document, differences, write_toml
from i2icli.config.presets import preset_names
from i2icli.config.schedule import Moment
from i2icli.config.words import human_time, parse_duration
from i2icli.data.transforms import CropPlan, plan_crop
from i2icli.methods.shared.configure import (
    AnyRunConfig,
    changes_from_paper,
    configure_run,
    paper_defaults,
    restore_config,
)
from i2icli.training.data import resolve_data
from i2icli.training.fit import advise
from i2icli.training.initial import start_from_pretrained
from i2icli.training.session import Session, open_session


@dataclass(frozen=True)
class Phase:
    """Epochs that share one augmentation, both ends counted."""

    first_epoch: int
    last_epoch: int
    augmentation: str


@dataclass(frozen=True)
class Measurement:
    """What training steps on the first pictures cost, see `bench.cost`.

    Attributes:
        device: where they ran.
        precision: the autocast type.
        shape: a batch of source pictures, (B, C, H, W).
        step_seconds: one step, the median of those after the first.
        memory_bytes: at the peak, without what the imports hold; None: unknown.
    """

    device: str
    precision: str
    shape: tuple[int, ...]
    step_seconds: float
    memory_bytes: int | None


@dataclass(frozen=True)
class RunPlan:
    """A run as it would be.

    Attributes:
        config: the resolved configuration.
        preset: what `--preset` named.
        changes: how the configuration differs from that preset.
        changes_from_paper: how it differs from the method's defaults, which are the paper's.
        parameters: trainable weights by player and module.
        pictures: training pictures of A and of B.
        steps_per_epoch: steps that take in the larger domain once.
        steps: steps of the whole run.
        phases: the augmentation over the epochs.
        measured: what a step costs.
        command: that would start it.
    """

    config: Document
    preset: str
    changes: list[Change]
    changes_from_paper: list[Change]
    parameters: dict[str, dict[str, int]]
    pictures: dict[str, int]
    steps_per_epoch: int
    steps: int
    phases: list[Phase]
    measured: Measurement
    command: str

    @property
    def total_seconds(self) -> float:
        """Seconds of all steps; pictures to load, samples and checkpoints not counted."""
        return self.steps * self.measured.step_seconds

    @property
    def advice(self) -> list[str]:
        """How long it would take, if longer than a day, and what to type instead."""
        return advise(
            restore_config(self.config),
            steps=self.steps,
            step_seconds=self.measured.step_seconds,
            device=self.measured.device.partition(":")[0],
            command=self.command,
        )

    def as_document(self) -> dict[str, Any]:
        """Return the plan as plain types, for JSON."""
        return {**asdict(self), "total_seconds": self.total_seconds, "advice": self.advice}

    def lines(self) -> Iterator[str]:
        """Yield the plan for people."""
        yield write_toml(self.config).rstrip()
        yield ""
        yield from _difference_lines(f"preset {self.preset!r}", self.changes)
        yield from _difference_lines("the paper's values", self.changes_from_paper)
        yield "trainable weights"
        for player, modules in self.parameters.items():
            counts = ", ".join(f"{name} {count:,}" for name, count in modules.items())
            yield f"  {player}: {counts}"
        pictures = f"{self.pictures['a']:,} of A, {self.pictures['b']:,} of B"
        yield f"training pictures: {pictures}; {self.steps_per_epoch:,} steps an epoch"
        for phase in self.phases:
            yield f"epochs {phase.first_epoch} to {phase.last_epoch}: {phase.augmentation}"
        cost = self.measured
        shape = " x ".join(map(str, cost.shape))
        memory = f", {cost.memory_bytes / 2**30:.2f} GiB at the peak" if cost.memory_bytes else ""
        yield (
            f"measured, training on the first pictures ({shape}, {cost.precision}): "
            f"one step {human_time(cost.step_seconds)} on {cost.device}{memory}"
        )
        yield (
            f"{self.steps:,} steps: {human_time(self.total_seconds)}, "
            "loading, samples and checkpoints not counted"
        )
        if budget := self.config["train"].get("budget"):
            within = parse_duration(budget) / cost.step_seconds
            yield f"the budget of {budget}: about {within:,.0f} steps"
        yield from advice_lines(self.advice)


def plan_run(
    config: AnyRunConfig,
    *,
    preset: str | None,
    device: str | None = None,
    command: str | None = None,
) -> RunPlan:
    """Work out a run, and take its first steps in another process to see what they cost.

    Args:
        config: the configuration.
        preset: the preset it was made from, a name or a path, for the comparison; None: of the
            name that it has, if there is one.
        device: overrides `runtime.device`.
        command: that would start the run, for advice; None: that of the preset alone.

    Raises:
        ConfigError: for a device that is not there.
        DataError: for missing pictures.
        WeightsError: for weights to start from that are not there.
    """
    if preset is None:
        known = config.preset in preset_names()
        preset = config.preset if known else config.method.name
        base = config_document(configure_run(preset)) if known else paper_defaults(preset)
    else:
        base = config_document(configure_run(preset))
    session = open_session(resolve_data(config)[0], device=device)
    start_from_pretrained(session.method, session.method.starts_from)
    return RunPlan(
        config=config_document(session.config),
        preset=preset,
        changes=differences(base, config_document(config)),
        changes_from_paper=changes_from_paper(config),
        parameters=_count_parameters(session),
        pictures={"a": len(session.data.domains.train_a), "b": len(session.data.domains.train_b)},
        steps_per_epoch=session.data.steps_per_epoch,
        steps=session.last_step,
        phases=_phases(session),
        measured=_measure(session),
        command=command or f"i2i train --preset {shlex.quote(preset)}",
    )


def _count_parameters(session: Session) -> dict[str, dict[str, int]]:
    names = {id(module): name for name, module in session.method.named_modules()}
    return {
        title: {
            names[id(module)]: sum(p.numel() for p in module.parameters() if p.requires_grad)
            for module in player.modules
        }
        for title, player in session.method.players.items()
    }


def _phases(session: Session) -> list[Phase]:
    data, schedule = session.config.data, session.config.method.schedule
    last = Moment(session.last_step, session.data.steps_per_epoch).epoch
    # Not one epoch after the other: a run may be given very many.
    steady = bisect_right(range(1, last + 1), False, key=schedule.is_decaying)
    before = describe_crop(plan_crop(data))
    after = describe_crop(plan_crop(data, jitter=data.jitter_in_decay))
    if before == after or steady == last:
        return [Phase(1, last, before)]
    phases = [Phase(1, steady, before), Phase(steady + 1, last, after)]
    return phases if steady else phases[1:]


def describe_crop(plan: CropPlan) -> str:
    """Describe the resizing and cropping of a picture before the networks see it."""
    resized = {
        "resize": f"resize to {plan.width} x {plan.height} ({plan.interpolation})",
        "scale-width": f"scale to width {plan.width} ({plan.interpolation})",
        "scale-shorter": f"scale the shorter side to {plan.width} ({plan.interpolation})",
    }
    half, twice = max(1, plan.width // 2), 2 * plan.width
    resized["random-scale"] = f"scale the longer side to {half} - {twice} ({plan.interpolation})"
    way = plan.preprocess.removesuffix("-and-crop")
    parts = [resized[way]] if way in resized else []
    is_whole = plan.preprocess == "resize-and-crop" and plan.width == plan.height == plan.crop
    if "crop" in plan.preprocess and not is_whole:
        parts.append(f"random crop {plan.crop} x {plan.crop}")
    if plan.preprocess == "zoom-and-patch":
        zoom = f"zoom each side by {plan.zoom_min:.2g} to 1 ({plan.interpolation})"
        parts += [zoom, f"patch {plan.crop} x {plan.crop}"]
    if plan.flip:
        parts.append("mirror half of them")
    return ", ".join(parts) or "nothing"


def _measure(session: Session) -> Measurement:
    document = config_document(session.config)
    document["runtime"]["device"] = str(session.device)
    (found,) = cost.step_cost([Variant(session.config.preset, document)])
    return Measurement(
        device=found.choices["device"],
        precision=found.choices["precision"],
        shape=found.shape,
        step_seconds=found.step.median,
        memory_bytes=found.memory_bytes,
    )


def _difference_lines(other: str, changes: list[Change]) -> Iterator[str]:
    if not changes:
        yield f"nothing differs from {other}"
        return
    yield f"differs from {other} in"
    for change in changes:
        yield f"  {change}"
