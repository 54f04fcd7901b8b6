"""The figure of `analyse-structure`: what each loss says of aligned and of other pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from i2icli.pictures.decode import Pixels
from i2icli.viz.panels import DPI, INK, SOFT_INK

_COLOURS = ("#0072b2", "#d55e00", "#8c8c8c")  # told apart by colour-blind readers too
_COLUMNS = 3
_WIDTH, _PICTURES, _PANEL = 12.0, 3.1, 2.05  # inches


@dataclass(frozen=True)
class LossPanel:
    """The values of one loss."""

    title: str
    sets: Mapping[str, NDArray[np.float64]]  # by name, the aligned pairs first
    note: str  # what they say, one line


def draw_separations(
    pictures: Sequence[tuple[str, Pixels]], panels: Sequence[LossPanel], *, about: str
) -> Figure:
    """Draw example pictures, (H, W, 3) uint8 with captions, over a panel a loss."""
    rows = -(-len(panels) // _COLUMNS)
    heights = [_PICTURES, *[_PANEL] * rows, 0.3]
    figure = Figure(
        figsize=(_WIDTH, sum(heights)), dpi=DPI, facecolor="white", layout="constrained"
    )
    top, *bands, foot = figure.subfigures(  # type: ignore[misc]
        len(heights), 1, height_ratios=heights
    )
    for part in (top, *bands):
        part.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    _draw_pictures(top, pictures)
    for number, band in enumerate(bands):
        shown = panels[number * _COLUMNS : (number + 1) * _COLUMNS]
        cells = band.subplots(1, _COLUMNS, squeeze=False)[0]
        for position, axes in enumerate(cells):
            if position < len(shown):
                _draw_panel(axes, shown[position], is_labelled=position == 0)
            else:
                axes.axis("off")
    foot.text(0.012, 0.5, about, fontsize=8.5, color=SOFT_INK, ha="left", va="center")
    return figure


def _draw_pictures(figure: SubFigure, pictures: Sequence[tuple[str, Pixels]]) -> None:
    colours = (INK, *_COLOURS)
    for axes, (caption, pixels), colour in zip(
        figure.subplots(1, len(pictures), squeeze=False)[0], pictures, colours, strict=False
    ):
        axes.imshow(pixels)
        axes.set_title(caption, fontsize=10, color=colour)
        axes.set_xticks([])
        axes.set_yticks([])


def _draw_panel(axes: Axes, panel: LossPanel, *, is_labelled: bool) -> None:
    random = np.random.default_rng(0)  # spreads the dots of a line
    for row, (values, colour) in enumerate(zip(panel.sets.values(), _COLOURS, strict=True)):
        heights = -row + random.uniform(-0.26, 0.26, len(values))
        axes.plot(values, heights, "o", color=colour, markersize=3.2, alpha=0.55, mew=0)
        axes.plot([np.median(values)] * 2, [-row - 0.36, -row + 0.36], color=colour, lw=2)
    axes.set_ylim(0.55 - len(panel.sets), 0.55)
    axes.set_yticks([-row for row in range(len(panel.sets))])
    axes.set_yticklabels(list(panel.sets) if is_labelled else [], fontsize=9, color=INK)
    axes.set_title(panel.title, fontsize=11, weight="bold", color=INK, loc="left", pad=17)
    axes.text(
        0, 1.03, panel.note, fontsize=8.5, color=SOFT_INK, transform=axes.transAxes, va="bottom"
    )
    axes.tick_params(labelsize=8, length=2.5, width=0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
