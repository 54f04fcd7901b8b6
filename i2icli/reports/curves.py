"""Curves over the steps of a run, as SVG that follows the colours of the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

MAX_POINTS = 600  # a curve; more cannot be told apart on a page
MAX_COLOURS = 8
_LOG_FROM = 10.0  # ratio of the largest to the smallest value from which an axis is logarithmic
_SMOOTH_FROM = 80  # points from which a running mean is drawn over the raw curve
_SIZE = (4.4, 2.3)  # inches, of 72 units of the SVG each

# Colours that matplotlib writes and the page replaces by its own, light or dark.
_INK, _FAINT = "#010203", "#010204"
_MARKS = [f"#0102{16 + index:02x}" for index in range(MAX_COLOURS)]
_STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and scales with the page
    "font.size": 8.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.5,
    "axes.axisbelow": True,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Curve:
    """Values over steps."""

    name: str  # what the legend calls it
    steps: tuple[int, ...]  # where, rising
    values: tuple[float, ...]  # as many; those that are not finite leave a gap

    @property
    def last(self) -> float:
        """The newest value."""
        return self.values[-1]

    @property
    def smallest(self) -> tuple[float, int] | None:
        """The smallest finite value and its step; None where no value is finite."""
        pairs = zip(self.values, self.steps, strict=True)
        return min((pair for pair in pairs if math.isfinite(pair[0])), default=None)


@dataclass(frozen=True)
class Chart:
    """Curves that share their axes."""

    title: str
    curves: tuple[Curve, ...]  # at most `MAX_COLOURS`; see `build_charts`
    note: str = ""  # said beside the title, for example a unit
    from_zero: bool = False  # for amounts: begins at zero, never logarithmic

    @property
    def is_log(self) -> bool:
        """Whether the values span so much that equal ratios get equal lengths."""
        values = [v for curve in self.curves for v in curve.values if math.isfinite(v)]
        return (
            not self.from_zero
            and bool(values)
            and min(values) > 0
            and max(values) / min(values) >= _LOG_FROM
        )

    @property
    def is_smoothed(self) -> bool:
        """Whether a running mean is drawn over the raw curves."""
        is_dense = any(len(curve.steps) >= _SMOOTH_FROM for curve in self.curves)
        return is_dense and not self.from_zero


@dataclass(frozen=True)
class DrawnChart:
    """A chart for a page."""

    chart: Chart
    svg: str  # the picture; colours are `currentColor`, `var(--faint)` and `var(--c0)`, ...
    # what a script needs to read values off: the plot's `left`, `right`, `top` and `bottom` in
    # units of the SVG, its first and last step, `steps`, and `curves`, each with `name` and a value
    # or null for every step
    readout: Mapping[str, object]


def build_charts(
    title: str, curves: Sequence[Curve], *, note: str = "", from_zero: bool = False
) -> list[Chart]:
    """Spread curves over as many charts as their colours allow."""
    parts = [curves[i : i + MAX_COLOURS] for i in range(0, len(curves), MAX_COLOURS)]
    return [
        Chart(title if i == 0 else f"{title} ({i + 1})", tuple(part), note, from_zero)
        for i, part in enumerate(parts)
    ]


def thin(curve: Curve, *, count: int = MAX_POINTS) -> Curve:
    """Return at most `count` points, each the mean of its neighbours; the last step stays last."""
    if len(curve.steps) <= count:
        return curve
    size = math.ceil(len(curve.steps) / count)
    # Counted from the end, so that only the first block may be smaller.
    ends = range(len(curve.steps), 0, -size)
    blocks = [slice(max(0, end - size), end) for end in reversed(ends)]
    return Curve(
        curve.name,
        tuple(curve.steps[block][-1] for block in blocks),
        tuple(float(np.mean(curve.values[block])) for block in blocks),
    )


def draw_chart(chart: Chart) -> DrawnChart:
    """Draw a chart.

    Raises:
        ValueError: if it has no curve, or more than there are colours.
    """
    if not 0 < len(chart.curves) <= MAX_COLOURS:
        raise ValueError(f"a chart takes 1 to {MAX_COLOURS} curves, not {len(chart.curves)}")
    thinned = replace(chart, curves=tuple(thin(curve) for curve in chart.curves))
    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": chart.title}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=_SIZE)
        axes = figure.add_axes((0.125, 0.105, 0.86, 0.86))
        for curve, colour in zip(thinned.curves, _MARKS, strict=False):
            _draw_curve(axes, curve, colour, is_smoothed=thinned.is_smoothed)
        _scale(axes, thinned)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return DrawnChart(chart, _for_page(buffer.getvalue()), _readout(axes, thinned))


def _draw_curve(axes: Axes, curve: Curve, colour: str, *, is_smoothed: bool) -> None:
    count = len(curve.steps)
    if is_smoothed and count >= _SMOOTH_FROM:
        axes.plot(curve.steps, curve.values, color=colour, linewidth=0.7, alpha=0.35)
        axes.plot(curve.steps, _running_mean(curve.values), color=colour, linewidth=1.6)
    else:
        # A mark at every value shows how few there are.
        mark = "o" if count <= 40 else None
        axes.plot(
            curve.steps, curve.values, color=colour, linewidth=1.5, marker=mark, markersize=2.4
        )


def _running_mean(values: Sequence[float]) -> NDArray[np.float64]:
    reach = max(1, len(values) // 60)  # a thirtieth of the curve, both sides together
    known = np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=np.nan, neginf=np.nan)
    window = np.ones(2 * reach + 1)
    is_known = np.isfinite(known)
    sums = np.convolve(np.where(is_known, known, 0.0), window, "same")
    counts = np.convolve(is_known.astype(np.float64), window, "same")
    means: NDArray[np.float64] = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _scale(axes: Axes, chart: Chart) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if chart.is_log:
        axes.set_yscale("log")
        subs = (1.0, 2.0, 5.0) if _decades(chart) < 2.5 else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if chart.from_zero:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    axes.tick_params(length=2.5, width=0.6)


def _tick(value: float, _position: int | None) -> str:
    text = f"{value:.6g}"
    return text if len(text) <= 6 else f"{value:.3g}"


def _decades(chart: Chart) -> float:
    values = [v for curve in chart.curves for v in curve.values if math.isfinite(v)]
    return math.log10(max(values) / min(values))


def _readout(axes: Axes, chart: Chart) -> dict[str, object]:
    figure = axes.figure
    width, height = (72 * side for side in _SIZE)
    box = axes.get_position()
    first, last = axes.get_xlim()
    steps = sorted({step for curve in chart.curves for step in curve.steps})
    known = [dict(zip(curve.steps, curve.values, strict=True)) for curve in chart.curves]
    assert figure is not None, "the axes lie in a figure"
    return {
        "left": round(float(box.x0) * width, 2),
        "right": round(float(box.x1) * width, 2),
        "top": round(float(1 - box.y1) * height, 2),
        "bottom": round(float(1 - box.y0) * height, 2),
        "first": float(first),
        "last": float(last),
        "steps": steps,
        "curves": [
            {"name": curve.name, "values": [_plain(values.get(step)) for step in steps]}
            for curve, values in zip(chart.curves, known, strict=True)
        ],
    }


def _plain(value: float | None) -> float | None:
    # JSON holds no NaN, and a reader needs no more digits.
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _for_page(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    # Ids that only name groups would repeat from chart to chart.
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" ?', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*" ?', r'<svg aria-hidden="true" \1', svg)
    for index, mark in enumerate(_MARKS):
        svg = svg.replace(mark, f"var(--c{index})")
    return svg.replace(_FAINT, "var(--faint)").replace(_INK, "currentColor").strip()
