"""A translation brought back to the full size of its picture, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.methods.shared.base import Method, Translation
from i2icli.networks.resnet import ResnetGenerator, add_change
from i2icli.translation.scale import Size

# change: a residual generator's change enlarged; guided: a guided filter; plain: enlarged.
WayBack = Literal["change", "guided", "plain"]

_ROWS = 256  # of a picture that are made at once
_RADIUS = 2  # of the windows of the guided filter, pixels of the small picture
_EPSILON = 0.01  # variance, of pictures in [-1, 1], above which slopes are believed


def way_back(method: Method, direction: str) -> WayBack:
    """Return the way in which a method's translations come back to full size."""
    network = method.generator_of(direction)
    if isinstance(network, ResnetGenerator) and network.residual:
        return "change"
    channels = method.channels
    return "guided" if method.data != "labelled" and channels["a"] == channels["b"] else "plain"


def change_of(
    method: Method,
    images: Tensor,
    *,
    direction: str,
    style: Tensor | None = None,  # noqa: ARG001 - in place of `Method.translate`
) -> Translation:
    """Return the change that a residual generator adds to pictures, (B, C, H, W), as images."""
    network = method.generator_of(direction)
    assert isinstance(network, ResnetGenerator), "way_back is another"
    return Translation(network.change(images))


def at_full_size(
    made: Translation, picture: Tensor, worked_on: Tensor | None, *, way: WayBack
) -> Translation:
    """Bring a translation of a picture worked on at another size back to the picture's own.

    Args:
        made: of the picture worked on, (B, C', h, w) in [-1, 1]; for "change" the change that is
            added to it before the tanh.
        picture: the full picture, (B, C, H, W) in [-1, 1].
        worked_on: what was translated, (B, C, h, w) in [-1, 1]; None: the picture itself.
        way: see `WayBack`. A translation that is reduced has all that it shows: "guided" is
            "plain" then.

    Returns:
        Images (B, C', H, W), labels (B, H, W) of the nearest positions, masks (B, 1, H, W).
    """
    size = picture.shape[-2], picture.shape[-1]
    if worked_on is None and way != "change":
        return made
    if made.labels is not None:
        return Translation(_nearest(made.images, size), _nearest(made.labels, size))
    result = picture.new_empty(*made.images.shape[:2], *size)
    if way == "guided" and worked_on is not None and min(size) >= min(worked_on.shape[-2:]):
        line = Resized(_line(made.images, worked_on), size)
        for first, last in _bands(size):
            slope, offset = line.rows(first, last).chunk(2, dim=1)
            rows = picture[..., first:last, :]
            result[..., first:last, :] = (rows + slope * rows + offset).clamp_(-1.0, 1.0)
    else:
        images = Resized(made.images, size)
        for first, last in _bands(size):
            rows = images.rows(first, last)
            if way == "change":
                rows = add_change(picture[..., first:last, :], rows)
            result[..., first:last, :] = rows.clamp_(-1.0, 1.0)
    masks = {
        name: Resized(mask, size).rows(0, size[0]).clamp_(0.0, 1.0)
        for name, mask in made.masks.items()
    }
    return Translation(result, None, masks)


class Resized:
    """Maps as they look at another size, bicubic as Pillow has it, read some rows at a time.

    Args:
        maps: (B, C, h, w).
        size: height and width, pixels.
    """

    def __init__(self, maps: Tensor, size: Size) -> None:
        height, width = size
        # Sides that shrink are averaged over; what remains is to enlarge the columns, row by row.
        self._maps = _resize(maps, (min(height, maps.shape[-2]), width))
        self._taps = list(_taps(self._maps.shape[-2], height, like=maps))

    def rows(self, first: int, last: int) -> Tensor:
        """Return rows `first` to `last`, (B, C, last - first, W)."""
        parts = (
            self._maps.index_select(-2, positions[first:last]) * weights[first:last, None]
            for positions, weights in self._taps
        )
        total = next(parts)
        for part in parts:
            total += part
        return total


def _taps(small: int, large: int, *, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield positions and weights, (large,), of the rows that add up to an enlarged one."""
    if small == large:
        yield torch.arange(large, device=like.device), like.new_ones(large)
        return
    centres = (torch.arange(large, dtype=torch.float64) + 0.5) * small / large - 0.5
    lowest = centres.floor() - 1
    positions = [lowest + number for number in range(4)]
    # Beyond the border there is nothing: the other weights share what is missing.
    weights = [_cubic(centres - at) * ((at >= 0) & (at < small)).double() for at in positions]
    total = torch.stack(weights).sum(dim=0)
    for at, weight in zip(positions, weights, strict=True):
        yield at.long().clamp(0, small - 1).to(like.device), (weight / total).to(like)


def _cubic(distance: Tensor) -> Tensor:
    """Return the weights of bicubic interpolation at distances below 2 (Keys, a = -0.5)."""
    d = distance.abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _line(made: Tensor, worked_on: Tensor) -> Tensor:
    """Return slope and offset of a translation's change over its picture, (B, 2 C, h, w).

    As a guided filter has it (He & Sun, "Fast Guided Filter", 2015): a least-squares line in every
    window, ridge `_EPSILON`, slopes averaged over the windows of a position. The offset is all that
    the slope leaves, so that nothing of the translation is lost.
    """
    change = made - worked_on
    mean, mean_change = _mean(worked_on), _mean(change)
    covariance = _mean(worked_on * change) - mean * mean_change
    variance = _mean(worked_on.square()) - mean.square()
    slope = _mean(covariance / (variance + _EPSILON))
    return torch.cat([slope, change - slope * worked_on], dim=1)


def _mean(maps: Tensor) -> Tensor:
    side = 2 * _RADIUS + 1
    return F.avg_pool2d(maps, side, stride=1, padding=_RADIUS, count_include_pad=False)


def _resize(maps: Tensor, size: Size) -> Tensor:
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bicubic", antialias=True)


def _nearest(maps: Tensor, size: Size) -> Tensor:
    """Return maps, (..., h, w), each position as that under its middle, (..., H, W)."""
    rows, columns = (
        ((torch.arange(large, device=maps.device) + 0.5) * small / large).long()
        for large, small in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def _bands(size: Size) -> Iterator[tuple[int, int]]:
    height = size[0]
    return ((first, min(first + _ROWS, height)) for first in range(0, height, _ROWS))
