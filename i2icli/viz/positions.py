"""Position attention: what each position of the picture gathers from all others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from i2icli.methods.shared.views import PositionView
from i2icli.pictures.decode import Pixels
from i2icli.viz.drawer import Document, Drawer, FilmRow, text_of
from i2icli.viz.looks import Look, even_positions
from i2icli.viz.panels import (
    INK,
    WIDTH,
    aspect_of,
    draw_bar,
    frame_strongest,
    grid_of,
    mark,
    show_heat,
    show_map,
    show_picture,
    start_sheet,
)
from i2icli.viz.quantise import pack_pair

RECEIVED = "magma"
_CHUNK = 2**21  # weights computed at once


_ABOUT = (
    "Every place gathers features from all places, by weights that sum to 1. Below, the bright "
    "cells are where the circled place gathers from; brightness is the square root of what "
    "exceeds the smallest weight, and a white frame marks the largest. The map on top says how "
    "much all places together gather from each one, in equal shares: at 1 a place gives as much "
    "as it would if attention were spread evenly."
)


@lru_cache(maxsize=1)  # asked for by sheet, arrays and page, one view after the other
def received(view: PositionView) -> Tensor:
    """Return the share that all positions gather from each, (H, W); 1 is an equal share."""
    total = view.size[0] * view.size[1]
    gathered = torch.zeros(view.size)
    for positions in torch.split(torch.arange(total), max(1, _CHUNK // total)):
        gathered += view.map_rows(positions).sum(dim=0)
    return gathered


def above_least(weights: Tensor) -> Tensor:
    """Return the excess of a row over its smallest weight, so that nearly even rows differ too."""
    return weights - weights.min()


def _heading(view: PositionView) -> str:
    height, width = view.size
    values = received(view)
    return (
        f"{view.layer}: position attention, {width} x {height} places; a place gives "
        f"{float(values.min()):.2g} to {float(values.max()):.3g} equal shares, "
        f"median {float(values.median()):.2g}"
    )


def _draw_overview(
    figure: SubFigure, look: Look, view: PositionView, queries: Sequence[int]
) -> None:
    panels = figure.subplots(2, 3, height_ratios=[1, 0.045])
    show_picture(panels[0, 0], look.source, "source")
    show_picture(panels[0, 1], look.translation, look.made)
    values = received(view)
    low, high = float(values.min()), float(values.max())
    norm = PowerNorm(0.5, low, max(high, low + 1e-6))
    show_map(panels[0, 2], look, values, norm, colours=RECEIVED)
    panels[0, 2].set_title("gathered from each place", fontsize=10, color=INK)
    draw_bar(panels[1, 2], ScalarMappable(norm, RECEIVED), "equal shares, square root scale")
    for axes in panels[0]:
        for number, position in enumerate(queries, start=1):
            mark(axes, look, view, position, str(number), keep_inside=True)
    for axes in panels[1, :2]:
        axes.axis("off")


def _draw_rows(figure: SubFigure, look: Look, view: PositionView, queries: Sequence[int]) -> None:
    rows = view.map_rows(torch.tensor(queries))
    for number, axes in enumerate(grid_of(figure, len(queries), columns=4)):
        row, position = rows[number], queries[number]
        show_heat(axes, look, look.source, above_least(row))
        frame_strongest(axes, look, view, row)
        mark(axes, look, view, position, "")
        axes.set_title(
            f"query {number + 1}\n{float(row.flatten()[position]):.2%} from itself, at most "
            f"{float(row.max()):.2%}",
            fontsize=9,
            color=INK,
        )


class _PositionDrawer(Drawer[PositionView]):
    kind = "position"
    takes_queries = True

    def choose(self, look: Look, view: PositionView, count: int) -> list[int]:
        return even_positions(look, view, count)

    def draw(self, look: Look, view: PositionView, queries: Sequence[int]) -> Figure:
        aspect = aspect_of(look)
        bands = [WIDTH / 3 * 0.8 * aspect + 0.75]
        if queries:
            bands.append(-(-len(queries) // 4) * (WIDTH / 4 * aspect + 0.55))
        figure, parts = start_sheet(look, facts=_heading(view), about=_ABOUT, bands=bands)
        _draw_overview(parts[0], look, view, queries)
        if queries:
            _draw_rows(parts[1], look, view, queries)
        return figure

    def arrays(self, look: Look, view: PositionView, queries: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        positions = torch.tensor(queries, dtype=torch.int64)
        return {"queries": positions, "received": received(view), "rows": view.map_rows(positions)}

    def summary(self, look: Look, view: PositionView, queries: Sequence[int]) -> Document:
        rows = view.map_rows(torch.tensor(queries, dtype=torch.int64)).flatten(1)
        return {
            "map": list(view.size),
            "queries": [
                {**where, "largest": float(row.max()), "largest_at": int(row.argmax())}
                for where, row in zip(self.queries_of(look, view, queries), rows, strict=True)
            ],
        }

    def film_rows(self, view: PositionView) -> tuple[FilmRow, ...]:  # noqa: ARG002
        return (FilmRow("gathered by the circle", draw=_draw_row),)

    def film_maps(self, view: PositionView, queries: Sequence[int]) -> tuple[Tensor, ...]:
        return (view.map_rows(torch.tensor(queries[:1]))[0],) if queries else ()

    def pack(self, look: Look, view: PositionView, share: float) -> tuple[Document, float]:  # noqa: ARG002
        height, width = view.size
        softmax = partial(torch.softmax, dim=1)
        packed, error = pack_pair(view.queries.flatten(1), view.keys.flatten(1), softmax)
        document = {
            "width": width,
            "height": height,
            **packed,
            "received": text_of(received(view).numpy().astype("<f4")),
        }
        return document, error


def _draw_row(axes: Axes, look: Look, picture: Pixels, values: Tensor) -> None:
    show_heat(axes, look, picture, above_least(values))


DRAWER = _PositionDrawer()
