"""The outcome of `i2i bench`, for people and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2icli.bench.cost import StepCost
from i2icli.bench.turns import Spread
from i2icli.config.document import Document
from i2icli.training.session import versions

Result = Mapping[str, Any]


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
        name: of the preset or checkpoint, and what was varied.
        step: seconds of a training step, the pictures on the device already.
        limit: GFLOP/s of a matrix product and of a convolution in the same precision, measured
            beside the steps.
        share: of the faster of the two that a step reaches, round by round.
        translate: from reading to having written.
        network: of the network alone, on the pictures of a batch.
        memory: peak of three training steps in a fresh process: `peak_bytes`, `imports_bytes`,
            `less_imports_bytes`.
        memory_translate: the same of translating.
        flops: of one training step, a multiplication and an addition being two.
        shape: the source pictures of a step, (B, C, H, W).
        precision: that it computed in.
        threads: of the CPU.
        settings: the ways to less time or memory, by name, whether they were on.
    """

    name: str
    step: Spread
    limit: Mapping[str, Spread]
    share: Spread
    translate: Speed
    network: Speed
    memory: Mapping[str, int | None]
    memory_translate: Mapping[str, int | None]
    flops: int
    shape: tuple[int, ...]
    precision: str
    threads: int
    settings: Mapping[str, bool]

    @property
    def limit_gflops(self) -> float:
        """The fastest that the machine was seen to multiply, GFLOP/s."""
        return max(spread.high for spread in self.limit.values())

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "precision": self.precision,
            "threads": self.threads,
            "settings": dict(self.settings),
            "step": self.step.document("s"),
            "share_of_limit": self.share.document(),
            "translate": {**self.translate.document(), "network": self.network.document()},
            "peak_memory_bytes": self.memory["less_imports_bytes"],
            "memory": dict(self.memory),
            "memory_translate": dict(self.memory_translate),
            "flops_per_step": self.flops,
            "limit_gflops": self.limit_gflops,
            "limit": {kind: rates.document("gflops") for kind, rates in self.limit.items()},
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
            "n": first.step.n,
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
        """Return the report for people."""
        return _lines(self)


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
        costs=tuple(_variant_cost(cost, index, translation) for index, cost in enumerate(costs)),
        warmup=warmup,
        pictures=translation["operations"][0]["pictures"],
        loader=Spread.of(loader["rates"]),
        loader_notes=tuple(loader["notes"]),
        speedups=speedups,
        order=tuple(tuple(order) for order in costs[0].order),
        varied=tuple(varied),
        machine=_machine(costs[0].choices),
        notes=tuple(dict.fromkeys([*notes, *translation["notes"]])),
    )


def _variant_cost(cost: StepCost, index: int, translation: Result) -> VariantCost:
    assert cost.flops is not None, "rounds count operations"
    flops, choices = cost.flops, cost.choices
    return VariantCost(
        name=cost.name,
        step=cost.step,
        limit={kind: Spread.of(found) for kind, found in cost.rates.items()},
        share=_share([flops / s for s in cost.seconds], cost.rates),
        translate=_speed("pass", index, translation),
        network=_speed("network", index, translation),
        memory=cost.memory,
        memory_translate=translation["memory"][index],
        flops=flops,
        shape=cost.shape,
        precision=choices["precision"],
        threads=choices["threads"],
        settings=choices["settings"],
    )


def _speed(kind: str, index: int, translation: Result) -> Speed:
    """Return the speed of one variant, of whole passes or of the network alone."""
    found, operations = translation[kind], translation["operations"][index][kind]
    speeds = found["images_per_s"][index]
    share = _share([operations * speed for speed in speeds], found["rates"][index])
    return Speed(Spread.of(speeds), operations, share)


def _share(reached: Sequence[float], rates: Mapping[str, Sequence[float]]) -> Spread:
    """Return what was reached, operations a second, over the best rate of the same round."""
    best = [max(kinds) for kinds in zip(*rates.values(), strict=True)]
    return Spread.of([rate / limit / 1e9 for rate, limit in zip(reached, best, strict=True)])


def _ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def _machine(choices: Result) -> dict[str, Any]:
    chosen = ("device", "device_name", "precision", "threads", "workers")
    return {
        **{key: choices[key] for key in chosen},
        "platform": platform.platform(),
        "versions": versions(),
    }


def _lines(report: BenchReport) -> Iterator[str]:
    """Yield the report line by line."""
    machine = report.machine
    device = f"{machine['device']} {machine['device_name']}".rstrip()
    made_with = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"{device}, {machine['precision']}, {machine['threads']} threads; {made_with}"
    for cost in report.costs:
        yield from _cost_lines(cost, report)
    workers = f"{machine['workers']} workers"
    yield f"loader alone: {report.loader.text()} images/s of all domains together, {workers}"
    for note in report.loader_notes:
        yield f"  {note}"
    for what, ratio in report.speedups.items():
        first, second = (cost.name for cost in report.costs)
        yield f"{what}: {first} is faster than {second} by the factor {ratio.text()}"
    if report.speedups:
        yield (
            "each has a process of its own, and they went in turn, A B, B A, ...; the factor is "
            "taken within each round"
        )
    for note in report.notes:
        yield f"note: {note}"


def _cost_lines(cost: VariantCost, report: BenchReport) -> Iterator[str]:
    shape = " x ".join(map(str, cost.shape))
    yield f"{cost.name} ({shape}, {cost.precision}, {_settings_text(cost.settings)})"
    yield f"  training step: {cost.step.text()} s, after {report.warmup} rounds that do not count"
    for kind, rates in cost.limit.items():
        yield f"  limit measured after each step, {kind}: {rates.text('{:.0f}')} GFLOP/s"
    yield f"  share of the limit that a step reaches: {cost.share.text('{:.0%}')}"
    passes = (
        ("translating, read to written", cost.translate, f", {report.pictures} pictures a pass"),
        ("network alone, in memory", cost.network, ""),
    )
    for title, speed, end in passes:
        share = f"{speed.share.median:.0%} of the limit"
        yield f"  {title}: {speed.images_per_s.text()} images/s, {share}{end}"
    yield f"  peak memory of training, one fresh process: {_memory_text(cost.memory)}"
    yield f"  peak memory of translating: {_memory_text(cost.memory_translate)}"
    yield f"  {cost.flops / 1e9:,.1f} GFLOP counted in one step"


def _settings_text(settings: Mapping[str, bool]) -> str:
    off = [name for name, is_on in settings.items() if not is_on]
    return f"off: {', '.join(off)}" if off else "all settings on"


def _memory_text(memory: Mapping[str, int | None]) -> str:
    peak, before, rest = (
        None if memory[key] is None else f"{memory[key] / 2**30:.2f} GiB"  # type: ignore[operator]
        for key in ("peak_bytes", "imports_bytes", "less_imports_bytes")
    )
    if peak is None:
        return "unknown here"
    return f"{rest} ({peak} less {before} of the imports)" if memory["imports_bytes"] else peak
