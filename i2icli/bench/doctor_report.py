"""What `i2i doctor` found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from i2icli.bench.cost import Needs
from i2icli.config.words import human_time
from i2icli.errors import I2IError
from i2icli.system.memory import in_words
from i2icli.training.session import versions


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
class Place:
    """Where a run would compute, and why there."""

    device: str
    device_why: str
    precision: str
    precision_why: str
    threads: int


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


@dataclass(frozen=True)
class Checkup:
    """Everything that was looked at; None or empty where a fault before it forbade looking.

    Attributes:
        command: that would start the run.
        versions: of what computes.
        place: where, and in which precision.
        settings: the ways to less time or memory, each with whether the run would take it and why.
        data: the pictures.
        weights: pretrained ones that the method needs or starts from.
        needs: memory, time and disk.
        faults: what keeps the run from starting, in the order of looking.
    """

    command: str
    versions: Mapping[str, str]
    place: Place | None = None
    settings: tuple[Setting, ...] = ()
    data: DataFound | None = None
    weights: tuple[WeightsFound, ...] = ()
    needs: Needs | None = None
    faults: tuple[Fault, ...] = field(default=())

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
        """Return it for people."""
        return _lines(self)


def installed() -> dict[str, str]:
    """Return the versions of what computes."""
    found = versions()
    try:
        found["torchvision"] = version("torchvision")
    except PackageNotFoundError:
        found["torchvision"] = "missing"
    return found


def _lines(checkup: Checkup) -> Iterator[str]:
    """Yield the findings line by line."""
    yield ", ".join(f"{name} {number}" for name, number in checkup.versions.items())
    if place := checkup.place:
        yield f"device: {place.device} ({place.device_why}), {place.threads} threads"
        yield f"precision: {place.precision} ({place.precision_why})"
    for is_on, title in ((True, "on"), (False, "off")):
        if found := [each for each in checkup.settings if each.is_on == is_on]:
            yield f"{title}: {', '.join(map(_setting_text, found))}"
    if data := checkup.data:
        title = "the built-in demo set, " if data.is_demo else ""
        train = f"{data.train_a:,} of A and {data.train_b:,} of B to train on"
        yield f"data: {title}{data.root}: {train}, {data.test_a:,} and {data.test_b:,} to test"
    for weights in checkup.weights:
        yield f"weights {weights.name} ({weights.purpose}): {weights.path or 'MISSING'}"
    if checkup.needs:
        yield from _need_lines(checkup.needs)
    for fault in checkup.faults:
        yield f"fault: {fault.message}"
        yield f"  next: {fault.command}"
    if not checkup.faults:
        yield f"a run could start: {checkup.command}"


def _setting_text(setting: Setting) -> str:
    return setting.name if setting.why == "auto" else f"{setting.name} ({setting.why})"


def _need_lines(needs: Needs) -> Iterator[str]:
    shape = " x ".join(map(str, needs.measured_shape))
    how = f"scaled by pixels from steps of {shape}" if needs.is_scaled else f"measured, {shape}"
    yield f"a step: {human_time(needs.step_seconds)} ({how})"
    if needs.total_seconds is not None:
        whole = human_time(needs.total_seconds)
        yield f"the run: {needs.steps:,} steps, {whole}, loading, samples and checkpoints aside"
    if needs.memory_bytes is not None and needs.available_bytes is not None:
        free = in_words(needs.available_bytes)
        yield f"memory: {in_words(needs.memory_bytes)} at the peak ({how}), {free} usable"
    if needs.largest_crop is not None:
        yield (
            f"largest that fits: crop {needs.largest_crop}, or batch {needs.largest_batch} at the "
            "run's crop (estimated: activations taken to grow with the pixels)"
        )
    yield (
        f"disk: {in_words(needs.disk_needed_bytes)} for checkpoints of about "
        f"{in_words(needs.checkpoint_bytes)}, {in_words(needs.disk_free_bytes)} free in "
        f"{needs.run_parent}"
    )
