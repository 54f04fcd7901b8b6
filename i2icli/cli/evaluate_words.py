"""What `i2i eval` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from i2icli.cli.show import Told, show

if TYPE_CHECKING:
    from i2icli.evaluation.evaluate import Evaluated
    from i2icli.evaluation.protocols import Protocol
    from i2icli.metrics.results import Measurement

_HIDDEN = frozenset({"outputs", "device", "best_step", "judge"})


def show_one(evaluated: Evaluated, protocol: Protocol | None, *, as_json: bool) -> None:
    """Print the numbers of one checkpoint or of folders; warnings go to stderr."""
    show(Told(_as_document(evaluated, protocol), _lines(evaluated)), as_json=as_json)
    _warn([evaluated], protocol)


def show_several(found: Sequence[Evaluated], protocol: Protocol | None, *, as_json: bool) -> None:
    """Print the numbers of a run's checkpoints, oldest first, and the best of each metric."""
    best = _best(found)
    document = _as_document(found[-1], protocol)
    document["checkpoints"] = [{"about": dict(e.about), "metrics": _metrics(e)} for e in found]
    document["best"] = {name: dict(entry.about) for name, entry in best.items()}
    names = list(found[-1].results)
    lines = ["step".rjust(10) + "".join(name.rjust(_width(name)) for name in names)]
    for entry in found:
        cells = [_cell(entry, name, is_best=best.get(name) is entry) for name in names]
        lines.append(str(entry.about["step"]).rjust(10) + "".join(cells))
    lines.append("* the best over training; the last line is the last checkpoint")
    show(Told(document, [*lines, *_lines(found[-1])]), as_json=as_json)
    _warn(found, protocol)


def _as_document(evaluated: Evaluated, protocol: Protocol | None) -> dict[str, Any]:
    return {
        "metrics": _metrics(evaluated),
        "checkpoint": dict(evaluated.about) or None,
        "protocol": None if protocol is None else protocol.name,
        "skipped": dict(evaluated.skipped),
        "warnings": list(evaluated.warnings),
    }


def _metrics(evaluated: Evaluated) -> dict[str, Any]:
    return {name: measured.as_document() for name, measured in evaluated.results.items()}


def _best(found: Sequence[Evaluated]) -> Mapping[str, Evaluated]:
    """Return the checkpoint of the best number by each name that says more when lower or higher."""
    from i2icli.metrics.choose import better_of

    best = {}
    for name in found[-1].results:
        if better_of(name) != "neither":
            sign = -1 if better_of(name) == "higher" else 1
            measured = [(sign * e.results[name].value, e) for e in found if name in e.results]
            best[name] = min(measured, key=lambda pair: pair[0])[1]
    return best


def _cell(entry: Evaluated, name: str, *, is_best: bool) -> str:
    text = _number(entry.results[name].value) if name in entry.results else "-"
    return (text + ("*" if is_best else " ")).rjust(_width(name))


def _width(name: str) -> int:
    return max(14, len(name) + 2)


def _lines(evaluated: Evaluated) -> list[str]:
    said = {name: _facts(measured) for name, measured in evaluated.results.items()}
    first = next(iter(said.values()), {})
    common = {
        key: value
        for key, value in first.items()
        if all(facts.get(key) == value for facts in said.values())
    }
    lines = []
    for name, measured in evaluated.results.items():
        lines.append(_headline(name, measured))
        parts = {key: value for key, value in measured.parts.items() if value is not None}
        if parts:
            lines.append("  " + ", ".join(f"{k} {_number(v)}" for k, v in parts.items()))
        own = {key: value for key, value in said[name].items() if key not in common}
        if own:
            lines.append("  " + "; ".join(f"{key}: {value}" for key, value in own.items()))
    return [*lines, *(f"{key}: {value}" for key, value in common.items())]


def _facts(measured: Measurement) -> dict[str, Any]:
    facts = {**measured.protocol, **measured.about}
    return {k: v for k, v in facts.items() if v is not None and k not in _HIDDEN}


def _headline(name: str, measured: Measurement) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in measured.counts.items())
    interval = measured.interval
    reach = ""
    if interval is not None:
        share = f"{100 * interval.level:g} %"
        reach = f"  ({share}: {_number(interval.low)} to {_number(interval.high)})"
    return f"{name.upper()} {_number(measured.value)}{reach}  N: {counts}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 10 else f"{value:.5f}"


def _warn(found: Sequence[Evaluated], protocol: Protocol | None) -> None:
    said: dict[str, None] = {}
    for evaluated in found:
        said |= dict.fromkeys(evaluated.warnings)
        for measured in evaluated.results.values():
            said |= dict.fromkeys(measured.warnings)
        said |= dict.fromkeys(f"left out {k}: {v}" for k, v in evaluated.skipped.items())
    if protocol is not None:
        said[f"protocol {protocol.name} ({protocol.paper}): {protocol.choice}"] = None
    for sentence in said:
        typer.echo(f"note: {sentence.rstrip('.')}.", err=True)
