"""The networks beside a generator: discriminators and the heads of contrastive losses."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from i2icli.interop.network import Network, norm_of, shape_of, statistics


def recognise_patchgan(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the PatchGAN discriminator that a state dict is of; None if it is of another kind."""
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
    unused = statistics(weights, norm)
    antialias = second == 3
    way = "anti-aliased" if antialias else "not anti-aliased"
    return Network(
        family="patchgan",
        role="discriminator",
        title=f"PatchGAN discriminator of width {first[0]}, {len(numbers) - 2} layers, {way}",
        settings={
            "discriminator.width": first[0],
            "discriminator.layers": len(numbers) - 2,
            "discriminator.antialias": antialias,
            "discriminator.norm": norm,
        },
        channels=(first[1], 1),
        weights={name: weight for name, weight in weights.items() if name not in unused},
        unused=unused,
    )


def recognise_projection(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the projection head (CUT's F) that a state dict is of, or None."""
    if not all(re.fullmatch(r"mlp_\d+\.[02]\.(weight|bias)", name) for name in weights):
        return None
    dim = shape_of(weights, "mlp_0.2.weight")[:1]
    layers = len({name.split(".")[0] for name in weights})
    return Network(
        family="projection head",
        role="projection",
        title=f"projection head of {layers} layers",
        settings={"projection_dim": dim[0]} if dim else {},
        channels=(),
        weights=weights,
    )


def recognise_similarity(weights: Mapping[str, Tensor]) -> Network | None:
    """Return the learned head of L-SeSim that a state dict is of, or None."""
    if not all(re.fullmatch(r"conv_\d+\.[02]\.(weight|bias)", name) for name in weights):
        return None
    return Network(
        family="similarity head",
        role="similarity",
        title="learned head of L-SeSim",
        settings={},
        channels=(),
        weights=weights,
    )
