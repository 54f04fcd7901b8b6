"""The panels that every sheet of `viz-attention` is put together from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

from i2icli.methods.shared.views import AnyView
from i2icli.pictures.decode import Pixels
from i2icli.viz.looks import Look

HEAT = "inferno"  # attention weights: dark is none
QUERY = "#00e5ff"
INK = "#222222"
SOFT_INK = "#555555"
WIDTH = 12.0  # inches of a sheet
DPI = 110
LINE_LENGTH = 165  # letters of the foot
_STROKE = [withStroke(linewidth=2.5, foreground="black")]


def start_sheet(
    look: Look, *, facts: str, about: str, bands: Sequence[float]
) -> tuple[Figure, list[SubFigure]]:
    """Begin a sheet with its heading and its foot; return it and a part for every band.

    `bands` are heights of what lies between, inches.
    """
    heights = [0.85, *bands, 0.3 + 0.15 * (1 + len(about) // LINE_LENGTH)]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, facecolor="white", layout="constrained")
    heading, *parts, foot = figure.subfigures(  # type: ignore[misc]
        len(heights), 1, height_ratios=heights
    )
    write_title(heading, look.name, facts)
    write_foot(foot, about)
    return figure, parts


def aspect_of(look: Look) -> float:
    """Return height by width of a picture's panel, kept from extremes."""
    return min(3.0, max(1 / 3, look.size[0] / look.size[1]))


def write_title(figure: SubFigure, name: str, facts: str) -> None:
    """Write the picture's name, and a line of facts under it."""
    figure.text(
        0.012, 0.68, name, fontsize=15, weight="bold", color=INK, ha="left", va="center",
        parse_math=False,
    )  # fmt: skip
    figure.text(0.012, 0.27, facts, fontsize=9.5, color=SOFT_INK, ha="left", va="center")


def write_foot(figure: SubFigure, about: str) -> None:
    """Write sentences in lines that fit the sheet."""
    lines, line = [], ""
    for word in about.split(" "):
        if len(line) + len(word) > LINE_LENGTH:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    figure.text(
        0.012, 0.95, "\n".join([*lines, line]), fontsize=8.5, color=SOFT_INK, ha="left", va="top",
        linespacing=1.35,
    )  # fmt: skip


def show_picture(axes: Axes, picture: Pixels, title: str) -> None:
    """Draw a picture, its pixels the units of the axes."""
    axes.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
    axes.set_title(title, fontsize=10, color=INK)
    clean(axes)


def faded(picture: Pixels, *, darkest: float = 110, contrast: float = 0.55) -> Pixels:
    """Return a picture in pale grey, on which colours stand out."""
    grey = np.asarray(picture, np.float32).mean(axis=2, keepdims=True)
    return np.repeat(darkest + contrast * grey, 3, axis=2).clip(0, 255).astype(np.uint8)


def show_map(
    axes: Axes, look: Look, values: Tensor, norm: Normalize, *, colours: str | Colormap
) -> None:
    """Draw a map, its cells as they are."""
    axes.imshow(
        values.numpy(), cmap=colours, norm=norm, interpolation="nearest",
        extent=(0, look.covered[1], look.covered[0], 0),
    )  # fmt: skip
    frame(axes, look)


def show_heat(axes: Axes, look: Look, picture: Pixels, weights: Tensor) -> None:
    """Draw weights, (h, w), over a dimmed picture: the heavier the more opaque."""
    grey = np.asarray(picture, np.float32).mean(axis=2) * 0.7  # dark, below something brighter
    axes.imshow(
        grey, cmap="gray", vmin=0, vmax=255, extent=(0, picture.shape[1], picture.shape[0], 0)
    )
    share = (weights / weights.max().clamp(min=1e-12)).sqrt().numpy()
    axes.imshow(
        share, cmap=HEAT, vmin=0, vmax=1, alpha=np.clip(0.1 + 1.4 * share, 0, 0.92),
        extent=(0, look.covered[1], look.covered[0], 0), interpolation="nearest",
    )  # fmt: skip
    frame(axes, look)


def mark(
    axes: Axes, look: Look, view: AnyView, position: int, text: str, *, keep_inside: bool = False
) -> None:
    """Circle a flat position, with text beside it, which `keep_inside` keeps off the edges."""
    x, y = look.centre_of(view, position)
    away_x = -11 if keep_inside and x > 0.88 * look.size[1] else 6
    away_y = -12 if keep_inside and y < 0.12 * look.size[0] else 5
    axes.plot(x, y, marker="o", markersize=9, mfc="none", mec=QUERY, mew=1.6, path_effects=_STROKE)
    if text:
        axes.annotate(
            text, (x, y), xytext=(away_x, away_y), textcoords="offset points", fontsize=8,
            weight="bold", color=QUERY, path_effects=_STROKE, annotation_clip=True,
        )  # fmt: skip


def frame_strongest(axes: Axes, look: Look, view: AnyView, weights: Tensor) -> None:
    """Frame the position of the largest weight, which may be one cell among thousands."""
    x, y = look.centre_of(view, int(weights.argmax()))
    height, width = view.size
    cell = (look.covered[1] / width, look.covered[0] / height)
    corner = (x - cell[0], y - cell[1])
    axes.add_patch(Rectangle(corner, 2 * cell[0], 2 * cell[1], fill=False, ec="white", lw=0.9))


def draw_bar(
    axes: Axes,
    mapped: ScalarMappable,
    label: str,
    ticks: Sequence[float] | None = None,
    *,
    extend: Literal["neither", "both"] = "neither",
) -> None:
    """Fill `axes` with a colour bar; `extend`: values may lie beyond its ends."""
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(mapped, cax=axes, orientation="horizontal", ticks=ticks, extend=extend)
    bar.set_label(label, fontsize=8, color=INK, labelpad=1)
    bar.ax.tick_params(labelsize=7.5, color=INK, length=2)


def grid_of(figure: SubFigure, count: int, *, columns: int) -> NDArray[np.object_]:
    """Return axes for `count` panels in rows of `columns`; those left over show nothing."""
    rows = -(-count // columns)
    panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in panels[count:]:
        axes.axis("off")
    return panels[:count]


def frame(axes: Axes, look: Look) -> None:
    """Show the picture's area alone, without what was padded."""
    axes.set_xlim(0, look.size[1])
    axes.set_ylim(look.size[0], 0)
    clean(axes)


def clean(axes: Axes) -> None:
    """Take ticks and borders off."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
