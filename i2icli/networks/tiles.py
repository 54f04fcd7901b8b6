"""A large picture as tiles, each with enough around it to be translated on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Span:
    """A tile along one axis, pixels.

    Attributes:
        start, stop: the tile.
        first, last: the tile with its surroundings, cut off at the picture's border.
    """

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture, and a larger one around it."""

    rows: Span
    columns: Span

    def around(self, images: Tensor, level: int = 0) -> Tensor:
        """Return the tile with its surroundings of images, (B, C, H >> level, W >> level)."""
        rows, columns = self.rows, self.columns
        return images[
            ...,
            rows.first >> level : rows.last >> level,
            columns.first >> level : columns.last >> level,
        ]

    def inside(self, translated: Tensor) -> Tensor:
        """Return the tile, given its surroundings' translation, (B, C, h, w)."""
        rows, columns = self.rows, self.columns
        return translated[
            ...,
            rows.start - rows.first : rows.stop - rows.first,
            columns.start - columns.first : columns.stop - columns.first,
        ]

    def put(self, whole: Tensor, part: Tensor) -> None:
        """Write the tile, (B, C, h, w), to its place in `whole`, (B, C, H, W)."""
        rows, columns = self.rows, self.columns
        whole[..., rows.start : rows.stop, columns.start : columns.stop] = part


def cut_tiles(height: int, width: int, *, side: int, halo: int) -> Iterator[Tile]:
    """Yield tiles that cover a picture once, row by row.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        side: of a tile; those at the right and the bottom may be smaller. It must be a multiple
            of the networks' strides, and so must `halo`, for strides to fall as on the whole.
        halo: surroundings on each side, pixels.
    """
    for rows in _spans(height, side, halo):
        for columns in _spans(width, side, halo):
            yield Tile(rows, columns)


def _spans(length: int, side: int, halo: int) -> Iterator[Span]:
    for start in range(0, length, side):
        stop = min(start + side, length)
        yield Span(start, stop, max(0, start - halo), min(length, stop + halo))
