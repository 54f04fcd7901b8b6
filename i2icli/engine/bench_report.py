"""The outcome of `i2i bench`, for people and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2icli.config.document import Document
from i2icli.engine.bench_rig import Variant
from i2icli.engine.bench_spread import Spread
from i2icli.engine.session import versions

Result = Mapping[str, Any]


@dataclass(frozen=True)
class VariantCost:
    """What one variant costs.

    Attributes:
        name: of the preset or checkpoint.
        step: seconds of a training step, the pictures on the device already.
        translate: pictures a second, read, translated and written.
        memory: peak of three training steps in a fresh process: `peak_bytes`, `imports_bytes`,
            `less_imports_bytes`.
        flops: of one training step, a multiplication and an addition being two.
        shape: the source pictures of a step, (B, C, H, W).
    """

    name: str
    step: Spread
    translate: Spread
    memory: Mapping[str, int | None]
    flops: int
    shape: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        speed = self.translate.document("images_per_s")
        return {
            "name": self.name,
            "shape": list(self.shape),
            "step": self.step.document("s"),
            # The plain key is the median.
            "translate": {"images_per_s": self.translate.median, **speed},
            "peak_memory_bytes": self.memory["less_imports_bytes"],
            "memory": dict(self.memory),
            "flops_per_step": self.flops,
        }


@dataclass(frozen=True)
class BenchReport:
    """What was measured.

    Attributes:
        costs: of the one variant, or of the two that were compared in turn.
        warmup: rounds of steps that do not count.
        pictures: translated in each pass.
        loader: pictures of each domain a second that the loader gives by itself.
        limit: GFLOP/s of a matrix product and of a convolution, beside the steps.
        share: of the faster of the two, round by round, that the first variant's step reaches.
        speedups: seconds of the second variant over those of the first, round by round, of a
            step and of a translated picture; none of one variant.
        order: which variant went first, second, in each round.
        memory_translate: peak of translating all variants, as `VariantCost.memory`.
        machine: device, threads, precision, versions.
        notes: what must be known of the numbers.
    """

    costs: tuple[VariantCost, ...]
    warmup: int
    pictures: int
    loader: Spread
    limit: Mapping[str, Spread]
    share: Spread
    speedups: Mapping[str, Spread]
    order: tuple[tuple[int, ...], ...]
    memory_translate: Mapping[str, int | None]
    machine: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def limit_gflops(self) -> float:
        """The fastest that the machine was seen to multiply, GFLOP/s."""
        return max(spread.high for spread in self.limit.values())

    def document(self) -> Document:
        """Return the report as plain types, for JSON."""
        first = self.costs[0]
        document = {
            **first.document(),
            "limit_gflops": self.limit_gflops,
            "limit": {kind: rates.document("gflops") for kind, rates in self.limit.items()},
            "share_of_limit": self.share.document(),
            "loader": {
                "images_per_s": self.loader.median,
                **self.loader.document("images_per_s"),
            },
            "memory_translate": dict(self.memory_translate),
            "n": first.step.n,
            "warmup": self.warmup,
            "pictures": self.pictures,
            **self.machine,
            "notes": list(self.notes),
        }
        if self.speedups:
            document["against"] = {
                **self.costs[1].document(),
                "speedup": {what: ratio.document() for what, ratio in self.speedups.items()},
                "order": ["".join("AB"[index] for index in order) for order in self.order],
            }
        return document

    def text(self) -> str:
        """Return the report for people."""
        return "\n".join(_lines(self))


def build_report(
    warmup: int,
    variants: Sequence[Variant],
    costs: Sequence[Result],
    steps: Result,
    translation: Result,
) -> BenchReport:
    """Put the answers of the measuring processes together.

    Args:
        warmup: rounds of steps that did not count.
        variants: one or two.
        costs: by variant, what `measure_cost` returned.
        steps: what `measure_steps` returned.
        translation: what `measure_translation` returned.
    """
    found = tuple(
        VariantCost(
            name=variant.name,
            step=Spread.of(steps["seconds"][index]),
            translate=Spread.of(translation["images_per_s"][index]),
            memory=_memory_of(costs[index]),
            flops=costs[index]["flops"],
            shape=tuple(costs[index]["shape"]),
        )
        for index, variant in enumerate(variants)
    )
    best = [max(rates) for rates in zip(*steps["rates"].values(), strict=True)]
    reached = [found[0].flops / seconds / 1e9 for seconds in steps["seconds"][0]]
    speedups = {}
    if len(variants) == 2:
        ours, theirs = steps["seconds"]
        speedups["step"] = Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])
        ours, theirs = translation["images_per_s"]
        speedups["translate"] = Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
    notes = [*steps["notes"], *(note for cost in costs for note in cost["notes"])]
    return BenchReport(
        costs=found,
        warmup=warmup,
        pictures=translation["pictures"],
        loader=Spread.of(steps["loader"]),
        limit={kind: Spread.of(rates) for kind, rates in steps["rates"].items()},
        share=Spread.of([rate / limit for rate, limit in zip(reached, best, strict=True)]),
        speedups=speedups,
        order=tuple(tuple(order) for order in steps["order"]),
        memory_translate=_memory_of(translation),
        machine=_machine(steps),
        notes=tuple(dict.fromkeys(notes)),
    )


def _memory_of(result: Result) -> dict[str, int | None]:
    return {key: result[key] for key in ("peak_bytes", "imports_bytes", "less_imports_bytes")}


def _machine(result: Result) -> dict[str, Any]:
    chosen = ("device", "device_name", "precision", "threads", "workers")
    return {
        **{key: result[key] for key in chosen},
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
    yield f"loader alone: {report.loader.text()} images/s of each domain, {workers}"
    for kind, rates in report.limit.items():
        yield f"limit measured in turn with the steps, {kind}: {rates.text('{:.0f}')} GFLOP/s"
    share = report.share.text("{:.0%}")
    yield f"share of it that a step of {report.costs[0].name} reaches: {share}"
    for what, ratio in report.speedups.items():
        first, second = (cost.name for cost in report.costs)
        yield f"{what}: {first} is faster than {second} by the factor {ratio.text()}"
    if report.speedups:
        yield "the two went in turn, A B, B A, ...; the factor is taken within each round"
    for note in report.notes:
        yield f"note: {note}"


def _cost_lines(cost: VariantCost, report: BenchReport) -> Iterator[str]:
    shape = " x ".join(map(str, cost.shape))
    yield f"{cost.name} ({shape})"
    yield f"  training step: {cost.step.text()} s, after {report.warmup} rounds that do not count"
    yield (
        f"  translating, read to written: {cost.translate.text()} images/s, "
        f"{report.pictures} pictures a pass"
    )
    yield f"  peak memory of training, one fresh process: {_memory_text(cost.memory)}"
    yield f"  {cost.flops / 1e9:,.1f} GFLOP counted in one step"


def _memory_text(memory: Mapping[str, int | None]) -> str:
    peak, before, rest = (
        None if memory[key] is None else f"{memory[key] / 2**30:.2f} GiB"  # type: ignore[operator]
        for key in ("peak_bytes", "imports_bytes", "less_imports_bytes")
    )
    if peak is None:
        return "unknown here"
    return f"{rest} ({peak} less {before} of the imports)" if memory["imports_bytes"] else peak
