"""Data settings and noise of the methods that train on one picture of each domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from i2icli.methods.shared.draws import Draws
from i2icli.networks.stylegan2 import StyleGAN2Generator

# Noise maps of a training step start with this.
_NOISE = "noise"


def single_image_data(*, crop: int) -> Mapping[str, Any]:
    """Return the paper's data section: 16 zoomed patches of `crop` pixels a step."""
    return {
        "preprocess": "zoom-and-patch",
        "interpolation": "bilinear",
        "crop": crop,
        "batch_size": 16,
    }


def draw_noise(
    generator: StyleGAN2Generator, images: Tensor, draws: Draws, *, parts: int = 1
) -> list[Tensor]:
    """Draw fresh noise maps for a training step, on the device of the pictures.

    Args:
        generator: takes them.
        images: (B, C, H, W).
        draws: draw them.
        parts: batches that these pictures are, one after the other.
    """
    return [
        draws.normal(f"{_NOISE}.{number}", shape, parts=parts).to(images.device, non_blocking=True)
        for number, shape in enumerate(generator.noise_shapes(images))
    ]
