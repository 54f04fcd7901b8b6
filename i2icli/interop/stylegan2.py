"""The StyleGAN2 networks of single-image translation, told by names and shapes.

The channels of every level follow from a width and the side of the training crops together, so
that several pairs may fit; the networks are the same ones then.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from i2icli.errors import CheckpointError
from i2icli.interop.network import Network, shape_of
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

_CROPS = (64, 128, 256, 512, 32)
_FIRST = "encoder.convs.1.0.weight"


def recognise_stylegan2_generator(weights: Mapping[str, Tensor], *, source: str) -> Network | None:
    """Return the generator that a state dict is of; None if it is of another kind.

    Raises:
        CheckpointError: if its channels belong to no crop that is tried.
    """
    first = shape_of(weights, _FIRST)
    if len(first) != 4:
        return None
    halvings = _count(weights, r"encoder\.convs\.\d+\.conv2\.0\.kernel")
    blocks = _count(weights, r"(encoder|decoder)\.convs\.\d+\.conv1\.0\.weight") - halvings
    if halvings not in (1, 2):
        raise CheckpointError(
            f"{source} is a StyleGAN2 generator of {halvings} halvings: those of 1 and of 2 can "
            "be imported."
        )

    def build(width: int, crop: int) -> nn.Module:
        return StyleGAN2Generator(
            width=width, resolution=crop, downsamplings=halvings, blocks=blocks
        )

    widths = _widths(build, weights, [(crop, first[0] * crop / 512) for crop in _CROPS])
    if not widths:
        raise CheckpointError(
            f"{source} looks like a StyleGAN2 generator, but its channels, {first[0]} and up, "
            f"belong to no crop of {', '.join(map(str, sorted(_CROPS)))} pixels."
        )
    pattern = r"decoder\.convs\.\d+\.0\.weight"
    last = next((w.shape for name, w in weights.items() if re.fullmatch(pattern, name)), ())
    return Network(
        family=f"stylegan2 of {halvings}",
        role="generator",
        title=f"StyleGAN2 generator of {first[0]} channels and up, {blocks} blocks at "
        f"1/{2**halvings} of the sides",
        settings={"generator.downsamplings": halvings, "generator.blocks": blocks},
        channels=(first[1], last[0] if last else 0),
        weights=weights,
        by_crop={crop: {"generator.width": width} for crop, width in widths.items()},
    )


def recognise_stylegan2_discriminator(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the discriminator that a state dict is of; None if it is of another kind."""
    first, flat = shape_of(weights, "convs.0.0.weight"), shape_of(weights, "final_linear.0.weight")
    if len(first) != 4 or len(flat) != 2:
        return None
    channels = shape_of(weights, "final_conv.0.weight")[:1]
    if not channels:
        return None
    side = math.isqrt(flat[1] // channels[0])
    crop = side << _count(weights, r"convs\.\d+\.conv1\.0\.weight")

    def build(width: int, crop: int) -> nn.Module:
        return StyleGAN2Discriminator(width=width, resolution=crop, last_side=side)

    widths = _widths(build, weights, [(crop, first[0] * crop / 256)])
    if not widths:
        return None
    return Network(
        family="stylegan2 discriminator",
        role="discriminator",
        title=f"StyleGAN2 discriminator of crops of {crop} pixels",
        settings={"discriminator.last_side": side},
        channels=(first[1], 1),
        weights=weights,
        by_crop={crop: {"discriminator.width": width} for crop, width in widths.items()},
    )


def _widths(
    build: Callable[[int, int], nn.Module],
    weights: Mapping[str, Tensor],
    guesses: Iterable[tuple[int, float]],
) -> dict[int, int]:
    """Return, by crop, the width with which a network has the shapes of `weights`.

    Args:
        build: makes the network of a width and a crop.
        weights: state dict to match; the channels of pictures are not looked at.
        guesses: crops, each with about the width.
    """
    found: dict[int, int] = {}
    for crop, guess in guesses:
        for width in {max(1, math.floor(guess)), max(1, math.ceil(guess))}:
            try:
                with torch.device("meta"):
                    ours = build(width, crop).state_dict()
            except ValueError:  # no such network: this is not its file
                continue
            if all(shape_of(weights, name)[:1] == tuple(w.shape[:1]) for name, w in _inner(ours)):
                found[crop] = width
    return found


def _inner(weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Return the weights whose first axis is one of channels inside, not of the pictures."""
    return [
        (name, weight)
        for name, weight in weights.items()
        if weight.dim() == 4 and name.endswith("conv1.0.weight")
    ]


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)
