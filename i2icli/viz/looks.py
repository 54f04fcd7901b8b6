"""The looks that the pictures and the page of `viz-attention` are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.methods.shared.views import AnyView, AttentionView
from i2icli.pictures.decode import Pixels


@dataclass(frozen=True)
class Look:
    """One picture as one checkpoint sees it."""

    name: str  # what captions and files call the picture
    source: Pixels  # the picture, (H, W, 3) uint8
    translation: Pixels  # its translation, (H, W, 3) uint8
    # height and width that the feature maps cover, pixels. Pictures are padded at the right and at
    # the bottom to a size that the networks take, so it may exceed (H, W).
    covered: tuple[float, float]
    views: tuple[AnyView, ...]  # one a layer, ascending
    made: str = "translation"  # what the translation is called, for example "segmentation"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, pixels."""
        return self.source.shape[0], self.source.shape[1]

    def place_at(self, view: AnyView, x: float, y: float) -> int:
        """Return the flat position that lies under a pixel, counted from the top left."""
        height, width = view.size
        row = min(height - 1, int(y * height / self.covered[0]))
        column = min(width - 1, int(x * width / self.covered[1]))
        return row * width + column

    def centre_of(self, view: AnyView, position: int) -> tuple[float, float]:
        """Return x and y of a position's middle, pixels from the top left corner of the picture."""
        height, width = view.size
        row, column = divmod(position, width)
        return ((column + 0.5) * self.covered[1] / width, (row + 0.5) * self.covered[0] / height)

    def holds(self, view: AnyView, position: int) -> bool:
        """Return whether a position's middle lies in the picture, not in its padding."""
        x, y = self.centre_of(view, position)
        return x < self.size[1] and y < self.size[0]

    def at_pixels(self, values: Tensor) -> Tensor:
        """Return a map, (..., h, w), as seen at every pixel of the picture, (..., H, W)."""
        # The cell under the middle of each pixel.
        rows, columns = (
            ((torch.arange(side) + 0.5) * cells / covered).long().clamp(max=cells - 1)
            for side, cells, covered in zip(self.size, values.shape[-2:], self.covered, strict=True)
        )
        return values[..., rows[:, None], columns]


@dataclass(frozen=True)
class Moment:
    """One picture at one layer of one checkpoint: little, to keep all of training."""

    step: int  # training steps of the checkpoint
    translation: Pixels  # (H, W, 3) uint8
    maps: tuple[Tensor, ...]  # what the strip shows below the translation, each (h, w)


def ranks(entropy: Tensor) -> Tensor:
    """Return every position's rank by entropy, (H * W,), from 1; ties in order of position."""
    order = entropy.flatten().argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(1, len(order) + 1)
    return rank


def spread(positions: Sequence[int], *, width: int, count: int) -> list[int]:
    """Return the first `count` positions that lie apart from each other, in their order.

    Neighbours are much alike: of positions closer than 0.4 of their extent the first counts, and
    less where that leaves too few. Positions are flat and distinct, most interesting first, of a
    map of `width` columns.
    """
    if not positions or count < 1:
        return []
    at = torch.tensor([divmod(position, width) for position in positions], dtype=torch.float32)
    apart = torch.cdist(at, at)
    least = 0.4 * float((at.amax(dim=0) - at.amin(dim=0)).norm())
    while True:
        chosen = [0]
        for i in range(1, len(positions)):
            if len(chosen) < count and float(apart[i, chosen].min()) >= least:
                chosen.append(i)
        if len(chosen) == min(count, len(positions)):
            return [int(positions[i]) for i in chosen]
        least = 0.8 * least if least > 1 else 0.0


def window_map(view: AttentionView, position: int, weights: Tensor) -> Tensor:
    """Lay a window's weights, (window, window), over an otherwise empty map, (H, W).

    What lies beyond the edge is left out; in the released layout the cells of a window are no
    positions, so that the map stays empty.
    """
    height, width = view.entropy.shape
    if view.layout == "released":
        return weights.new_zeros(height, width)
    reach = view.window // 2
    row, column = divmod(position, width)
    padded = weights.new_zeros(height + 2 * reach, width + 2 * reach)
    padded[row : row + view.window, column : column + view.window] = weights
    return padded[reach : reach + height, reach : reach + width].contiguous()


def even_positions(look: Look, view: AnyView, count: int) -> list[int]:
    """Return the positions in the middle of the cells of an even grid over the picture.

    Fewer than `count` come back where the map has fewer.
    """
    if count < 1:
        return []
    height, width = look.size
    columns = max(1, min(count, round((count * width / height) ** 0.5)))
    rows = -(-count // columns)
    middles = [
        ((i % columns + 0.5) * width / columns, (i // columns + 0.5) * height / rows)
        for i in range(count)
    ]
    return list(dict.fromkeys(look.place_at(view, x, y) for x, y in middles))


def smaller(maps: Tensor, side: int) -> Tensor:
    """Return maps, (S, H, W), of at most `side` cells a side, each the mean of what it covers."""
    block = -(-max(maps.shape[1:]) // side)
    if block <= 1:
        return maps
    size = (-(-maps.shape[1] // block), -(-maps.shape[2] // block))
    return F.adaptive_avg_pool2d(maps, size)
