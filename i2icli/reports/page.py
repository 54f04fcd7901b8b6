"""The report of a run: one HTML file that holds everything and asks nobody for anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from i2icli.reports.curves import Curve, DrawnChart
from i2icli.version import __version__
from i2icli.viz.tiles import Samples

_TEMPLATES = Path(__file__).parent / "templates"
_TABLE_ROWS = 40  # of a chart's values; the curve shows them all
Mood = Literal["good", "busy", "warn", "bad"]


@dataclass(frozen=True)
class Fact:
    """Something said of the run, with an optional remark."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Status:
    """The state of the run: a word, a mood that colours it, and a sentence."""

    word: str
    mood: Mood
    text: str


@dataclass(frozen=True)
class ConfigChange:
    """A value that is not the paper's."""

    path: str
    paper: str
    here: str


@dataclass(frozen=True)
class Score:
    """A measured number and how it was measured."""

    name: str  # for example "fid"
    value: str  # rounded for reading
    interval: str  # the same, and its level; none where there is none
    facts: tuple[Fact, ...]  # counts and protocol
    warnings: tuple[str, ...]  # what limits the number
    origin: str  # the file it comes from


@dataclass(frozen=True)
class AlarmLine:
    """An alarm that training raised."""

    step: int  # when it went up
    name: str
    direction: str  # of the translations that show it; none where it is about the whole run
    saw: str  # the figures that show it
    remedy: str
    cleared: int | None = None  # step at which it cleared; None: it is up still


@dataclass(frozen=True)
class EntropyMap:
    """Entropy of one picture at one layer."""

    title: str  # names the picture
    picture: str  # data URI of the source
    map: str  # data URI of the entropies


@dataclass(frozen=True)
class EntropyLayer:
    """Entropy of several pictures at one layer, on one scale."""

    layer: int  # number of the tapped module
    size: tuple[int, int]  # height and width of the map, places
    low: float  # ends of the scale, nats
    high: float
    most: float  # entropy of attending everywhere alike, nats
    maps: tuple[EntropyMap, ...]  # one a picture


@dataclass(frozen=True)
class RunReport:
    """All that the page shows; parts that a run lacks are empty and named in `missing`."""

    name: str
    method: str
    preset: str
    data: str
    status: Status
    facts: tuple[Fact, ...]
    samples: Samples | None = None
    losses: tuple[DrawnChart, ...] = ()
    progress: tuple[DrawnChart, ...] = ()
    measured: tuple[DrawnChart, ...] = ()
    measured_protocol: str = ""
    scores: tuple[Score, ...] = ()
    alarms: tuple[AlarmLine, ...] = ()
    entropy: tuple[EntropyLayer, ...] = ()
    about: tuple[Fact, ...] = ()
    deviations: tuple[str, ...] = ()
    changes: tuple[ConfigChange, ...] | None = None
    config_text: str = ""
    environment: tuple[Fact, ...] = ()
    command: str = ""
    missing: tuple[str, ...] = field(default=())
    made: str = ""


def render_report(report: RunReport) -> str:
    """Return the page."""
    return _template().render(
        report=report,
        version=__version__,
        number=format_number,
        describe=describe_chart,
        value_rows=value_rows,
        smallest=_smallest,
    )


def value_rows(chart: DrawnChart) -> list[tuple[int, tuple[float | None, ...]]]:
    """Return a chart's values as a table, at most some tens of rows, the last one among them."""
    steps = sorted({step for curve in chart.chart.curves for step in curve.steps})
    if len(steps) > _TABLE_ROWS:
        last = len(steps) - 1
        steps = [steps[round(i * last / (_TABLE_ROWS - 1))] for i in range(_TABLE_ROWS)]
    known = [dict(zip(c.steps, c.values, strict=True)) for c in chart.chart.curves]
    return [(step, tuple(values.get(step) for values in known)) for step in steps]


def format_number(value: float | None) -> str:
    """Return a number with four significant digits; a dash for none."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def describe_chart(chart: DrawnChart) -> str:
    """Return a chart in words, for those who do not see it."""
    curves = chart.chart.curves
    steps = [step for curve in curves for step in curve.steps]
    parts = [
        f"{c.name} from {format_number(c.values[0])} to {format_number(c.last)}" for c in curves
    ]
    scale = ", logarithmic scale" if chart.chart.is_log else ""
    return (
        f"{chart.chart.title} over steps {min(steps):,} to {max(steps):,}{scale}: "
        f"{'; '.join(parts)}."
    )


def _smallest(curves: Sequence[Curve]) -> list[tuple[str, float, int, float]]:
    return [(curve.name, *low, curve.last) for curve in curves if (low := curve.smallest)]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
