"""The outcome of `i2i bench`, for people and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2icli.bench.cost import StepCost
from i2icli.bench.worker import Spread
from i2icli.config.document import Document
from i2icli.training.session import versions

Result = Mapping[str, Any]
_MACHINE = ("device", "device_name", "precision", "threads", "workers")


@dataclass(frozen=True)
class Speed:
    """How fast pictures are translated.

    Attributes:
        images_per_s: over several passes.
        operations: of one picture, a multiplication and an addition being two.
        share: of the machine's limit that they come to, pass by pass.
    """

    images_per_s: Spread
    operations: float
    share: Spread

    def document(self) -> dict[str, Any]:
        """Return it for JSON; the plain key is the median."""
        return {
            "images_per_s": self.images_per_s.median,
            **self.images_per_s.document("images_per_s"),
            "flops_per_picture": self.operations,
            "share_of_limit": self.share.document(),
        }


@dataclass(frozen=True)
class VariantCost:
    """What one variant costs.

    Attributes:
        cost: of a training step; rounds count its operations.
        translate: from reading to having written.
        network: of the network alone, on the pictures of a batch.
        memory_translate: as the memory of `cost`, of translating.
    """

    cost: StepCost
    translate: Speed
    network: Speed
    memory_translate: Mapping[str, int | None]

    @property
    def flops(self) -> int:
        """Operations of one training step, a multiplication and an addition being two."""
        assert self.cost.flops is not None, "rounds count operations"
        return self.cost.flops

    @property
    def limit(self) -> dict[str, Spread]:
        """GFLOP/s of a matrix product and of a convolution, measured beside the steps."""
        return {kind: Spread.of(rates) for kind, rates in self.cost.rates.items()}

    @property
    def share(self) -> Spread:
        """The share of the faster of the two that a step reaches, round by round."""
        return _share([self.flops / s for s in self.cost.seconds], self.cost.rates)

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        choices, memory, limit = self.cost.choices, self.cost.memory, self.limit
        return {
            "name": self.cost.name,
            "shape": list(self.cost.shape),
            "precision": choices["precision"],
            "threads": choices["threads"],
            "settings": dict(choices["settings"]),
            "step": self.cost.step.document("s"),
            "share_of_limit": self.share.document(),
            "translate": {**self.translate.document(), "network": self.network.document()},
            "peak_memory_bytes": memory["less_imports_bytes"],
            "memory": dict(memory),
            "memory_translate": dict(self.memory_translate),
            "flops_per_step": self.flops,
            "limit_gflops": max(rates.high for rates in limit.values()),
            "limit": {kind: rates.document("gflops") for kind, rates in limit.items()},
        }


@dataclass(frozen=True)
class BenchReport:
    """What was measured.

    Attributes:
        costs: of the one variant, or of the two that were compared in turn.
        warmup: rounds of steps that do not count.
        pictures: translated in each pass.
        loader: pictures a second, all domains together, that the loader gives by itself.
        loader_notes: where those pictures come from.
        speedups: seconds of the second variant over those of the first, round by round, of a
            step and of a translated picture; none of one variant.
        order: which variant went first, second, in each round.
        varied: the settings that make the second variant of the first; none: another preset.
        machine: device, threads, precision, versions.
        notes: what must be known of the numbers.
    """

    costs: tuple[VariantCost, ...]
    warmup: int
    pictures: int
    loader: Spread
    loader_notes: tuple[str, ...]
    speedups: Mapping[str, Spread]
    order: tuple[tuple[int, ...], ...]
    varied: tuple[str, ...]
    machine: Mapping[str, Any]
    notes: tuple[str, ...]

    def as_document(self) -> Document:
        """Return the report as plain types, for JSON."""
        first = self.costs[0]
        loader = {"images_per_s": self.loader.median, **self.loader.document("images_per_s")}
        document = {
            **first.document(),
            "loader": {**loader, "notes": list(self.loader_notes)},
            "n": first.cost.step.n,
            "warmup": self.warmup,
            "pictures": self.pictures,
            **self.machine,
            "notes": list(self.notes),
        }
        if self.speedups:
            document["against"] = {
                **self.costs[1].document(),
                "varied": list(self.varied),
                "speedup": {what: ratio.document() for what, ratio in self.speedups.items()},
                "order": ["".join("AB"[index] for index in order) for order in self.order],
            }
        return document

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        machine = self.machine
        device = f"{machine['device']} {machine['device_name']}".rstrip()
        made_with = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        yield f"{device}, {machine['precision']}, {machine['threads']} threads; {made_with}"
        for cost in self.costs:
            yield from _cost_lines(cost, self)
        workers = f"{machine['workers']} workers"
        yield f"loader alone: {self.loader.text()} images/s of all domains together, {workers}"
        for note in self.loader_notes:
            yield f"  {note}"
        for what, ratio in self.speedups.items():
            first, second = (variant.cost.name for variant in self.costs)
            yield f"{what}: {first} is faster than {second} by the factor {ratio.text()}"
        if self.speedups:
            yield (
                "each has a process of its own, and they went in turn, A B, B A, ...; the factor "
                "is taken within each round"
            )
        for note in self.notes:
            yield f"note: {note}"


def build_report(
    costs: Sequence[StepCost],
    loader: Result,
    translation: Result,
    *,
    warmup: int,
    varied: Sequence[str] = (),
) -> BenchReport:
    """Put the answers of the measuring processes together.

    Args:
        costs: of one or two variants.
        loader: what `Bench.loader` returned.
        translation: what both took to translate.
        warmup: rounds of steps that did not count.
        varied: the settings that make the second variant of the first.
    """
    speedups = {}
    if len(costs) == 2:
        ours, theirs = costs
        speedups["step"] = _ratios(theirs.seconds, ours.seconds)
        for what, kind in (("translate", "pass"), ("network", "network")):
            speedups[what] = _ratios(*translation[kind]["images_per_s"])
    notes = [note for cost in costs for note in cost.choices["notes"]]
    return BenchReport(
        costs=tuple(
            VariantCost(
                cost,
                translate=_speed("pass", index, translation),
                network=_speed("network", index, translation),
                memory_translate=translation["memory"][index],
            )
            for index, cost in enumerate(costs)
        ),
        warmup=warmup,
        pictures=translation["operations"][0]["pictures"],
        loader=Spread.of(loader["rates"]),
        loader_notes=tuple(loader["notes"]),
        speedups=speedups,
        order=tuple(tuple(order) for order in costs[0].order),
        varied=tuple(varied),
        machine={
            **{key: costs[0].choices[key] for key in _MACHINE},
            "platform": platform.platform(),
            "versions": versions(),
        },
        notes=tuple(dict.fromkeys([*notes, *translation["notes"]])),
    )


def _speed(kind: str, index: int, translation: Result) -> Speed:
    timed, operations = translation[kind], translation["operations"][index][kind]
    speeds = timed["images_per_s"][index]
    share = _share([operations * speed for speed in speeds], timed["rates"][index])
    return Speed(Spread.of(speeds), operations, share)


def _share(reached: Sequence[float], rates: Mapping[str, Sequence[float]]) -> Spread:
    # Of operations a second, over the best rate of the same round.
    best = [max(kinds) for kinds in zip(*rates.values(), strict=True)]
    return Spread.of([rate / limit / 1e9 for rate, limit in zip(reached, best, strict=True)])


def _ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def _cost_lines(variant: VariantCost, report: BenchReport) -> Iterator[str]:
    cost = variant.cost
    shape = " x ".join(map(str, cost.shape))
    off = [name for name, is_on in cost.choices["settings"].items() if not is_on]
    settings = f"off: {', '.join(off)}" if off else "all settings on"
    yield f"{cost.name} ({shape}, {cost.choices['precision']}, {settings})"
    yield f"  training step: {cost.step.text()} s, after {report.warmup} rounds that do not count"
    for kind, rates in variant.limit.items():
        yield f"  limit measured after each step, {kind}: {rates.text('{:.0f}')} GFLOP/s"
    yield f"  share of the limit that a step reaches: {variant.share.text('{:.0%}')}"
    passes = (
        ("translating, read to written", variant.translate, f", {report.pictures} pictures a pass"),
        ("network alone, in memory", variant.network, ""),
    )
    for title, speed, end in passes:
        share = f"{speed.share.median:.0%} of the limit"
        yield f"  {title}: {speed.images_per_s.text()} images/s, {share}{end}"
    yield f"  peak memory of training, one fresh process: {_memory_text(cost.memory)}"
    yield f"  peak memory of translating: {_memory_text(variant.memory_translate)}"
    yield f"  {variant.flops / 1e9:,.1f} GFLOP counted in one step"


def _memory_text(memory: Mapping[str, int | None]) -> str:
    peak, before, rest = (
        None if memory[key] is None else f"{memory[key] / 2**30:.2f} GiB"  # type: ignore[operator]
        for key in ("peak_bytes", "imports_bytes", "less_imports_bytes")
    )
    if peak is None:
        return "unknown here"
    return f"{rest} ({peak} less {before} of the imports)" if memory["imports_bytes"] else peak
