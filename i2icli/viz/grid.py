"""Grids of pictures with titles, and contact sheets: every source beside its translations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2icli.pictures.encode import to_8_bits
from i2icli.pictures.images import Pixels, read_picture, write_picture
from i2icli.translation.targets import GRID_ROWS, Job

_GAP = 8  # pixels between neighbours and around the whole
_MAX_ROW_TITLE = 16  # widest row title, in font sizes
_MIN_COLUMN_TITLE = 8  # a column is widened for its title up to this, in font sizes
_INK, _PAPER = (32, 32, 32), (255, 255, 255)


@dataclass(frozen=True)
class GridLayout:
    """The positions of things in a grid, pixels from its top left corner."""

    size: tuple[int, int]  # width and height of the whole
    boxes: tuple[tuple[tuple[int, int, int, int], ...], ...]  # left, top, right, bottom
    font_size: int  # height of the captions
    title_width: int  # space kept for the titles of the rows
    columns: tuple[tuple[int, int], ...]  # left edge and width of every column


def draw_grid(
    rows: Sequence[Sequence[Pixels]],
    *,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
) -> Image.Image:
    """Draw pictures in rows and columns on white, with captions, none of them scaled.

    Pictures are (H, W), (H, W, 1) or (H, W, 3), uint8 or uint16 (shown in 8 bits); sizes may
    differ,
    and rows may be of different length. Titles that are too long lose their middle.

    Returns:
        An RGB image.

    Raises:
        ValueError: if there is no picture, or the titles do not match the rows or columns.
    """
    layout = lay_out(rows, column_titles=column_titles, row_titles=row_titles)
    image = Image.new("RGB", layout.size, _PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(layout.font_size)
    for title, (left, width) in zip(column_titles, layout.columns, strict=False):
        text = _shorten(title, font, width)
        draw.text((left + width / 2, _GAP), text, fill=_INK, font=font, anchor="ma")
    for row, boxes in zip(rows, layout.boxes, strict=True):
        for pixels, box in zip(row, boxes, strict=True):
            image.paste(Image.fromarray(to_rgb(pixels)), box)
    for title, boxes in zip(row_titles, layout.boxes, strict=False):
        text = _shorten(title, font, layout.title_width)
        middle = (min(b[1] for b in boxes) + max(b[3] for b in boxes)) / 2
        draw.text((_GAP + layout.title_width, middle), text, fill=_INK, font=font, anchor="rm")
    return image


def lay_out(
    rows: Sequence[Sequence[Pixels]],
    *,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
) -> GridLayout:
    """Return the layout of `draw_grid`; arguments and errors as there."""
    _check(rows, column_titles, row_titles)
    count = max(len(row) for row in rows)
    widths = [max(row[i].shape[1] for row in rows if i < len(row)) for i in range(count)]
    font_size = int(min(28, max(13, median(widths) / 18)))
    line = round(font_size * 1.3)
    floor = line if row_titles else 0
    heights = [max(floor, *(pixels.shape[0] for pixels in row)) for row in rows]
    font = ImageFont.load_default(font_size)
    for i, title in enumerate(column_titles):
        widths[i] = max(
            widths[i], _width(_shorten(title, font, _MIN_COLUMN_TITLE * font_size), font)
        )
    title_width = max(
        (_width(_shorten(t, font, _MAX_ROW_TITLE * font_size), font) for t in row_titles), default=0
    )
    left = _GAP + (title_width + _GAP if row_titles else 0)
    top = _GAP + (line + _GAP if column_titles else 0)
    columns = tuple((left + sum(widths[:i]) + i * _GAP, widths[i]) for i in range(count))
    boxes = []
    for row, height in zip(rows, heights, strict=True):
        boxes.append(
            tuple(_centred(p, columns[i], top=top, height=height) for i, p in enumerate(row))
        )
        top += height + _GAP
    size = (columns[-1][0] + columns[-1][1] + _GAP, top)
    return GridLayout(size, tuple(boxes), font_size, title_width, columns)


def shrink(pixels: Pixels, *, side: int) -> Pixels:
    """Scale a picture down so that its longer side is at most `side` pixels; smaller ones stay.

    Returns:
        The picture itself, or a smaller one, uint8, of as many channels, (H', W', 1 or 3).
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return pixels
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(to_rgb(pixels)).resize(size, Image.Resampling.LANCZOS)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return np.asarray(small)[..., :channels]


def _check(
    rows: Sequence[Sequence[Pixels]], column_titles: Sequence[str], row_titles: Sequence[str]
) -> None:
    if not rows or not all(rows):
        raise ValueError("a grid needs at least one picture in every row")
    columns = max(len(row) for row in rows)
    if column_titles and len(column_titles) != columns:
        raise ValueError(f"{len(column_titles)} column titles for {columns} columns")
    if row_titles and len(row_titles) != len(rows):
        raise ValueError(f"{len(row_titles)} row titles for {len(rows)} rows")


def _centred(
    pixels: Pixels, column: tuple[int, int], *, top: int, height: int
) -> tuple[int, int, int, int]:
    own_height, own_width = pixels.shape[:2]
    left = column[0] + (column[1] - own_width) // 2
    top += (height - own_height) // 2
    return left, top, left + own_width, top + own_height


def to_rgb(pixels: Pixels) -> Pixels:
    """Return pixels, (H, W) or (H, W, 1 or 3), as (H, W, 3) uint8."""
    planes = to_8_bits(pixels if pixels.ndim == 3 else pixels[..., None])
    return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))


def _width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(np.ceil(font.getlength(text)))


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    # A file name may hold line breaks and bytes that are no text; neither can be drawn.
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    kept = len(text)
    shown = text
    while kept > 2 and _width(shown, font) > width:
        # A glyph is at least a pixel wide, so that what exceeds the width by far goes at once.
        kept = min(kept, width + 1) - 1
        shown = f"{text[: (kept + 1) // 2].rstrip()}...{text[len(text) - kept // 2 :].lstrip()}"
    return shown


SHEET_SIDE = 512  # pixels; a sheet of larger pictures would be too large to look at


def write_sheets(
    grids: Sequence[Path],
    jobs: Sequence[Job],
    *,
    direction: str,
    styles: Sequence[str] = (),
    masks: Sequence[str] = (),
    is_marked: bool = True,
) -> list[Path]:
    """Write contact sheets of finished jobs, `GRID_ROWS` pictures each, and return their files.

    Pictures are shown pixel for pixel, or scaled down to `SHEET_SIDE` where they are larger.
    """
    titles = [
        title for made in styles or (f"translation ({direction})",) for title in (made, *masks)
    ]
    written = []
    for number, grid in enumerate(grids):
        rows = jobs[number * GRID_ROWS : (number + 1) * GRID_ROWS]
        if not rows:
            break
        sheet = draw_grid(
            [
                [
                    shrink(read_picture(path).pixels, side=SHEET_SIDE)
                    for path in (job.source, *_made(job))
                ]
                for job in rows
            ],
            column_titles=("source", *titles),
            row_titles=[job.name for job in rows],
        )
        write_picture(grid, np.asarray(sheet), is_marked=is_marked)
        written.append(grid)
    return written


def _made(job: Job) -> list[Path]:
    masks = job.masks or ((),) * len(job.targets)  # each target before its masks
    return [path for pair in zip(job.targets, masks, strict=True) for path in (pair[0], *pair[1])]
