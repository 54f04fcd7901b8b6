"""The networks beside a generator: discriminators and the heads of contrastive losses."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn

from i2icli.interop.generators import stylegan2_widths
from i2icli.interop.network import (
    Network,
    count_names,
    norm_of,
    settings_of,
    shape_of,
    without_statistics,
)
from i2icli.networks.stylegan2 import StyleGAN2Discriminator


def recognise_patchgan(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the PatchGAN discriminator of a state dict, or None."""
    first = shape_of(weights, "model.0.weight")
    if len(first) != 4 or first[2:] != (4, 4):
        return None
    numbers = sorted(
        int(match[1])
        for name, weight in weights.items()
        if (match := re.fullmatch(r"model\.(\d+)\.weight", name)) and weight.dim() == 4
    )
    if len(numbers) < 3:
        return None
    second = numbers[1]
    norm = norm_of(weights, f"model.{second}", f"model.{second + 1}")
    kept, unused = without_statistics(weights, norm)
    antialias = second == 3  # a blur lies between; without it the number is 2
    way = "anti-aliased" if antialias else "not anti-aliased"
    width, layers = first[0], len(numbers) - 2
    return Network(
        family="patchgan",
        role="discriminator",
        title=f"PatchGAN discriminator of width {width}, {layers} layers, {way}",
        settings=settings_of(
            "discriminator", width=width, layers=layers, antialias=antialias, norm=norm
        ),
        channels=(first[1], 1),
        weights=kept,
        unused=unused,
    )


def recognise_stylegan2_discriminator(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the StyleGAN2 discriminator of a state dict, or None."""
    first, flat = shape_of(weights, "convs.0.0.weight"), shape_of(weights, "final_linear.0.weight")
    if len(first) != 4 or len(flat) != 2:
        return None
    channels = shape_of(weights, "final_conv.0.weight")[:1]
    if not channels:
        return None
    side = math.isqrt(flat[1] // channels[0])
    crop = side << count_names(weights, r"convs\.\d+\.conv1\.0\.weight")

    def build(width: int, crop: int) -> nn.Module:
        return StyleGAN2Discriminator(width=width, resolution=crop, last_side=side)

    widths = stylegan2_widths(build, weights, [(crop, first[0] * crop / 256)])
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


def recognise_munit_discriminator(weights: Mapping[str, Tensor]) -> Network | None:
    """Return MUNIT's discriminator of a state dict, or None."""
    first = shape_of(weights, "cnns.0.0.conv.weight")
    if len(first) != 4:
        return None
    layers = count_names(weights, r"cnns\.0\.\d+\.conv\.weight")
    scales = len({name.split(".")[1] for name in weights})
    return Network(
        family="munit discriminator",
        role="discriminator",
        title=f"MUNIT discriminator of width {first[0]}, {layers} layers, {scales} scales",
        settings=settings_of("discriminator", width=first[0], layers=layers, scales=scales),
        channels=(first[1], 1),
        weights=weights,
    )


def recognise_projection(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the projection head (CUT's F) of a state dict, or None."""
    if not all(re.fullmatch(r"mlp_\d+\.[02]\.(weight|bias)", name) for name in weights):
        return None
    dim = shape_of(weights, "mlp_0.2.weight")[:1]
    layers = len({name.split(".")[0] for name in weights})
    settings = {"projection_dim": dim[0]} if dim else {}
    title = f"projection head of {layers} layers"
    return Network("projection head", "projection", title, settings, (), weights)


def recognise_similarity(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the learned head of L-SeSim of a state dict, or None."""
    if not all(re.fullmatch(r"conv_\d+\.[02]\.(weight|bias)", name) for name in weights):
        return None
    return Network("similarity head", "similarity", "learned head of L-SeSim", {}, (), weights)
