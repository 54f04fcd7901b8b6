"""Generators of released codes, told by names and shapes.

ResNets of CycleGAN, CUT and their kin, and of joliGEN; StyleGAN2 of single-image translation; the
auto-encoders of MUNIT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from i2icli.errors import CheckpointError
from i2icli.interop.network import (
    Network,
    count_names,
    norm_of,
    settings_of,
    shape_of,
    without_statistics,
)
from i2icli.networks.stylegan2 import StyleGAN2Generator

# Sides of training crops in the order in which they are tried, pixels.
_CROPS = (64, 128, 256, 512, 32)
_FIRST = "encoder.convs.1.0.weight"
# mmgeneration: a convolution with its norm is a module, a block has two or, with dropout, three.
_LAYER = re.compile(r"model\.(\d+)\.(conv|bn|in|norm)\.(.+)")
_BLOCK = re.compile(r"model\.(\d+)\.block\.(\d+)\.(conv|bn|in|norm)\.(.+)")
_SPLIT = re.compile(r"(encoder|decoder)\.model\.(\d+)\.(.+)")


def recognise_resnet(weights: Mapping[str, Tensor], *, source: str) -> Network | None:
    """Return the ResNet generator of a state dict, or None.

    Raises:
        CheckpointError: for relatives that i2i has no network for.
    """
    _refuse_relatives(weights, source)
    weights, layout = _renamed(weights, source)
    first = shape_of(weights, "model.1.weight")
    numbers = sorted(
        {int(match[1]) for name in weights if (match := re.match(r"model\.(\d+)\.conv_", name))}
    )
    if len(first) != 4 or first[2:] != (7, 7) or not numbers:
        return None
    width, start, end = first[0], numbers[0], numbers[-1] + 1
    # Doubling is a transposed convolution, or a blur with a convolution after it.
    antialias_up = len(shape_of(weights, f"model.{end}.weight")) != 4
    antialias_down = start == 12  # the first block's number; without blurs it is 10
    layers = [name for name in weights if re.fullmatch(r"model\.\d+\.weight", name)]
    last = shape_of(weights, max(layers, key=lambda name: int(name.split(".")[1])))
    norm = norm_of(weights, "model.1", "model.2")
    kept, unused = without_statistics(weights, norm)
    settings = {
        "width": width,
        "blocks": len(numbers),
        "antialias_down": antialias_down,
        "antialias_up": antialias_up,
        "norm": norm,
        "dropout": len(shape_of(weights, f"model.{start}.conv_block.6.weight")) == 4,
    }
    return Network(
        family="resnet",
        role="generator",
        title=_resnet_title(settings, layout),
        settings=settings_of("generator", **settings),
        channels=(first[1], last[0] if last else 0),
        weights=kept,
        unused=unused,
    )


def recognise_stylegan2_generator(weights: Mapping[str, Tensor], *, source: str) -> Network | None:
    """Return the StyleGAN2 generator of a state dict, or None.

    Raises:
        CheckpointError: its channels belong to no crop that is tried.
    """
    first = shape_of(weights, _FIRST)
    if len(first) != 4:
        return None
    halvings = count_names(weights, r"encoder\.convs\.\d+\.conv2\.0\.kernel")
    blocks = count_names(weights, r"(encoder|decoder)\.convs\.\d+\.conv1\.0\.weight") - halvings
    if halvings not in (1, 2):
        raise CheckpointError(
            f"{source} is a StyleGAN2 generator of {halvings} halvings: those of 1 and of 2 can "
            "be imported."
        )

    def build(width: int, crop: int) -> nn.Module:
        return StyleGAN2Generator(
            width=width, resolution=crop, downsamplings=halvings, blocks=blocks
        )

    widths = stylegan2_widths(build, weights, [(crop, first[0] * crop / 512) for crop in _CROPS])
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
        settings=settings_of("generator", downsamplings=halvings, blocks=blocks),
        channels=(first[1], last[0] if last else 0),
        weights=weights,
        by_crop={crop: {"generator.width": width} for crop, width in widths.items()},
    )


def recognise_munit_generator(weights: Mapping[str, Tensor], *, source: str) -> Network | None:
    """Return MUNIT's auto-encoder of a state dict, or None.

    Raises:
        CheckpointError: it halves its pictures more or less often than twice.
    """
    first = shape_of(weights, "enc_content.model.0.conv.weight")
    style = shape_of(weights, "enc_style.model.6.weight")
    mlp = shape_of(weights, "mlp.model.0.fc.weight")
    if len(first) != 4 or not mlp:
        return None
    pattern = r"enc_content\.model\.3\.model\.\d+\.model\.0\.conv\.weight"
    blocks = count_names(weights, pattern)
    if not blocks or not style:
        raise CheckpointError(
            f"{source} looks like an auto-encoder of MUNIT, but not one with 2 halvings of "
            "content and 4 of style, which is the one that i2i has."
        )
    kept, unused = without_statistics(weights, "adaptive instance")
    return Network(
        family="munit auto-encoder",
        role="generator",
        title=f"MUNIT auto-encoder of width {first[0]}, {blocks} blocks, styles of {style[0]}",
        settings={
            **settings_of("generator", width=first[0], blocks=blocks, mlp_width=mlp[0]),
            "style_size": style[0],
        },
        channels=(first[1], first[1]),
        weights=kept,
        unused=unused,
    )


def stylegan2_widths(
    build: Callable[[int, int], nn.Module],
    weights: Mapping[str, Tensor],
    guesses: Iterable[tuple[int, float]],
) -> dict[int, int]:
    """Return, by crop, the width with which a StyleGAN2 network has the shapes of `weights`.

    The channels of every level follow from a width and the side of the training crops together,
    so that several pairs may fit; the networks are the same ones then. `guesses` are crops, each
    with about the width; `build` makes the network of a width and a crop.
    """
    widths: dict[int, int] = {}
    for crop, guess in guesses:
        for width in {max(1, math.floor(guess)), max(1, math.ceil(guess))}:
            try:
                with torch.device("meta"):
                    ours = build(width, crop).state_dict()
            except ValueError:  # no such network: this is not its file
                continue
            # The first axes of these are channels inside, not of the pictures.
            inner = (name for name in ours if name.endswith("conv1.0.weight"))
            if all(shape_of(weights, name)[:1] == ours[name].shape[:1] for name in inner):
                widths[crop] = width
    return widths


def _resnet_title(have: Mapping[str, object], layout: str) -> str:
    ways = {
        (True, True): "anti-aliased",
        (False, False): "not anti-aliased",
        (True, False): "anti-aliased downwards only",
        (False, True): "anti-aliased upwards only",
    }
    way = ways[bool(have["antialias_down"]), bool(have["antialias_up"])]
    dropout = ", dropout" if have["dropout"] else ""
    names = f", under {layout}'s names" if layout else ""
    return (
        f"ResNet generator of width {have['width']}, {have['blocks']} blocks, {way}, "
        f"{have['norm']} norm{dropout}{names}"
    )


def _renamed(weights: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], str]:
    """Return a ResNet's weights under CycleGAN's names, and whose names they had; "" for its."""
    if "model.0.conv.weight" in weights:
        return _renumbered(weights), "mmgeneration"
    matches = {name: _SPLIT.fullmatch(name) for name in weights}
    encoder = [int(match[2]) for match in matches.values() if match and match[1] == "encoder"]
    if not encoder or not any(match and match[1] == "decoder" for match in matches.values()):
        return dict(weights), ""
    return _joined(weights, matches, 1 + max(encoder), source), "joliGEN"


def _renumbered(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Number the layers of mmgeneration's generator, one a convolution, as CycleGAN's are."""
    blocks = len({match[1] for name in weights if (match := _BLOCK.fullmatch(name))})
    starts = [1, 4, 7, *range(10, 10 + blocks), *(10 + blocks + more for more in (0, 3, 7))]
    renamed = {}
    for name, weight in weights.items():
        new = name
        if (match := _BLOCK.fullmatch(name)) and int(match[1]) < len(starts):
            # A dropout layer, which has no weights, stands between the two.
            first = {"0": 1, "1": 5, "2": 6}.get(match[2], -1)
            number = first + (match[3] != "conv")
            new = f"model.{starts[int(match[1])]}.conv_block.{number}.{match[4]}"
        elif (match := _LAYER.fullmatch(name)) and int(match[1]) < len(starts):
            new = f"model.{starts[int(match[1])] + (match[2] != 'conv')}.{match[3]}"
        renamed[new] = weight
    return renamed


def _joined(
    weights: Mapping[str, Tensor],
    matches: Mapping[str, re.Match[str] | None],
    in_encoder: int,
    source: str,
) -> dict[str, Tensor]:
    """Number the layers of joliGEN's generator, split in encoder and decoder, in one row."""
    if "encoder.model.0.weight" in weights:
        raise CheckpointError(
            f"{source} is a generator of a joliGEN that did not pad the picture first, so that "
            "translations come out smaller: i2i has no such network."
        )
    offsets = {"encoder": 0, "decoder": in_encoder}
    joined = {}
    for name, match in matches.items():
        new = f"model.{int(match[2]) + offsets[match[1]]}.{match[3]}" if match else name
        joined[new] = weights[name]
    return joined


def _refuse_relatives(weights: Mapping[str, Tensor], source: str) -> None:
    # What looks alike and computes something else.
    kinds = {
        r".*\.weight_(orig|bar)": "was trained with spectral normalisation",
        r".*\.conv_block\.\d+\.conv\.\d+\..*": "has separable convolutions (mobile_resnet)",
        r"deconv\d_(content|attention)\..*": "makes attention masks besides (resnet_attn)",
        r"model\.model\..*": "is a U-Net (pix2pix)",
    }
    for pattern, kind in kinds.items():
        if any(re.fullmatch(pattern, name) for name in weights):
            raise CheckpointError(
                f"{source} {kind}: i2i has no such network. Generators named resnet_9blocks and "
                "resnet_6blocks can be imported."
            )
