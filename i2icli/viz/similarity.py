"""Self-similarity: what a position of a picture resembles in it, before and after translation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn import functional as F

from i2icli.methods.shared.views import SIDES, SimilarityView
from i2icli.pictures.decode import Pixels
from i2icli.viz.drawer import Document, Drawer, FilmRow, text_of
from i2icli.viz.looks import Look, spread
from i2icli.viz.panels import (
    INK,
    WIDTH,
    aspect_of,
    draw_bar,
    faded,
    frame,
    mark,
    show_map,
    show_picture,
    start_sheet,
)
from i2icli.viz.quantise import pack_own

SIMILARITY = "RdBu_r"  # red: alike, blue: opposite
AGREEMENT = "viridis"
_GRID = 32  # positions a side at which agreement is measured
_CHUNK = 64  # rows computed at once
_MOST = 0.98  # of a row's values lie within the colours


def explain(look: Look, view: SimilarityView) -> str:
    """Return sentences on the sheet."""
    how = {
        "cosine": "the cosine of the features of two places",
        "tanh": f"tanh({view.scale:.3g} x product of the features of two places)",
    }[view.form]
    return (
        f"The {view.name} at {view.layer} is {how}: red is alike, blue opposite, and what is near "
        f"0 is left clear. A row holds what the circled place resembles in its own picture, so "
        f"colours and texture that both share drop out: where the {look.made} keeps the structure "
        "of the source, both rows look alike. Their agreement is the cosine of both rows, 1 where "
        "they are the same; it is measured on a grid of at most 32 x 32 places."
    )


def agreement(view: SimilarityView, positions: Tensor) -> Tensor:
    """Return the cosine between the rows of source and translation, (N,), for flat positions."""
    parts = []
    for part in torch.split(positions, _CHUNK):
        source, translation = (view.map_rows(side, part).flatten(1) for side in SIDES)
        parts.append(F.cosine_similarity(source, translation, dim=1))
    return torch.cat(parts) if parts else torch.zeros(0)


def grid_positions(view: SimilarityView) -> tuple[Tensor, tuple[int, int]]:
    """Return flat positions of an even grid over the map, row by row, and its size."""
    height, width = view.size
    rows, columns = (
        ((torch.arange(min(side, _GRID)) + 0.5) * side / min(side, _GRID)).long()
        for side in (height, width)
    )
    return (rows[:, None] * width + columns).flatten(), (len(rows), len(columns))


@lru_cache(maxsize=1)  # asked for by sheet, summary, arrays and page, one view after the other
def grid_agreement(view: SimilarityView) -> Tensor:
    """Return `agreement` at `grid_positions`, as a map, (rows, columns)."""
    positions, size = grid_positions(view)
    return agreement(view, positions).view(size)


def _heading(view: SimilarityView) -> str:
    height, width = view.size
    values = grid_agreement(view)
    return (
        f"{view.layer}: {view.name}, {len(view.source)} channels, {width} x {height} places; "
        f"rows of source and translation agree by {float(values.mean()):.2f} in the mean, "
        f"{float(values.min()):.2f} where least"
    )


def _draw_overview(
    figure: SubFigure, look: Look, view: SimilarityView, queries: Sequence[int]
) -> None:
    panels = figure.subplots(2, 4, height_ratios=[1, 0.045])
    show_picture(panels[0, 0], look.source, "source")
    show_picture(panels[0, 1], look.translation, look.made)
    values = grid_agreement(view)
    low = float(values.min())
    norm = Normalize(min(low, 0.99), 1)
    show_map(panels[0, 2], look, values, norm, colours=AGREEMENT)
    panels[0, 2].set_title("agreement of the rows", fontsize=10, color=INK)
    draw_bar(panels[1, 2], ScalarMappable(norm, AGREEMENT), "cosine of both rows")
    for axes in panels[0, :3]:
        for number, position in enumerate(queries, start=1):
            mark(axes, look, view, position, str(number), keep_inside=True)
    _draw_numbers(panels[0, 3], values.flatten())
    for axes in panels[1, [0, 1, 3]]:
        axes.axis("off")


def _draw_numbers(axes: Axes, values: Tensor) -> None:
    axes.hist(values.numpy(), bins=24, color="#3b7a8c")
    axes.set_title("agreement, places", fontsize=10, color=INK)
    axes.tick_params(labelsize=7.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_rows(
    figure: SubFigure, look: Look, view: SimilarityView, queries: Sequence[int], *, lines: int
) -> None:
    at = torch.tensor(queries)
    rows = {side: view.map_rows(side, at) for side in SIDES}
    alike = agreement(view, at)
    panels = figure.subplots(lines + 1, 4, squeeze=False, height_ratios=[*[1] * lines, 0.045])
    cells = panels[:-1].reshape(-1, 2)
    for number, cell in enumerate(cells):
        if number >= len(queries):
            for axes in cell:
                axes.axis("off")
            continue
        for side, axes in zip(SIDES, cell, strict=True):
            row, picture = rows[side][number], look.translation
            title = f"{look.made}, agreement {float(alike[number]):.3f}"
            if side == "source":
                picture, title = look.source, f"query {number + 1}: source"
            full = full_colour(row)
            show_signed(axes, look, picture, row / full)
            mark(axes, look, view, queries[number], "")
            axes.set_title(f"{title}\nfull colour at {full:.2g}", fontsize=9, color=INK)
    for axes in panels[-1]:
        axes.axis("off")
    bar = figure.add_subplot(panels[-1, 0].get_gridspec()[-1, 1:3])
    label = f"{view.name} with the circled place, in parts of the number over each picture"
    draw_bar(bar, ScalarMappable(Normalize(-1, 1), SIMILARITY), label, extend="both")


def full_colour(row: Tensor) -> float:
    """Return the value that few numbers of a row exceed, on either side of 0.

    The few are the circled position itself and its like, beside which all others would be pale.
    """
    return max(float(torch.quantile(row.abs().flatten(), _MOST)), 1e-6)


def show_signed(axes: Axes, look: Look, picture: Pixels, values: Tensor) -> None:
    """Draw values from -1 to 1, (h, w), over a pale picture: clear where they are near 0."""
    pale = faded(picture, darkest=150, contrast=0.4)
    axes.imshow(pale, extent=(0, picture.shape[1], picture.shape[0], 0))
    axes.imshow(
        values.numpy(), cmap=SIMILARITY, vmin=-1, vmax=1,
        alpha=np.clip(1.5 * values.abs().numpy(), 0, 0.95),
        extent=(0, look.covered[1], look.covered[0], 0), interpolation="nearest",
    )  # fmt: skip
    frame(axes, look)


class _SimilarityDrawer(Drawer[SimilarityView]):
    kind = "similarity"
    takes_queries = True

    def choose(self, look: Look, view: SimilarityView, count: int) -> list[int]:
        # Positions that lie apart, those first whose rows changed most. Those at the border are
        # left out: what lies beyond it is zero, which they all share.
        positions, (rows, columns) = grid_positions(view)
        inside = torch.zeros(rows, columns, dtype=torch.bool)
        inside[rows // 8 : rows - rows // 8, columns // 8 : columns - columns // 8] = True
        order = grid_agreement(view).flatten().argsort(stable=True)
        chosen = positions[order[inside.flatten()[order]]].tolist()
        seen = [position for position in chosen if look.holds(view, position)]  # not in padding
        return spread(seen, width=view.size[1], count=count)

    def draw(self, look: Look, view: SimilarityView, queries: Sequence[int]) -> Figure:
        aspect = aspect_of(look)
        lines = -(-len(queries) // 2)
        bands = [WIDTH / 4 * aspect + 0.75]
        if queries:
            bands.append(lines * (WIDTH / 4 * aspect + 0.6) + 0.55)
        figure, parts = start_sheet(
            look, facts=_heading(view), about=explain(look, view), bands=bands
        )
        _draw_overview(parts[0], look, view, queries)
        if queries:
            _draw_rows(parts[1], look, view, queries, lines=lines)
        return figure

    def arrays(self, look: Look, view: SimilarityView, queries: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        at = torch.tensor(queries, dtype=torch.int64)
        return {
            "queries": at,
            "agreement": grid_agreement(view),
            **{f"{side}_rows": view.map_rows(side, at) for side in SIDES},
        }

    def summary(self, look: Look, view: SimilarityView, queries: Sequence[int]) -> Document:
        values = grid_agreement(view)
        own = agreement(view, torch.tensor(queries, dtype=torch.int64)).tolist()
        return {
            "name": view.name,
            "form": view.form,
            "map": list(view.size),
            "agreement": {"min": float(values.min()), "mean": float(values.mean())},
            "queries": [
                {**where, "agreement": value}
                for where, value in zip(self.queries_of(look, view, queries), own, strict=True)
            ],
        }

    def film_rows(self, view: SimilarityView) -> tuple[FilmRow, ...]:
        label = f"{view.name} with the circle, each map in parts of its own full colour"
        return tuple(
            FilmRow(f"in the {side}", _unit, SIMILARITY, "full colour", label, side, show_signed)
            for side in SIDES
        )

    def film_maps(self, view: SimilarityView, queries: Sequence[int]) -> tuple[Tensor, ...]:
        at = torch.tensor(queries[:1], dtype=torch.int64)
        rows = [view.map_rows(side, at)[0] for side in SIDES] if queries else []
        return tuple(row / full_colour(row) for row in rows)

    def pack(self, look: Look, view: SimilarityView, share: float) -> tuple[Document, float]:  # noqa: ARG002
        height, width = view.size
        finish = torch.tanh if view.form == "tanh" else torch.clone
        packed = {side: pack_own(view.factors(side), finish, share=share) for side in SIDES}
        values = grid_agreement(view)
        document = {
            "width": width,
            "height": height,
            "name": view.name,
            "form": view.form,
            "features": {side: document for side, (document, _) in packed.items()},
            "agreement": text_of(values.numpy().astype("<f4")),
            "agreement_size": list(values.shape),
        }
        return document, max(error for _, error in packed.values())


def _unit(maps: Sequence[Tensor]) -> Normalize:  # noqa: ARG001
    return Normalize(-1, 1)


DRAWER = _SimilarityDrawer()
