"""ResNet generators of CycleGAN, CUT and their kin, and of joliGEN, told by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from i2icli.errors import CheckpointError
from i2icli.interop.network import Network, norm_of, shape_of, statistics

_SPLIT = re.compile(r"(encoder|decoder)\.model\.(\d+)\.(.+)")


def recognise_resnet(weights: Mapping[str, Tensor], *, source: str) -> Network | None:
    """Return the generator that a state dict is of; None if it is of another kind.

    Raises:
        CheckpointError: for relatives that i2i has no network for.
    """
    _refuse_relatives(weights, source)
    weights, is_split = _joined(weights, source)
    first = shape_of(weights, "model.1.weight")
    numbers = sorted(
        {int(match[1]) for name in weights if (match := re.match(r"model\.(\d+)\.conv_", name))}
    )
    if len(first) != 4 or first[2:] != (7, 7) or not numbers:
        return None
    width, start, end = first[0], numbers[0], numbers[-1] + 1
    # Doubling is a transposed convolution, or a blur with a convolution after it.
    antialias_up = len(shape_of(weights, f"model.{end}.weight")) != 4
    antialias_down = start == 12
    layers = [name for name in weights if re.fullmatch(r"model\.\d+\.weight", name)]
    last = shape_of(weights, max(layers, key=lambda name: int(name.split(".")[1])))
    norm = norm_of(weights, "model.1", "model.2")
    unused = statistics(weights, norm)
    settings = {
        "generator.width": width,
        "generator.blocks": len(numbers),
        "generator.antialias_down": antialias_down,
        "generator.antialias_up": antialias_up,
        "generator.norm": norm,
        "generator.dropout": len(shape_of(weights, f"model.{start}.conv_block.6.weight")) == 4,
    }
    return Network(
        family="resnet",
        role="generator",
        title=_title(settings, is_split=is_split),
        settings=settings,
        channels=(first[1], last[0] if last else 0),
        weights={name: weight for name, weight in weights.items() if name not in unused},
        unused=unused,
    )


def _title(settings: Mapping[str, object], *, is_split: bool) -> str:
    """Describe a generator."""
    ways = {
        (True, True): "anti-aliased",
        (False, False): "not anti-aliased",
        (True, False): "anti-aliased downwards only",
        (False, True): "anti-aliased upwards only",
    }
    have = {key.removeprefix("generator."): value for key, value in settings.items()}
    way = ways[bool(have["antialias_down"]), bool(have["antialias_up"])]
    dropout = ", dropout" if have["dropout"] else ""
    names = ", under joliGEN's names" if is_split else ""
    return (
        f"ResNet generator of width {have['width']}, {have['blocks']} blocks, {way}, "
        f"{have['norm']} norm{dropout}{names}"
    )


def _joined(weights: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], bool]:
    """Number the layers of joliGEN's generator, split in encoder and decoder, in one row."""
    places = {name: _SPLIT.fullmatch(name) for name in weights}
    encoder = [int(match[2]) for match in places.values() if match and match[1] == "encoder"]
    if not encoder or not any(match and match[1] == "decoder" for match in places.values()):
        return dict(weights), False
    if "encoder.model.0.weight" in weights:
        raise CheckpointError(
            f"{source} is a generator of a joliGEN that did not pad the picture first, so that "
            "translations come out smaller: i2i has no such network."
        )
    offsets = {"encoder": 0, "decoder": 1 + max(encoder)}
    joined = {}
    for name, match in places.items():
        new = f"model.{int(match[2]) + offsets[match[1]]}.{match[3]}" if match else name
        joined[new] = weights[name]
    return joined, True


def _refuse_relatives(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse what looks alike and computes something else."""
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
