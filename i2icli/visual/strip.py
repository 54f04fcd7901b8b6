"""One picture through training: a strip of checkpoints, and the same as a film."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, TypeVar

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from i2icli.methods.views import AttentionView
from i2icli.visual.attention import (
    ENTROPY,
    draw_bar,
    entropy_scale,
    mark,
    show_heat,
    show_map,
    show_picture,
)
from i2icli.visual.looks import Look, Moment

T = TypeVar("T")

MOST_COLUMNS = 8  # a wider strip would be too small to read
_FRAME_MS, _LAST_FRAME_MS = 600, 2400


def draw_strip(look: Look, view: AttentionView, moments: Sequence[Moment], *, query: int) -> Figure:
    """Draw translation, entropy and one query's attention, a column a checkpoint.

    Of more than `MOST_COLUMNS` checkpoints, evenly spaced ones are shown, the first and the last
    among them. All maps of entropy have one scale.

    Args:
        look: the picture as the last checkpoint sees it.
        view: the layer shown.
        moments: oldest first.
        query: flat position of the query, the same in every column.
    """
    shown = evenly(moments, MOST_COLUMNS)
    side = min(2.2, 12 / len(shown))
    aspect = min(3.0, max(1 / 3, look.size[0] / look.size[1]))
    size = (max(side * len(shown), 4.8), 3 * 0.95 * side * aspect + 1.3)
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout="constrained")
    figure.suptitle(f"{look.name}, layer {view.layer}", fontsize=12, weight="bold")
    ratios = [aspect * side] * 3 + [0.09]
    panels = figure.subplots(4, len(shown), squeeze=False, height_ratios=ratios)
    norm = entropy_scale([moment.entropy for moment in moments])
    for column, moment in enumerate(shown):
        show_picture(panels[0, column], moment.translation, f"step {moment.step}")
        _draw_maps(panels[1:3, column], look, view, moment, norm=norm, query=query)
        panels[3, column].axis("off")
    for row, title in enumerate(("translation", "entropy", "attention of the circle")):
        panels[row, 0].set_ylabel(title, fontsize=8.5)
    grid = panels[3, 0].get_gridspec()
    draw_bar(figure.add_subplot(grid[3, :]), ScalarMappable(norm, ENTROPY), "entropy, nats")
    return figure


def draw_film(
    look: Look, view: AttentionView, moments: Sequence[Moment], *, query: int
) -> list[Image.Image]:
    """Draw a frame a checkpoint: source, translation, entropy and one query's attention."""
    norm = entropy_scale([moment.entropy for moment in moments])
    return [_draw_frame(look, view, moment, norm=norm, query=query) for moment in moments]


def film_bytes(frames: Sequence[Image.Image]) -> bytes:
    """Return a GIF that repeats for ever and rests on its last frame."""
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
    )
    return file.getvalue()


def evenly(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the items, evenly spaced from the first to the last."""
    if len(items) <= count:
        return list(items)
    if count <= 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _draw_frame(
    look: Look, view: AttentionView, moment: Moment, *, norm: Normalize, query: int
) -> Image.Image:
    aspect = min(3.0, max(1 / 3, look.size[0] / look.size[1]))
    figure = Figure(
        figsize=(9.6, 2.3 * aspect + 1.15), dpi=100, facecolor="white", layout="constrained"
    )
    figure.suptitle(f"{look.name}, layer {view.layer}, step {moment.step}", fontsize=12)
    panels = figure.subplots(2, 4, height_ratios=[1, 0.045])
    show_picture(panels[0, 0], look.source, "source")
    show_picture(panels[0, 1], moment.translation, "translation")
    _draw_maps(panels[0, 2:4], look, view, moment, norm=norm, query=query)
    panels[0, 2].set_title("entropy", fontsize=10)
    panels[0, 3].set_title("attention of the circle", fontsize=10)
    for column in (0, 1, 3):
        panels[1, column].axis("off")
    draw_bar(panels[1, 2], ScalarMappable(norm, ENTROPY), "nats")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def _draw_maps(
    panels: NDArray[Any], look: Look, view: AttentionView, moment: Moment, *, norm: Normalize,
    query: int,
) -> None:  # fmt: skip
    """Draw the map of entropy, and the query's attention over the source."""
    show_map(panels[0], look, moment.entropy, norm)
    mark(panels[0], look, view, query, "")
    show_heat(panels[1], look, look.source, moment.row)
    mark(panels[1], look, view, query, "")


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both
