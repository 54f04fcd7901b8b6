"""A large picture through a residual generator in tiles, quickly and nearly as if whole.

The statistics of every norm are taken from a reduced picture. With them fixed, tiles are
independent of each other; they overlap, and are blended over half of the overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.tiles import Span, cut_tiles
from i2icli.system.waiting import look_around
from i2icli.translation.row_ops import Normalise
from i2icli.translation.tiling import Moments

OVERLAP = 64  # pixels that a tile sees on each side of it
_ROWS = 32  # of a map that are summed at once
_LEAST_SIDE = 64  # pixels of a reduced picture: below, statistics say little


@dataclass(frozen=True)
class Deviation:
    """The distance of tiles from the whole picture, in grey levels of 255."""

    mean: float  # over all numbers
    largest: float  # of them
    size: tuple[int, int]  # height and width of the picture that it was measured on


@torch.inference_mode()
def run_fast(
    network: ResnetGenerator, image: Tensor, *, side: int, pixels: int, change: bool = False
) -> Tensor:
    """Translate one picture, (C, H, W) in [-1, 1] on the CPU, by a `tileable` network.

    The network is in evaluation mode; sides are a multiple of 4. A tile has `side` pixels without
    the overlap, a multiple of 4 and at least `OVERLAP`; for the statistics the picture is reduced
    to about `pixels`. `change`: of a residual generator, return what it adds to the picture.

    Returns:
        The translation or change, (C', H, W), float32 on the CPU.
    """
    device = next(network.parameters()).device
    norms = _learn_norms(network, reduced(image, pixels).to(device))
    result: Tensor | None = None
    with _fixed(norms):
        for tile in cut_tiles(image.shape[1], image.shape[2], side=side, halo=OVERLAP):
            look_around(device)
            around = tile.around(image[None]).to(device)
            part = (network.change(around) if change else network(around)[0])[0].float().cpu()
            if result is None:
                result = torch.zeros(len(part), *image.shape[1:])
            rows, columns = tile.rows, tile.columns
            part *= _weights(rows, image.shape[1])[:, None]
            part *= _weights(columns, image.shape[2])
            result[:, rows.first : rows.last, columns.first : columns.last] += part
    assert result is not None
    return result


@torch.inference_mode()
def measure_fast(network: ResnetGenerator, image: Tensor, *, side: int, pixels: int) -> Deviation:
    """Measure the deviation of `run_fast` on the reduced picture, which fits whole.

    Its statistics come from a picture reduced once more by the same factor, and its tiles are at
    most half as large as it is.
    """
    device = next(network.parameters()).device
    small = reduced(image, pixels)
    height, width = small.shape[1:]
    factor = pixels / (image.shape[1] * image.shape[2])
    most = max(OVERLAP, max(height, width) // 8 * 4)
    whole = network(small[None].to(device))[0][0].float().cpu()
    tiled = run_fast(
        network, small, side=min(side, most), pixels=round(height * width * min(1.0, factor))
    )
    difference = (whole - tiled).abs() * 127.5
    return Deviation(float(difference.mean()), float(difference.max()), (height, width))


def reduced(image: Tensor, pixels: int) -> Tensor:
    """Reduce a picture, (C, H, W), to about `pixels`, with sides of 64 or more, multiples of 4.

    Sides are not enlarged.
    """
    height, width = image.shape[1:]
    factor = min(1.0, math.sqrt(pixels / (height * width)))
    size = [max(min(side, _LEAST_SIDE), round(side * factor / 4) * 4) for side in (height, width)]
    if size == [height, width]:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]


def _learn_norms(network: nn.Module, image: Tensor) -> dict[nn.Module, Normalise]:
    moments: dict[nn.Module, Moments] = {}

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        moments[module] = Moments()
        for rows in given[0].split(_ROWS, dim=2):  # float64 of the whole would be large
            moments[module].add(rows)

    hooks = [
        module.register_forward_pre_hook(note)
        for module in network.modules()
        if isinstance(module, InstanceNorm)
    ]
    try:
        network(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    return {module: one.norm() for module, one in moments.items()}


@contextmanager
def _fixed(norms: Mapping[nn.Module, Normalise]) -> Iterator[None]:
    # Replaced for the time, not corrected by a hook, which would normalise twice.
    for module, fixed in norms.items():
        vars(module)["forward"] = fixed.forward
    try:
        yield
    finally:
        for module in norms:
            del vars(module)["forward"]


def _weights(span: Span, length: int) -> Tensor:
    # Across a border between tiles a weight falls from 1 to 0 over OVERLAP pixels, half of them on
    # each side, so that the weights of all tiles add up to 1.
    positions = torch.arange(span.first, span.last) + 0.5
    weights = torch.ones(len(positions))
    if span.start > 0:
        weights *= (0.5 + (positions - span.start) / OVERLAP).clamp(0, 1)
    if span.stop < length:
        weights *= (0.5 + (span.stop - positions) / OVERLAP).clamp(0, 1)
    return weights
