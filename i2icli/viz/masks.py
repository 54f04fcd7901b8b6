"""Masks: what of a picture a translation changes, with a legend in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from i2icli.methods.shared.views import MaskView
from i2icli.viz.drawer import FILM_SIDE, Document, Drawer, FilmRow, bytes_of, unit_scale
from i2icli.viz.looks import Look, smaller
from i2icli.viz.panels import (
    QUERY,
    SOFT_INK,
    WIDTH,
    aspect_of,
    clean,
    draw_bar,
    frame,
    show_map,
    show_picture,
    start_sheet,
)

MASK = "viridis"
EDGE = 0.5  # where the outline runs
_NEARLY = 0.02  # a mask this close to 0 or to 1 everywhere tells nothing


def explain(look: Look, view: MaskView) -> str:
    """Return the meaning of 0 and 1 in words, and a verdict on the picture."""
    edge = edge_of(look, view)
    return (
        f"The {view.name} has a value from 0 to 1 for every pixel: 0 (dark) means {view.low}, "
        f"1 (bright) means {view.high}. In the third picture the part above {edge:.2g} keeps its "
        f"colours, with an outline; the rest is faded. {_verdict(look, view)}".strip()
    )


def share_above(look: Look, view: MaskView) -> float:
    """Return the part of the picture where the mask exceeds `EDGE`, without what was padded."""
    return float((look.at_pixels(view.mask) > EDGE).float().mean())


def edge_of(look: Look, view: MaskView) -> float:
    """Return the value of the outline: `EDGE`, or amid the values where all lie on one side."""
    values = look.at_pixels(view.mask)
    low, high = float(values.min()), float(values.max())
    return EDGE if low < EDGE < high or high - low < _NEARLY else (low + high) / 2


def _verdict(look: Look, view: MaskView) -> str:
    values = look.at_pixels(view.mask)
    low, high = float(values.min()), float(values.max())
    if low > 1 - _NEARLY:
        return f"Here the mask is 1 everywhere (at least {low:.3f}): all {view.high}."
    if high < _NEARLY:
        return f"Here the mask is 0 everywhere (at most {high:.3f}): all {view.low}."
    if high - low < _NEARLY:
        return f"Here the mask is {low:.2f} everywhere: it separates nothing."
    if not low < EDGE < high:
        side = "below" if high <= EDGE else "above"
        return f"Here all values lie {side} {EDGE:g}, so the outline is drawn in their middle."
    return ""


def _heading(look: Look, view: MaskView) -> str:
    height, width = view.size
    values = look.at_pixels(view.mask)
    name = view.name if view.name == view.layer else f"{view.layer}: {view.name}"
    return (
        f"{name}, {width} x {height}, values {float(values.min()):.2f} to "
        f"{float(values.max()):.2f}, mean {float(values.mean()):.2f}; above {EDGE:g} in "
        f"{share_above(look, view):.1%} of the picture"
    )


def _legend(view: MaskView) -> str:
    return f"0: {view.low}\n1: {view.high}"


def _draw_lifted(axes: Axes, look: Look, view: MaskView) -> None:
    mask, edge = look.at_pixels(view.mask).numpy(), edge_of(look, view)
    grey = look.source.astype(np.float32).mean(axis=2, keepdims=True)
    pale = 150 + 0.38 * grey
    shown = np.where(mask[..., None] > edge, look.source, pale).clip(0, 255).astype(np.uint8)
    show_picture(axes, shown, f"{view.name} above {edge:.2g}")
    if mask.min() < edge < mask.max():
        height, width = mask.shape
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        axes.contour(x, y, mask, levels=[edge], colors=[QUERY], linewidths=1.2)
    frame(axes, look)
    clean(axes)


class _MaskDrawer(Drawer[MaskView]):
    kind = "mask"

    def draw(self, look: Look, view: MaskView, queries: Sequence[int]) -> Figure:  # noqa: ARG002
        band = WIDTH / 4 * aspect_of(look) + 0.95
        figure, (part,) = start_sheet(
            look, facts=_heading(look, view), about=explain(look, view), bands=[band]
        )
        panels = part.subplots(2, 4, height_ratios=[1, 0.045])
        show_picture(panels[0, 0], look.source, "source")
        show_map(panels[0, 1], look, view.mask, Normalize(0, 1), colours=MASK)
        panels[0, 1].set_title(view.name, fontsize=10)
        _draw_lifted(panels[0, 2], look, view)
        show_picture(panels[0, 3], look.translation, look.made)
        for axes in panels[1, [0, 2, 3]]:
            axes.axis("off")
        draw_bar(
            panels[1, 1], ScalarMappable(Normalize(0, 1), MASK), _legend(view), ticks=[0, 0.5, 1]
        )
        part_shown = view.high if edge_of(look, view) == EDGE else "the higher values"
        panels[1, 2].text(
            0.5, 0, f"in colour: {part_shown}", fontsize=8, color=SOFT_INK, ha="center", va="top",
            transform=panels[1, 2].transAxes,
        )  # fmt: skip
        return figure

    def arrays(self, look: Look, view: MaskView, queries: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        return {"mask": look.at_pixels(view.mask)}

    def summary(self, look: Look, view: MaskView, queries: Sequence[int]) -> Document:  # noqa: ARG002
        values = look.at_pixels(view.mask)
        return {
            "name": view.name,
            "low": view.low,
            "high": view.high,
            "map": list(view.size),
            "min": float(values.min()),
            "mean": float(values.mean()),
            "max": float(values.max()),
            "share_above_half": share_above(look, view),
        }

    def inverted(self, view: MaskView) -> MaskView:
        return replace(view, mask=1 - view.mask, low=view.high, high=view.low)

    def film_rows(self, view: MaskView) -> tuple[FilmRow, ...]:
        legend = _legend(view)
        return (FilmRow(view.name, unit_scale, MASK, legend, legend.replace("\n", ", ")),)

    def film_maps(self, view: MaskView, queries: Sequence[int]) -> tuple[Tensor, ...]:  # noqa: ARG002
        return tuple(smaller(view.mask[None], FILM_SIDE))

    def pack(self, look: Look, view: MaskView, share: float) -> tuple[Document, float]:  # noqa: ARG002
        height, width = view.size
        document = {
            "width": width,
            "height": height,
            "name": view.name,
            "low": view.low,
            "high": view.high,
            "share": share_above(look, view),
            "mask": bytes_of(view.mask),
        }
        return document, 0.5 / 255


DRAWER = _MaskDrawer()
