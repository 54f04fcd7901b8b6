"""Differentiable augmentation of what a discriminator sees (DiffAugment, Zhao et al., 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from i2icli.system.device import full_precision

SHARES = 9  # random numbers a picture


@full_precision
def diff_augment(
    images: Tensor, shares: Tensor, *, strength: float = 1.0, grey: float = 0.0
) -> Tensor:
    """Return pictures, each in other colours, shifted, and with a hole; differentiable.

    As in https://arxiv.org/abs/2006.10738 at strength 1: brightness moves by up to 0.5, saturation
    is multiplied by 0 to 2, contrast by 0.5 to 1.5; the picture moves by up to an eighth of its
    sides, zeros come in; a square of half the sides becomes 0.

    Args:
        images: (B, C, H, W) in [-1, 1]; the result may lie beyond.
        shares: numbers in [0, 1), (B, SHARES), which say what happens to each picture.
        strength: share of these ranges, and of the pictures that have a hole; in [0, 1].
        grey: share of the pictures that lose all colour.
    """
    light, colour, contrast, loss, down, right, above, before, hole = shares.to(images).mT
    value = images + _each(strength * (light - 0.5))
    saturation = (1 + strength * (2 * colour - 1)).masked_fill(loss < grey, 0.0)
    value = _around(value, (1,), saturation)
    value = _around(value, (1, 2, 3), 1 + strength * (contrast - 0.5))
    value = _shifted(value, down, right, strength)
    rows, columns = _hole(above, value.shape[2]), _hole(before, value.shape[3])
    kept = ~(rows[:, :, None] & columns[:, None, :]) | (hole >= strength)[:, None, None]
    result: Tensor = value * kept[:, None]
    return result


def _each(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


def _around(value: Tensor, axes: tuple[int, ...], factors: Tensor) -> Tensor:
    """Return each picture with its distances from its own mean multiplied."""
    mean = value.mean(dim=axes, keepdim=True)
    return (value - mean) * _each(factors) + mean


def _shifted(value: Tensor, down: Tensor, right: Tensor, strength: float) -> Tensor:
    batch, channels, height, width = value.shape
    rows, columns = (
        torch.arange(side, device=value.device) + _offsets(share, round(side * strength / 8))
        for share, side in ((down, height), (right, width))
    )
    is_inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    index = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, -1)
    moved = value.flatten(2).gather(2, index.expand(-1, channels, -1)).view(value.shape)
    return moved * is_inside[:, None]


def _offsets(share: Tensor, most: int) -> Tensor:
    return (share * (2 * most + 1)).floor().long().clamp(max=2 * most)[:, None] - most


def _within(places: Tensor, side: int) -> Tensor:
    return (places >= 0) & (places < side)


def _hole(share: Tensor, side: int) -> Tensor:
    """Return whether each place along an axis lies in the hole, (B, side)."""
    size = (side + 1) // 2
    centres = side + 1 - size % 2
    first = (share * centres).floor().long().clamp(max=centres - 1)[:, None] - size // 2
    places = torch.arange(side, device=share.device)
    return (places >= first) & (places < first + size)
