"""Vectors of feature maps at some positions, also taken where a network makes the maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def tap_rows(features: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps and their vectors at flat positions; the maps are what the network goes on with.

    The gradient of the vectors is added to that of the maps. Taken from the maps later, they would
    be given the gradient of a whole map of zeros, of as many bytes as the map.

    Args:
        features: (B, C, H, W).
        places: (B, N), int64, row * W + column.

    Returns:
        The maps, and rows (B, N, C).
    """
    if torch.compiler.is_compiling():
        return features, gather_places(features, places)
    tapped: tuple[Tensor, Tensor] = _Tap.apply(features, places)
    return tapped


def gather_places(features: Tensor, places: Tensor) -> Tensor:
    """Return the feature vectors at flat positions, (B, N, C).

    Features are (B, C, H, W), positions row * W + column int64, (N,) for all images or (B, N).
    """
    if features.stride(1) == 1 and features.permute(0, 2, 3, 1).is_contiguous():
        # Channels last: whole vectors, without a copy of the map.
        batch, channels = features.shape[:2]
        rows = features.permute(0, 2, 3, 1).reshape(-1, channels)
        return rows.index_select(0, _flat_index(features.shape, places)).view(batch, -1, channels)
    flat = features.flatten(2)
    if places.dim() == 1:
        return flat.index_select(2, places).mT
    index = places[:, None, :].expand(-1, features.shape[1], -1)
    return flat.gather(2, index).mT


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(places)
        ctx.shape, ctx.is_last = features.shape, _is_last(features)
        ctx.set_materialize_grads(False)
        return features.view_as(features), gather_places(features, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, maps: Tensor | None, rows: Tensor | None) -> tuple[Tensor | None, None]:
        (places,) = ctx.saved_tensors
        if rows is None:
            return maps, None
        batch, channels, height, width = ctx.shape
        layout = torch.channels_last if ctx.is_last else torch.contiguous_format
        if maps is None:
            maps = torch.zeros(ctx.shape, dtype=rows.dtype, device=rows.device)
        maps = maps.contiguous(memory_format=layout)
        if not ctx.is_last:
            index = places[:, None].expand(-1, channels, -1)
            return maps.flatten(2).scatter_add(2, index, rows.mT).view(ctx.shape), None
        flat = maps.permute(0, 2, 3, 1).view(-1, channels)
        added = flat.index_add(0, _flat_index(ctx.shape, places), rows.reshape(-1, channels))
        return added.view(batch, height, width, channels).permute(0, 3, 1, 2), None


def _is_last(features: Tensor) -> bool:
    is_last = features.is_contiguous(memory_format=torch.channels_last)
    return is_last and not features.is_contiguous()


def _flat_index(shape: torch.Size, places: Tensor) -> Tensor:
    # of (B, N) or (N,) in the rows of all images, one after the other
    total = shape[2] * shape[3]
    starts = torch.arange(shape[0], device=places.device)[:, None] * total
    return (starts + places).flatten()
