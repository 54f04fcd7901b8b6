"""What the pictures and the page of `viz-attention` are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2icli.data.decode import Pixels
from i2icli.methods.views import AttentionView, View


@dataclass(frozen=True)
class Look:
    """One picture as one checkpoint sees it.

    Attributes:
        name: what captions and files call the picture.
        source: the picture, (H, W, 3) uint8.
        translation: its translation, (H, W, 3) uint8.
        covered: height and width that the feature maps cover, pixels. Pictures are padded at the
            right and at the bottom to a size that the networks take, so it may exceed (H, W).
        views: one a layer, ascending.
    """

    name: str
    source: Pixels
    translation: Pixels
    covered: tuple[int, int]
    views: tuple[View, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, pixels."""
        return self.source.shape[0], self.source.shape[1]

    def place_at(self, view: AttentionView, x: float, y: float) -> int:
        """Return the flat position of the place under a pixel, counted from the top left."""
        height, width = view.entropy.shape
        row = min(height - 1, int(y * height / self.covered[0]))
        column = min(width - 1, int(x * width / self.covered[1]))
        return row * width + column

    def centre_of(self, view: AttentionView, place: int) -> tuple[float, float]:
        """Return x and y of a place's middle, pixels from the top left corner of the picture."""
        height, width = view.entropy.shape
        row, column = divmod(place, width)
        return (
            (column + 0.5) * self.covered[1] / width,
            (row + 0.5) * self.covered[0] / height,
        )


@dataclass(frozen=True)
class Moment:
    """What one checkpoint makes of one picture at one layer, small enough to keep all of training.

    Attributes:
        step: training steps of the checkpoint.
        look: the picture; of its views only `layer` counts, and its features may be gone.
        translation: (H, W, 3) uint8.
        entropy: of the source, (h, w) nats.
        row: attention of the one query in the source, (h, w); zero outside a window.
    """

    step: int
    translation: Pixels
    entropy: Tensor
    row: Tensor


def ranks(entropy: Tensor) -> Tensor:
    """Return every place's rank by entropy, from 1, equal values in order of position.

    Args:
        entropy: (H, W) nats.

    Returns:
        (H * W,) int64.
    """
    order = entropy.flatten().argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(1, len(order) + 1)
    return rank


def spread(places: Sequence[int], *, width: int, count: int) -> list[int]:
    """Choose the first places that lie apart from each other.

    Neighbours are much alike: of places closer than 0.4 of their extent the first counts, and
    less where that leaves too few.

    Args:
        places: distinct flat positions, most interesting first.
        width: places in a row of the map.
        count: how many to choose.

    Returns:
        `count` of the places, all if there are fewer, in their order.
    """
    if not places or count < 1:
        return []
    at = torch.tensor([divmod(place, width) for place in places], dtype=torch.float32)
    apart = torch.cdist(at, at)
    least = 0.4 * float((at.amax(dim=0) - at.amin(dim=0)).norm())
    while True:
        chosen = [0]
        for i in range(1, len(places)):
            if len(chosen) < count and float(apart[i, chosen].min()) >= least:
                chosen.append(i)
        if len(chosen) == min(count, len(places)):
            return [int(places[i]) for i in chosen]
        least = 0.8 * least if least > 1 else 0.0


def window_map(view: AttentionView, place: int, weights: Tensor) -> Tensor:
    """Lay a window's weights, (window, window), over an otherwise empty map, (H, W).

    What lies beyond the edge is left out; in the released layout the cells of a window are no
    places, so that the map stays empty.
    """
    height, width = view.entropy.shape
    if view.layout == "released":
        return weights.new_zeros(height, width)
    reach = view.window // 2
    row, column = divmod(place, width)
    padded = weights.new_zeros(height + 2 * reach, width + 2 * reach)
    padded[row : row + view.window, column : column + view.window] = weights
    return padded[reach : reach + height, reach : reach + width].contiguous()
