"""One sheet a picture and layer: where attention is concentrated, and what places attend to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from i2icli.data.decode import Pixels
from i2icli.methods.views import SIDES, AttentionView, Side
from i2icli.visual.looks import Look, ranks, window_map

HEAT = "inferno"  # attention weights: dark is none
ENTROPY = "viridis_r"  # entropy: bright is low, which is what gets selected
RANK = "plasma_r"  # rank of the selected places
QUERY = "#00e5ff"
_WIDTH = 12.0  # inches
_DPI = 110
_INK = "#222222"
_STROKE = [withStroke(linewidth=2.5, foreground="black")]


def draw_sheet(look: Look, view: AttentionView, queries: Sequence[int]) -> Figure:
    """Draw one layer of one picture.

    On top: source, the selected places in the colour of their rank, the entropy of source and
    translation on one scale, and the translation. Below, for each query its attention in the source
    and in the translation: over the whole picture, in the window, or both.

    Args:
        look: the picture.
        view: one of its views.
        queries: flat positions whose attention is shown.
    """
    height, width = look.size
    aspect = min(3.0, max(1 / 3, height / width))
    per_row = 1 if view.has_window else 2
    rows = math.ceil(len(queries) / per_row)
    top, each = _WIDTH / 5 * aspect + 0.75, _WIDTH / 4 * aspect + 0.6
    title, foot = 0.85, 0.75
    total = title + top + rows * each + foot
    figure = Figure(figsize=(_WIDTH, total), dpi=_DPI, facecolor="white", layout="constrained")
    parts = figure.subfigures(4, 1, height_ratios=[title, top, max(rows * each, 0.01), foot])
    heading, overview, below, footer = parts  # type: ignore[misc]
    _write_title(heading, look, view)
    _draw_overview(overview, look, view, queries)
    panels = below.subplots(rows, 4, squeeze=False) if rows else np.empty((0, 4), object)
    cells = panels.reshape(-1, 4 // per_row)
    for number, cell in enumerate(cells):
        if number < len(queries):
            _draw_query(cell, look, view, queries[number], number=number + 1)
        else:
            for axes in cell:
                axes.axis("off")
    _write_footer(footer, view)
    return figure


def explain(view: AttentionView) -> str:
    """Say in two sentences what is seen."""
    about = {
        "global": "Each place of the source attends to all places",
        "local": f"Each place of the source attends to the {view.window} x {view.window} places "
        "around it",
        "local-global": f"Entropy is measured in windows of {view.window} x {view.window} places "
        "and features are gathered from the whole picture",
    }[view.selection]
    said = (
        f"{about}; low entropy (nats) means that few of them get most of the weight, and the "
        f"{len(view.places)} places of lowest entropy are selected, rank 1 first. Heat maps show "
        "the weights that the circled place gives, in the source by the source's features and in "
        "the translation by the translation's; brightness is the square root of the weight, "
        "and a white frame marks the largest."
    )
    if view.has_window and view.layout == "released":
        said += (
            " In the layout of the released code a cell of the window mixes channels of several "
            "places, so the cells of a window are in reading order and are no places."
        )
    return said


def bound(view: AttentionView) -> float:
    """Return the largest possible entropy, nats: that of equal weights."""
    return math.log(view.window**2 if view.has_window else view.entropy.numel())


def _write_title(figure: SubFigure, look: Look, view: AttentionView) -> None:
    height, width = view.entropy.shape
    figure.text(
        0.012, 0.68, look.name, fontsize=15, weight="bold", color=_INK, ha="left", va="center",
        parse_math=False,
    )  # fmt: skip
    values = view.entropy
    facts = (
        f"layer {view.layer}, {view.selection} attention, {width} x {height} places, "
        f"{len(view.places)} selected; entropy of the source {nats(values.min())} to "
        f"{nats(values.max())} nats, median {nats(values.median())}, at most {bound(view):.2f}"
    )
    figure.text(0.012, 0.27, facts, fontsize=9.5, color="#555555", ha="left", va="center")


def nats(value: Tensor) -> str:
    """Write an entropy so that tiny ones differ from none."""
    number = max(0.0, float(value))  # log-softmax rounds to -0.0
    return f"{number:.2f}" if number >= 0.005 or number == 0 else f"{number:.0e}"


def _write_footer(figure: SubFigure, view: AttentionView) -> None:
    text = explain(view).split(" ")
    lines, line = [], ""
    for word in text:
        if len(line) + len(word) > 165:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    figure.text(
        0.012, 0.95, "\n".join([*lines, line]), fontsize=8.5, color="#555555", ha="left", va="top",
        linespacing=1.35,
    )  # fmt: skip


def _draw_overview(
    figure: SubFigure, look: Look, view: AttentionView, queries: Sequence[int]
) -> None:
    panels = figure.subplots(2, 5, height_ratios=[1, 0.045])
    for bar in panels[1, [0, 4]]:
        bar.axis("off")
    show_picture(panels[0, 0], look.source, "source")
    show_picture(panels[0, 4], look.translation, "translation")
    _draw_selected(panels[0, 1], panels[1, 1], look, view)
    norm = entropy_scale([view.entropy, view.translation_entropy])
    for column, values, title in (
        (2, view.entropy, "entropy, source"),
        (3, view.translation_entropy, "entropy, translation"),
    ):
        show_map(panels[0, column], look, values, norm)
        panels[0, column].set_title(title, fontsize=10, color=_INK)
        draw_bar(panels[1, column], ScalarMappable(norm, ENTROPY), "nats")
    for axes in panels[0, 1:3]:
        for number, place in enumerate(queries, start=1):
            mark(axes, look, view, place, str(number))


def _draw_selected(axes: Axes, bar: Axes, look: Look, view: AttentionView) -> None:
    """Draw the selected places in the colour of their rank, the best on top."""
    show_picture(axes, _faded(look.source), "selected places")
    centres = np.array([look.centre_of(view, int(place)) for place in view.places]).reshape(-1, 2)
    count = len(centres)
    scale = Normalize(1, max(2, count))
    order = np.arange(count)[::-1]
    area = min(30.0, max(5.0, 3000.0 / max(1, count)))
    axes.scatter(
        centres[order, 0], centres[order, 1], c=order + 1, cmap=RANK, norm=scale, s=area,
        linewidths=0.3, edgecolors="black",
    )  # fmt: skip
    _frame(axes, look)
    draw_bar(bar, ScalarMappable(scale, RANK), "rank", ticks=[1, max(2, count)])


def _draw_query(
    cell: Sequence[Axes], look: Look, view: AttentionView, place: int, *, number: int
) -> None:
    """Draw a query's attention, source left of translation, each with its window beside it."""
    at = torch.tensor([place])
    rank = int(ranks(view.entropy)[place])
    for side, panels in zip(SIDES, np.split(np.asarray(cell), 2), strict=True):
        picture = look.source if side == "source" else look.translation
        weights = view.map_rows(side, at)[0] if view.has_map else _window_on_map(view, side, place)
        axes = panels[0]
        show_heat(axes, look, picture, weights)
        if bool(weights.any()):
            _frame_strongest(axes, look, view, weights)
        mark(axes, look, view, place, "")
        if view.has_window:
            _outline(axes, look, view, place)
            _draw_window(panels[1], view, side, place)
        where = f"query {number}: " if side == "source" else ""
        axes.set_title(
            f"{where}{side}\n{_facts(view, side, place, weights, rank)}", fontsize=9, color=_INK
        )


def _facts(view: AttentionView, side: Side, place: int, weights: Tensor, rank: int) -> str:
    values = view.entropy if side == "source" else view.translation_entropy
    said = f"{nats(values.flatten()[place])} nats"
    if side == "source":
        said += f", rank {rank}"
    if view.has_window and not view.has_map and view.layout == "released":
        return f"{said}\nwindow beside"
    flat = weights.flatten().clone()
    own = float(flat[place])
    flat[place] = 0
    return f"{said}\n{own:.1%} to itself, at most {float(flat.max()):.1%} to another"


def _window_on_map(view: AttentionView, side: Side, place: int) -> Tensor:
    return window_map(view, place, view.window_rows(side, torch.tensor([place]))[0])


def _draw_window(axes: Axes, view: AttentionView, side: Side, place: int) -> None:
    """Draw a window enlarged, with its weights in percent where there is room."""
    weights = view.window_rows(side, torch.tensor([place]))[0].numpy()
    norm = PowerNorm(0.5, 0, max(float(weights.max()), 1e-12))
    axes.imshow(weights, cmap=HEAT, norm=norm)
    if view.window <= 9:
        for (row, column), weight in np.ndenumerate(weights):
            shade = "black" if norm(weight) > 0.65 else "white"
            axes.text(
                column, row, f"{100 * weight:.0f}", ha="center", va="center", fontsize=6.5,
                color=shade,
            )  # fmt: skip
    title = "window, %" if view.layout == "paper" else "window in reading order, %"
    axes.set_title(title, fontsize=9, color=_INK)
    if view.layout == "paper":
        middle = view.window // 2
        axes.add_patch(Rectangle((middle - 0.5, middle - 0.5), 1, 1, fill=False, ec=QUERY, lw=1.8))
    _clean(axes)


def show_picture(axes: Axes, picture: Pixels, title: str) -> None:
    """Draw a picture, its pixels the units of the axes."""
    axes.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
    axes.set_title(title, fontsize=10, color=_INK)
    _clean(axes)


def _faded(picture: Pixels) -> Pixels:
    """Return a picture in pale grey, on which colours stand out."""
    grey = np.asarray(picture, np.float32).mean(axis=2, keepdims=True)
    return np.repeat(110 + 0.55 * grey, 3, axis=2).clip(0, 255).astype(np.uint8)


def entropy_scale(maps: Sequence[Tensor]) -> Normalize:
    """Return one scale for several maps of entropy."""
    low = max(0.0, min(float(values.min()) for values in maps))
    high = max(float(values.max()) for values in maps)
    return Normalize(low, high if high > low else low + 1e-6)


def show_map(axes: Axes, look: Look, entropy: Tensor, norm: Normalize) -> None:
    """Draw a map of entropy, its cells as they are."""
    axes.imshow(
        entropy.numpy(), cmap=ENTROPY, norm=norm, interpolation="nearest",
        extent=(0, look.covered[1], look.covered[0], 0),
    )  # fmt: skip
    _frame(axes, look)


def show_heat(axes: Axes, look: Look, picture: Pixels, weights: Tensor) -> None:
    """Draw weights, (h, w), over a dimmed picture: the heavier the more opaque."""
    grey = np.asarray(picture, np.float32).mean(axis=2) * 0.7
    axes.imshow(
        grey, cmap="gray", vmin=0, vmax=255, extent=(0, picture.shape[1], picture.shape[0], 0)
    )
    share = (weights / weights.max().clamp(min=1e-12)).sqrt().numpy()
    axes.imshow(
        share, cmap=HEAT, vmin=0, vmax=1, alpha=np.clip(0.1 + 1.4 * share, 0, 0.92),
        extent=(0, look.covered[1], look.covered[0], 0), interpolation="nearest",
    )  # fmt: skip
    _frame(axes, look)


def _frame_strongest(axes: Axes, look: Look, view: AttentionView, weights: Tensor) -> None:
    """Frame the place of the largest weight, which may be one cell among thousands."""
    x, y = look.centre_of(view, int(weights.argmax()))
    height, width = view.entropy.shape
    cell = (look.covered[1] / width, look.covered[0] / height)
    corner = (x - cell[0], y - cell[1])
    axes.add_patch(Rectangle(corner, 2 * cell[0], 2 * cell[1], fill=False, ec="white", lw=0.9))


def _outline(axes: Axes, look: Look, view: AttentionView, place: int) -> None:
    x, y = look.centre_of(view, place)
    height, width = view.entropy.shape
    cell = (look.covered[1] / width, look.covered[0] / height)
    size = (cell[0] * view.window, cell[1] * view.window)
    corner = (x - size[0] / 2, y - size[1] / 2)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=QUERY, lw=1.2))


def mark(axes: Axes, look: Look, view: AttentionView, place: int, text: str) -> None:
    """Circle a place."""
    x, y = look.centre_of(view, place)
    axes.plot(x, y, marker="o", markersize=9, mfc="none", mec=QUERY, mew=1.6, path_effects=_STROKE)
    if text:
        axes.annotate(
            text, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8, weight="bold",
            color=QUERY, path_effects=_STROKE, annotation_clip=True,
        )  # fmt: skip


def draw_bar(
    axes: Axes, mapped: ScalarMappable, label: str, ticks: Sequence[float] | None = None
) -> None:
    """Fill `axes` with a colour bar."""
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(mapped, cax=axes, orientation="horizontal", ticks=ticks)
    bar.set_label(label, fontsize=8, color=_INK, labelpad=1)
    bar.ax.tick_params(labelsize=7.5, color=_INK, length=2)


def _frame(axes: Axes, look: Look) -> None:
    """Show the picture's area alone, without what was padded."""
    axes.set_xlim(0, look.size[1])
    axes.set_ylim(look.size[0], 0)
    _clean(axes)


def _clean(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
