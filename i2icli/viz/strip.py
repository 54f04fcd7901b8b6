"""One picture through training: a strip of checkpoints, and the same as a film."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, TypeVar

from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from i2icli.methods.shared.views import AnyView
from i2icli.pictures.listing import evenly_spaced
from i2icli.viz.drawer import FilmRow
from i2icli.viz.drawers import drawer_of
from i2icli.viz.looks import Look, Moment
from i2icli.viz.panels import DPI, aspect_of, draw_bar, mark, show_map, show_picture

T = TypeVar("T")

MOST_COLUMNS = 8  # a wider strip would be too small to read
_FRAME_MS, _LAST_FRAME_MS = 600, 2400


def draw_strip(
    look: Look, view: AnyView, moments: Sequence[Moment], *, query: int | None
) -> Figure:
    """Draw a column a checkpoint: the translation, and below it the maps of its drawer's films.

    Of more than `MOST_COLUMNS` checkpoints, oldest first, evenly spaced ones are shown, the first
    and the last among them. Maps of one kind have one scale. A query is a flat position.
    """
    drawer = drawer_of(view)
    rows = drawer.film_rows(view)
    norms = _scales(rows, moments)
    shown = evenly_spaced(moments, count=MOST_COLUMNS)
    side = min(2.2, 12 / len(shown))
    aspect = aspect_of(look)
    heights = [aspect * side] * (1 + len(rows)) + [0.09]
    size = (max(side * len(shown), 4.8), (1 + len(rows)) * 0.95 * side * aspect + 1.3)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    figure.suptitle(
        f"{look.name}, {drawer.title(view)}", fontsize=12, weight="bold", parse_math=False
    )
    panels = figure.subplots(len(heights), len(shown), squeeze=False, height_ratios=heights)
    for column, moment in enumerate(shown):
        show_picture(panels[0, column], moment.translation, f"step {moment.step}")
        _draw_maps(panels[1:-1, column], look, view, moment, rows=rows, norms=norms, query=query)
        panels[-1, column].axis("off")
    for number, title in enumerate((look.made, *(row.title for row in rows))):
        panels[number, 0].set_ylabel(title, fontsize=8.5)
    bars = [(bar, row) for row, norm in zip(rows, norms, strict=True) if (bar := row.bar(norm))]
    if bars:  # rows that share a bar have the same one
        bar, row = bars[0]
        grid = panels[-1, 0].get_gridspec()
        draw_bar(figure.add_subplot(grid[-1, :]), bar, row.strip_label)
    return figure


def draw_film(
    look: Look, view: AnyView, moments: Sequence[Moment], *, query: int | None
) -> list[Image.Image]:
    """Draw a frame a checkpoint: source, translation, and the maps of `draw_strip`."""
    drawer = drawer_of(view)
    rows = drawer.film_rows(view)
    norms = _scales(rows, moments)
    count = 2 + len(rows)
    size = (2.4 * count, 2.3 * aspect_of(look) + 1.15)
    frames = []
    for moment in moments:
        figure = Figure(figsize=size, dpi=100, facecolor="white", layout="constrained")
        title = f"{look.name}, {drawer.title(view)}, step {moment.step}"
        figure.suptitle(title, fontsize=12, parse_math=False)
        panels = figure.subplots(2, count, height_ratios=[1, 0.045])
        show_picture(panels[0, 0], look.source, "source")
        show_picture(panels[0, 1], moment.translation, look.made)
        _draw_maps(panels[0, 2:], look, view, moment, rows=rows, norms=norms, query=query)
        for column, (row, norm) in enumerate(zip(rows, norms, strict=True), start=2):
            panels[0, column].set_title(row.title, fontsize=10)
            bar = row.bar(norm)
            if bar is None:
                panels[1, column].axis("off")
            else:
                draw_bar(panels[1, column], bar, row.label)
        for axes in panels[1, :2]:
            axes.axis("off")
        file = io.BytesIO()
        figure.savefig(file, format="png")
        frames.append(Image.open(file).convert("RGB"))
    return frames


def film_bytes(frames: Sequence[Image.Image], *, comment: bytes = b"") -> bytes:
    """Return a GIF that repeats for ever and rests on its last frame, with a comment in it."""
    file = io.BytesIO()
    # One palette for all frames, so that a colour means the same throughout.
    palette = _beside(frames[0], frames[-1]).quantize(256)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    small[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=small[1:],
        duration=[_FRAME_MS] * (len(small) - 1) + [_LAST_FRAME_MS],
        loop=0,
        comment=comment,
    )
    return file.getvalue()


def _scales(rows: Sequence[FilmRow], moments: Sequence[Moment]) -> list[Normalize | None]:
    def maps_like(row: FilmRow) -> list[Tensor]:
        numbers = [number for number, other in enumerate(rows) if other.scale is row.scale]
        return [moment.maps[number] for moment in moments for number in numbers]

    return [row.scale(maps_like(row)) if row.scale else None for row in rows]


def _draw_maps(
    panels: NDArray[Any],
    look: Look,
    view: AnyView,
    moment: Moment,
    *,
    rows: Sequence[FilmRow],
    norms: Sequence[Normalize | None],
    query: int | None,
) -> None:
    for axes, row, norm, values in zip(panels, rows, norms, moment.maps, strict=True):
        picture = look.source if row.side == "source" else moment.translation
        if row.draw is not None:
            row.draw(axes, look, picture, values)
        else:
            assert norm is not None, "a map alone has a scale"
            assert row.colours is not None, "and colours"
            show_map(axes, look, values, norm, colours=row.colours)
        if query is not None:
            mark(axes, look, view, query, "")


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both
