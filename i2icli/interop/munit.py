"""The networks of MUNIT, told by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from i2icli.errors import CheckpointError
from i2icli.interop.network import Network, shape_of, statistics


def recognise_munit_generator(weights: Mapping[str, Tensor], *, source: str) -> Network | None:
    """Return the auto-encoder that a state dict is of; None if it is of another kind.

    Raises:
        CheckpointError: if it halves its pictures more or less often than twice.
    """
    first, style = (
        shape_of(weights, "enc_content.model.0.conv.weight"),
        shape_of(weights, "enc_style.model.6.weight"),
    )
    if len(first) != 4 or not shape_of(weights, "mlp.model.0.fc.weight"):
        return None
    pattern = r"enc_content\.model\.3\.model\.\d+\.model\.0\.conv\.weight"
    blocks = sum(re.fullmatch(pattern, name) is not None for name in weights)
    if not blocks or not style:
        raise CheckpointError(
            f"{source} looks like an auto-encoder of MUNIT, but not one with 2 halvings of "
            "content and 4 of style, which is the one that i2i has."
        )
    unused = statistics(weights, "adaptive instance")
    return Network(
        family="munit auto-encoder",
        role="generator",
        title=f"MUNIT auto-encoder of width {first[0]}, {blocks} blocks, styles of {style[0]}",
        settings={
            "generator.width": first[0],
            "generator.blocks": blocks,
            "generator.mlp_width": shape_of(weights, "mlp.model.0.fc.weight")[0],
            "style_size": style[0],
        },
        channels=(first[1], first[1]),
        weights={name: weight for name, weight in weights.items() if name not in unused},
        unused=unused,
    )


def recognise_munit_discriminator(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the discriminator that a state dict is of; None if it is of another kind."""
    first = shape_of(weights, "cnns.0.0.conv.weight")
    if len(first) != 4:
        return None
    layers = sum(re.fullmatch(r"cnns\.0\.\d+\.conv\.weight", name) is not None for name in weights)
    scales = len({name.split(".")[1] for name in weights})
    return Network(
        family="munit discriminator",
        role="discriminator",
        title=f"MUNIT discriminator of width {first[0]}, {layers} layers, {scales} scales",
        settings={
            "discriminator.width": first[0],
            "discriminator.layers": layers,
            "discriminator.scales": scales,
        },
        channels=(first[1], 1),
        weights=weights,
    )
