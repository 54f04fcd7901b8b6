"""The pictures inside a grid: where they are, cut out again, and made small for a page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from i2icli.pictures.listing import evenly_spaced
from i2icli.viz.grid import GridLayout

Box = tuple[int, int, int, int]
_KEY = "i2i-grid"
_DIRECTIONS = ("a2b", "b2a")
_SIDES = (512, 256, 128)  # pixels; tiles are made smaller only where two steps would not fit


@dataclass(frozen=True)
class GridRow:
    """One row of a sample grid."""

    title: str  # of the row, for example "a2b 0001"
    boxes: tuple[Box, ...]  # left, top, right, bottom of the source and of its translations, pixels


@dataclass(frozen=True)
class SampleRow:
    """One fixed picture through the training."""

    title: str  # direction and name
    source: str | None  # data URI of the picture; None where only whole grids are known
    steps: tuple[str, ...]  # data URI of the translation (or of the whole grid) of every step
    size: tuple[int, int]  # width and height of the picture, pixels


@dataclass(frozen=True)
class Samples:
    """The sample grids of a run."""

    steps: tuple[int, ...]  # shown, rising
    rows: tuple[SampleRow, ...]  # one a picture, or a single one of whole grids
    left_out: tuple[int, ...] = ()  # steps not shown, for the page's size


def describe_rows(layout: GridLayout, titles: Sequence[str]) -> PngImagePlugin.PngInfo:
    """Return the text that a grid's PNG carries, for `read_rows`."""
    rows = [[title, boxes] for title, boxes in zip(titles, layout.boxes, strict=True)]
    info = PngImagePlugin.PngInfo()
    info.add_text(_KEY, json.dumps(rows))
    return info


def read_rows(path: Path) -> tuple[GridRow, ...]:
    """Return the rows that a grid's PNG tells of; none where it does not.

    Raises:
        OSError: if the file is no picture.
    """
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get(_KEY, "")
        size = image.size
    try:
        rows = tuple(
            GridRow(str(title), tuple(_box(box, size) for box in boxes))
            for title, boxes in json.loads(text)
        )
    except (ValueError, TypeError):
        return ()
    return rows if all(len(row.boxes) >= 2 for row in rows) else ()


def rows_of(layout: GridLayout, titles: Sequence[str]) -> tuple[GridRow, ...]:
    """Return the rows of a grid that was laid out like this."""
    return tuple(GridRow(title, boxes) for title, boxes in zip(titles, layout.boxes, strict=True))


def cut_out(path: Path, box: Box) -> Image.Image:
    """Return one picture of a grid, RGB."""
    with Image.open(path) as image:
        return image.convert("RGB").crop(box)


def encode(image: Image.Image, *, side: int = 512, quality: int = 88) -> str:
    """Return a picture as a data URI: WebP, no longer than `side` pixels."""
    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality, method=4)
    return _as_uri(buffer, "webp")


def encode_exactly(image: Image.Image) -> str:
    """Return a small picture as a data URI: PNG, pixel for pixel."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return _as_uri(buffer, "png")


def collect_samples(
    grids: Mapping[int, Path], rows: Mapping[int, tuple[GridRow, ...]], *, budget: int
) -> Samples | None:
    """Return the part of the grids that a page shows; None where no grid can be read.

    Grids whose rows differ from the newest one's are left out, and as many others, evenly spaced,
    as the budget demands, bytes of all pictures as data URIs; the first and the last step stay.
    Where the pictures of the newest grid are not known, whole grids are shown.
    """
    steps = [step for step in sorted(grids) if _opens(grids[step])]
    if not steps:
        return None
    newest = rows.get(steps[-1], ())
    fitting = [s for s in steps if rows.get(s, ()) == newest]
    for side in _SIDES:
        last = _encode_step(grids[fitting[-1]], newest, side=side)
        cost = sum(len(uri) for uri in last)
        if 2 * cost <= budget or side == _SIDES[-1]:
            break
    chosen = evenly_spaced(fitting, count=max(2, budget // max(1, cost)))
    encoded = {step: _encode_step(grids[step], newest, side=side) for step in chosen}
    while len(chosen) > 2 and sum(len(u) for s in chosen for u in encoded[s]) > budget:
        chosen = evenly_spaced(chosen, count=len(chosen) - 1)
    titles: list[tuple[str, Box | None]] = [(row.title, row.boxes[0]) for row in newest] or [
        ("all pictures", None)
    ]
    sample_rows = tuple(
        SampleRow(
            _caption(title, titles),
            encode(cut_out(grids[chosen[-1]], box), side=side) if box else None,
            tuple(encoded[step][index] for step in chosen),
            (box[2] - box[0], box[3] - box[1]) if box else _size(grids[chosen[-1]]),
        )
        for index, (title, box) in enumerate(titles)
    )
    return Samples(tuple(chosen), sample_rows, tuple(s for s in steps if s not in chosen))


def _encode_step(path: Path, rows: tuple[GridRow, ...], *, side: int) -> list[str]:
    if not rows:
        with Image.open(path) as image:
            return [encode(image, side=4 * side)]
    return [encode(cut_out(path, row.boxes[-1]), side=side) for row in rows]


def _caption(title: str, rows: Sequence[tuple[str, Box | None]]) -> str:
    direction = title.partition(" ")[0]
    is_shared = all(other.partition(" ")[0] == direction for other, _ in rows)
    return title.removeprefix(f"{direction} ") if is_shared and direction in _DIRECTIONS else title


def _opens(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return False
    return True


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _box(value: Sequence[int], size: tuple[int, int]) -> Box:
    left, top, right, bottom = (int(side) for side in value)
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise ValueError("the box is not inside the grid")
    return left, top, right, bottom


def _as_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
