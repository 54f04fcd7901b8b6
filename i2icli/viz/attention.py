"""One sheet a picture and layer: where attention is concentrated, and what positions attend to."""

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
from torch import Tensor

from i2icli.methods.shared.views import SIDES, AttentionView, Side
from i2icli.viz.drawer import Document, Drawer, FilmRow, text_of
from i2icli.viz.looks import Look, ranks, spread, window_map
from i2icli.viz.panels import (
    DPI,
    HEAT,
    INK,
    QUERY,
    WIDTH,
    aspect_of,
    clean,
    draw_bar,
    faded,
    frame,
    frame_strongest,
    mark,
    show_heat,
    show_map,
    show_picture,
    write_foot,
    write_title,
)
from i2icli.viz.quantise import pack

ENTROPY = "viridis_r"  # entropy: bright is low, which is what gets selected
RANK = "plasma_r"  # rank of the selected positions


def explain(view: AttentionView) -> str:
    """Return two sentences on the sheet."""
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


def _heading(view: AttentionView) -> str:
    height, width = view.size
    values = view.entropy
    return (
        f"layer {view.layer}, {view.selection} attention, {width} x {height} places, "
        f"{len(view.places)} selected; entropy of the source {nats(values.min())} to "
        f"{nats(values.max())} nats, median {nats(values.median())}, at most {bound(view):.2f}"
    )


def nats(value: Tensor) -> str:
    """Write an entropy so that tiny ones differ from none."""
    number = max(0.0, float(value))  # log-softmax rounds to -0.0
    return f"{number:.2f}" if number >= 0.005 or number == 0 else f"{number:.0e}"


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
        show_map(panels[0, column], look, values, norm, colours=ENTROPY)
        panels[0, column].set_title(title, fontsize=10, color=INK)
        draw_bar(panels[1, column], ScalarMappable(norm, ENTROPY), "nats")
    for axes in panels[0, 1:3]:
        for number, position in enumerate(queries, start=1):
            mark(axes, look, view, position, str(number))


def _draw_selected(axes: Axes, bar: Axes, look: Look, view: AttentionView) -> None:
    show_picture(axes, faded(look.source), "selected places")
    centres = np.array([look.centre_of(view, int(position)) for position in view.places]).reshape(
        -1, 2
    )
    count = len(centres)
    scale = Normalize(1, max(2, count))
    order = np.arange(count)[::-1]  # the best on top
    area = min(30.0, max(5.0, 3000.0 / max(1, count)))
    axes.scatter(
        centres[order, 0], centres[order, 1], c=order + 1, cmap=RANK, norm=scale, s=area,
        linewidths=0.3, edgecolors="black",
    )  # fmt: skip
    frame(axes, look)
    draw_bar(bar, ScalarMappable(scale, RANK), "rank", ticks=[1, max(2, count)])


def _draw_query(
    cell: Sequence[Axes], look: Look, view: AttentionView, position: int, *, number: int
) -> None:
    at = torch.tensor([position])
    rank = int(ranks(view.entropy)[position])
    for side, panels in zip(SIDES, np.split(np.asarray(cell), 2), strict=True):
        picture = look.source if side == "source" else look.translation
        weights = (
            view.map_rows(side, at)[0] if view.has_map else _window_on_map(view, side, position)
        )
        axes = panels[0]
        show_heat(axes, look, picture, weights)
        if bool(weights.any()):
            frame_strongest(axes, look, view, weights)
        mark(axes, look, view, position, "")
        if view.has_window:
            _outline(axes, look, view, position)
            _draw_window(panels[1], view, side, position)
        where = f"query {number}: " if side == "source" else ""
        axes.set_title(
            f"{where}{side}\n{_facts(view, side, position, weights, rank)}", fontsize=9, color=INK
        )


def _facts(view: AttentionView, side: Side, position: int, weights: Tensor, rank: int) -> str:
    values = view.entropy if side == "source" else view.translation_entropy
    said = f"{nats(values.flatten()[position])} nats"
    if side == "source":
        said += f", rank {rank}"
    if view.has_window and not view.has_map and view.layout == "released":
        return f"{said}\nwindow beside"
    flat = weights.flatten().clone()
    own = float(flat[position])
    flat[position] = 0
    return f"{said}\n{own:.1%} to itself, at most {float(flat.max()):.1%} to another"


def _window_on_map(view: AttentionView, side: Side, position: int) -> Tensor:
    return window_map(view, position, view.window_rows(side, torch.tensor([position]))[0])


def _draw_window(axes: Axes, view: AttentionView, side: Side, position: int) -> None:
    weights = view.window_rows(side, torch.tensor([position]))[0].numpy()
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
    axes.set_title(title, fontsize=9, color=INK)
    if view.layout == "paper":
        middle = view.window // 2
        axes.add_patch(Rectangle((middle - 0.5, middle - 0.5), 1, 1, fill=False, ec=QUERY, lw=1.8))
    clean(axes)


def _outline(axes: Axes, look: Look, view: AttentionView, position: int) -> None:
    x, y = look.centre_of(view, position)
    height, width = view.entropy.shape
    cell = (look.covered[1] / width, look.covered[0] / height)
    size = (cell[0] * view.window, cell[1] * view.window)
    corner = (x - size[0] / 2, y - size[1] / 2)
    axes.add_patch(Rectangle(corner, *size, fill=False, ec=QUERY, lw=1.2))


def entropy_scale(maps: Sequence[Tensor]) -> Normalize:
    """Return one scale for several maps of entropy."""
    low = max(0.0, min(float(values.min()) for values in maps))
    high = max(float(values.max()) for values in maps)
    return Normalize(low, high if high > low else low + 1e-6)


class _AttentionDrawer(Drawer[AttentionView]):
    kind = "attention"
    takes_queries = True

    def key(self, view: AttentionView) -> str:
        return f"layer{view.layer}"

    def title(self, view: AttentionView) -> str:
        return f"layer {view.layer}"

    def choose(self, look: Look, view: AttentionView, count: int) -> list[int]:  # noqa: ARG002
        return spread(view.places.tolist(), width=view.size[1], count=count)

    def draw(self, look: Look, view: AttentionView, queries: Sequence[int]) -> Figure:
        aspect = aspect_of(look)
        per_row = 1 if view.has_window else 2
        rows = math.ceil(len(queries) / per_row)
        top, each = WIDTH / 5 * aspect + 0.75, WIDTH / 4 * aspect + 0.6
        title, foot = 0.85, 0.75
        total = title + top + rows * each + foot
        figure = Figure(figsize=(WIDTH, total), dpi=DPI, facecolor="white", layout="constrained")
        parts = figure.subfigures(4, 1, height_ratios=[title, top, max(rows * each, 0.01), foot])
        heading, overview, below, footer = parts  # type: ignore[misc]
        write_title(heading, look.name, _heading(view))
        _draw_overview(overview, look, view, queries)
        panels = below.subplots(rows, 4, squeeze=False) if rows else np.empty((0, 4), object)
        cells = panels.reshape(-1, 4 // per_row)
        for number, cell in enumerate(cells):
            if number < len(queries):
                _draw_query(cell, look, view, queries[number], number=number + 1)
            else:
                for axes in cell:
                    axes.axis("off")
        write_foot(footer, explain(view))
        return figure

    def arrays(self, look: Look, view: AttentionView, queries: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        positions = torch.tensor(queries, dtype=torch.int64)
        arrays = {
            "entropy": view.entropy,
            "translation_entropy": view.translation_entropy,
            "selected": view.places,
            "queries": positions,
        }
        for side in SIDES:
            if view.has_map:
                arrays[f"{side}_rows"] = view.map_rows(side, positions)
            if view.has_window:
                arrays[f"{side}_windows"] = view.window_rows(side, positions)
        return arrays

    def summary(self, look: Look, view: AttentionView, queries: Sequence[int]) -> Document:
        entropy, rank = view.entropy, ranks(view.entropy)
        return {
            "selection": view.selection,
            "map": list(entropy.shape),
            "selected": len(view.places),
            "entropy": {
                "min": max(0.0, float(entropy.min())),
                "median": max(0.0, float(entropy.median())),
                "max": float(entropy.max()),
            },
            "queries": [
                {
                    **where,
                    "rank": int(rank[where["place"]]),
                    "entropy": max(0.0, float(entropy.flatten()[where["place"]])),
                }
                for where in self.queries_of(look, view, queries)
            ],
        }

    def film_rows(self, view: AttentionView) -> tuple[FilmRow, ...]:  # noqa: ARG002
        return (
            FilmRow("entropy", entropy_scale, ENTROPY, "nats", "entropy, nats"),
            FilmRow("attention of the circle", draw=show_heat),
        )

    def film_maps(self, view: AttentionView, queries: Sequence[int]) -> tuple[Tensor, ...]:
        if not queries:
            return ()
        if view.has_map:
            row = view.map_rows("source", torch.tensor(queries[:1]))[0]
        else:
            row = _window_on_map(view, "source", queries[0])
        return view.entropy, row

    def pack(self, look: Look, view: AttentionView, share: float) -> tuple[Document, float]:  # noqa: ARG002
        height, width = view.size
        channels = view.source.shape[0]
        axes = None if share >= 1 else max(4, int(share * channels))
        packed = {side: pack(view, side, axes=axes) for side in SIDES}
        document: Document = {
            "width": width,
            "height": height,
            "channels": channels,
            "selection": view.selection,
            "window": view.window,
            "layout": view.layout,
            "bound": bound(view),
            "places": text_of(view.places.numpy().astype("<i4")),
            "entropy": {
                "source": text_of(view.entropy.numpy().astype("<f4")),
                "translation": text_of(view.translation_entropy.numpy().astype("<f4")),
            },
            "features": {side: part.document() for side, part in packed.items()},
        }
        return document, max(part.error for part in packed.values())


DRAWER = _AttentionDrawer()
