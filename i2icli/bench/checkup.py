"""What `i2i doctor` found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from i2icli.bench.cost import Needs
from i2icli.errors import I2IError
from i2icli.system.choices import in_settings
from i2icli.system.trial import Trial


@dataclass(frozen=True)
class Fault:
    """What keeps a run from starting.

    Attributes:
        code: that the command ends with if this is the first fault: 2 configuration, 3 data,
            4 weights, 1 else.
        message: what is wrong.
        command: what to type next.
    """

    code: int
    message: str
    command: str


@dataclass(frozen=True)
class Computing:
    """Device and precision that a run would compute on and in, and why."""

    device: str
    device_why: str
    precision: str
    precision_why: str
    threads: int


@dataclass(frozen=True)
class Cores:
    """The cores that a run may use, and what it would have them do.

    Attributes:
        usable: cores that it may keep busy.
        cpus: that it may run on; those that share a core counted each.
        quota: cores' worth that its control groups allow; None: as many as there are.
        others: cores' worth that other programs took when this was looked at; None: not known.
        threads: that compute on the CPU.
        threads_why: the reason for that number.
        waiting: the way in which threads wait for each other.
        workers: processes that load pictures.
        workers_why: the reason for that number.
    """

    usable: int
    cpus: int
    quota: float | None
    others: float | None
    threads: int
    threads_why: str
    waiting: str
    workers: int
    workers_why: str

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        quota = "no quota" if self.quota is None else f"a quota of {self.quota:g}"
        others = "not known" if self.others is None else f"{self.others:.1f}"
        yield (
            f"cores: {self.usable} usable, of {self.cpus} CPUs and {quota}; "
            f"taken by other programs now: {others}"
        )
        waiting = f", waiting for each other {self.waiting}" if self.threads > 1 else ""
        yield f"threads: {self.threads} ({self.threads_why}){waiting}"
        yield f"workers that load pictures: {self.workers} ({self.workers_why})"


@dataclass(frozen=True)
class Setting:
    """A setting of `runtime` that a run would have on or off, and why."""

    name: str
    is_on: bool
    why: str


@dataclass(frozen=True)
class DataFound:
    """The pictures that a run would train on, counted."""

    root: str
    is_demo: bool
    train_a: int
    train_b: int
    test_a: int
    test_b: int
    steps_per_epoch: int


@dataclass(frozen=True)
class WeightsFound:
    """Pretrained weights that a run needs; `path` is None where they are not here."""

    name: str
    purpose: str
    path: str | None


def advice_lines(advice: Sequence[str]) -> Iterator[str]:
    """Yield advice on a long run for people."""
    for number, sentence in enumerate(advice):
        yield f"  {sentence}" if number else f"warning: {sentence}"


@dataclass(frozen=True)
class Checkup:
    """Everything that was looked at; None or empty where a fault before it forbade looking.

    Attributes:
        command: that would start the run.
        versions: of what computes.
        place: device and precision.
        cores: threads, workers, and what other programs take.
        settings: the ways to less time or memory, each with whether the run would take it and why.
        data: the pictures.
        weights: pretrained ones that the method needs or starts from.
        trials: of ways to compute, by the name of the setting that each decides.
        dropped_trials: earlier ones that were dropped first; None: none was to be.
        pins: settings that bring the same choices again, see `Choices.pins`.
        needs: memory, time and disk.
        advice: of a run that would take longer than a day: how long, and what to type instead.
        faults: what keeps the run from starting, in the order of looking.
    """

    command: str
    versions: Mapping[str, str]
    place: Computing | None = None
    cores: Cores | None = None
    settings: tuple[Setting, ...] = ()
    data: DataFound | None = None
    weights: tuple[WeightsFound, ...] = ()
    trials: Mapping[str, Trial] = field(default_factory=dict)
    dropped_trials: int | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    needs: Needs | None = None
    advice: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: a run could start; otherwise the code of the first fault."""
        return self.faults[0].code if self.faults else 0

    def with_fault(self, error: I2IError, command: str) -> Checkup:
        """Return it with one fault more."""
        fault = Fault(error.exit_code, str(error).rstrip("."), command)
        return replace(self, faults=(*self.faults, fault))

    def as_document(self) -> dict[str, Any]:
        """Return it as plain types, for JSON."""
        document = {**asdict(self), "exit_code": self.exit_code}
        if self.needs is not None:
            document["needs"]["total_seconds"] = self.needs.total_seconds
        return document

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        yield ", ".join(f"{name} {number}" for name, number in self.versions.items())
        if on := self.place:
            yield f"device: {on.device} ({on.device_why}), {on.threads} threads"
            yield f"precision: {on.precision} ({on.precision_why})"
        if self.cores:
            yield from self.cores.lines()
        for is_on, title in ((True, "on"), (False, "off")):
            if settings := [each for each in self.settings if each.is_on == is_on]:
                whys = ("" if each.why == "auto" else f" ({each.why})" for each in settings)
                texts = (each.name + why for each, why in zip(settings, whys, strict=True))
                yield f"{title}: {', '.join(texts)}"
        if self.dropped_trials is not None:
            yield f"trials: {self.dropped_trials} of this machine dropped"
        for name, trial in self.trials.items():
            if trial.gain is None and self.dropped_trials is None:
                continue  # why it was not tried stands above
            yield f"trial of {name}: {trial.sentence()}"
        if self.pins:
            yield f"the same choices again: {in_settings(self.pins)}"
        if data := self.data:
            title = "the built-in demo set, " if data.is_demo else ""
            train = f"{data.train_a:,} of A and {data.train_b:,} of B to train on"
            yield f"data: {title}{data.root}: {train}, {data.test_a:,} and {data.test_b:,} to test"
        for weights in self.weights:
            yield f"weights {weights.name} ({weights.purpose}): {weights.path or 'MISSING'}"
        if self.needs:
            yield from self.needs.lines()
        yield from advice_lines(self.advice)
        for fault in self.faults:
            yield f"fault: {fault.message}"
            yield f"  next: {fault.command}"
        if not self.faults:
            yield f"a run could start: {self.command}"
