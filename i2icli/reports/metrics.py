"""Curves, scores and alarms of a run's log and results, for its report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from i2icli.reports.curves import Chart, Curve, DrawnChart, build_charts, draw_chart
from i2icli.reports.page import AlarmLine, Fact, Score, format_number
from i2icli.runs.folder import Line

# Keys of a log line that are no curve, or whose curves stand elsewhere.
_PLAIN = ("step", "epoch", "partial")
_TITLES = {"truth": "error against the truth", "fid": "FID", "kid": "KID", "lpips": "LPIPS"}
_SPEED = {"images_per_s": "images a second", "data_wait": "share of time spent waiting for data"}


def loss_charts(lines: Sequence[Line]) -> tuple[DrawnChart, ...]:
    """Return a chart of its terms for every player."""
    players: dict[str, list[Curve]] = {}
    for key, curve in _curves(lines).items():
        group, slash, name = key.partition("/")
        if slash and group != "eval" and name != "lr":
            players.setdefault(group, []).append(curve)
    return _draw(
        chart
        for player, curves in players.items()
        for chart in build_charts(f"{player} terms", curves)
    )


def progress_charts(lines: Sequence[Line]) -> tuple[DrawnChart, ...]:
    """Return learning rates and speed."""
    curves = _curves(lines)
    rates: dict[tuple[tuple[int, ...], tuple[float, ...]], list[str]] = {}
    for key, curve in curves.items():
        if key.endswith("/lr"):
            rates.setdefault((curve.steps, curve.values), []).append(key.removesuffix("/lr"))
    # Players on one schedule share a curve, where the last one would hide the others.
    shared = [Curve(", ".join(names), *points) for points, names in rates.items()]
    charts = build_charts("learning rate", shared, from_zero=True)
    speed = [replace(curves[key], name=name) for key, name in _SPEED.items() if key in curves]
    return _draw([*charts, *(Chart(curve.name, (curve,), from_zero=True) for curve in speed)])


def measured_charts(lines: Sequence[Line]) -> tuple[tuple[DrawnChart, ...], str]:
    """Return the measurements during training, and what they were measured on.

    Those that belong together share a chart: "eval/truth_inside" and "eval/truth_outside" are
    parts of "truth". Numbers of another protocol than the newest are not comparable, and left out.
    """
    measured = [line for line in lines if any(key.startswith("eval/") for key in line)]
    protocol = str(measured[-1].get("protocol", "")) if measured else ""
    lines = [line for line in measured if str(line.get("protocol", "")) == protocol]
    families: dict[str, list[Curve]] = {}
    for key, curve in _curves(lines).items():
        group, _, name = key.partition("/")
        if group == "eval" and name:
            family, _, part = name.partition("_")
            families.setdefault(family, []).append(replace(curve, name=part or family))
    charts = _draw(
        chart
        for family, curves in families.items()
        for chart in build_charts(_TITLES.get(family, family), curves, note="lower is better")
    )
    return charts, protocol


def read_scores(folder: Path) -> tuple[list[Score], list[str]]:
    """Return the results of `i2i eval` in a run folder, and sentences on unreadable ones."""
    scores: list[Score] = []
    faults: list[str] = []
    for path in sorted((*folder.glob("eval*.json"), *folder.glob("eval/*.json"))):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            scores += _scores(document, origin=path.relative_to(folder).as_posix())
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            faults.append(f"{path.name}: it is no result of `i2i eval --json`.")
    return scores, faults


def read_alarms(lines: Sequence[Line]) -> tuple[AlarmLine, ...]:
    """Return the alarms in a log, those that are still up first, then the newest."""
    alarms: list[AlarmLine] = []
    for line in lines:
        name, step = line.get("alarm", line.get("cleared")), int(line["step"])
        which = (str(name), str(line.get("direction", "")))
        if "alarm" in line:
            said = (str(line.get("saw", "")), str(line.get("remedy", "")))
            alarms.append(AlarmLine(step, *which, *said))
        elif "cleared" in line:
            alarms = [
                replace(alarm, cleared=step)
                if (alarm.name, alarm.direction) == which and alarm.cleared is None
                else alarm
                for alarm in alarms
            ]
    return tuple(sorted(alarms, key=lambda alarm: (alarm.cleared is not None, -alarm.step)))


def has_broken_term(lines: Sequence[Line]) -> bool:
    """Say whether a logged number is not finite."""
    return any(
        isinstance(value, float) and not math.isfinite(value)
        for line in lines
        for value in line.values()
    )


def _curves(lines: Sequence[Line]) -> dict[str, Curve]:
    points: dict[str, dict[int, float]] = {}
    for line in lines:
        for key, value in line.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if key not in _PLAIN and is_number:
                # Of two lines of one step, as a resumed run may leave, the later one holds.
                points.setdefault(key, {})[int(line["step"])] = float(value)
    return {
        key: Curve(
            key.partition("/")[2] or key, tuple(sorted(at)), tuple(at[s] for s in sorted(at))
        )
        for key, at in points.items()
    }


def _draw(charts: Sequence[Chart] | Iterator[Chart]) -> tuple[DrawnChart, ...]:
    return tuple(draw_chart(chart) for chart in charts)


def _scores(document: Mapping[str, Any], *, origin: str) -> Iterator[Score]:
    checkpoint = document.get("checkpoint") or {}
    for name, result in document["metrics"].items():
        if result is None:
            continue
        counts = {f"N {key}": f"{count:,}" for key, count in result.get("counts", {}).items()}
        facts = {**counts, **result.get("protocol", {}), **checkpoint, **result.get("about", {})}
        yield Score(
            name=_TITLES.get(str(name), str(name)),
            value=format_number(float(result["value"])),
            interval=_interval(result.get("interval")),
            facts=(
                *(
                    Fact(str(key).replace("_", " "), str(fact))
                    for key, fact in facts.items()
                    if fact is not None
                ),
                *_over_training(document, str(name)),
            ),
            warnings=tuple(map(str, result.get("warnings", ()))),
            origin=origin,
        )


def _over_training(document: Mapping[str, Any], name: str) -> list[Fact]:
    values = []
    for entry in document.get("checkpoints", ()):
        if metric := entry["metrics"].get(name):
            value = format_number(float(metric["value"]))
            values.append(f"step {entry['about'].get('step')}: {value}")
    return [Fact("over training", ", ".join(values))] if values else []


def _interval(given: Mapping[str, Any] | None) -> str:
    if not given:
        return ""
    low, high = (format_number(float(given[end])) for end in ("low", "high"))
    return f"{low} to {high} ({float(given.get('level', 0.95)):.0%}, {given.get('method', '')})"
