"""Penalties on the slope of a discriminator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from i2icli.system.device import full_precision


@full_precision
def logits_with_slope(
    images: Tensor, discriminator: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the logits of pictures, and their slope with respect to each pixel.

    Both in full precision, since a slope is small and its square smaller.

    Args:
        images: (B, C, H, W); taken as constants.
        discriminator: returns logits, (B, ...), those of a picture from that picture alone.

    Returns:
        The logits, and the gradient of each picture's sum of logits with respect to it,
        (B, C, H, W), both differentiable with respect to the discriminator's weights.
    """
    points = images.detach().requires_grad_()
    logits = discriminator(points)
    # One gradient for all: a picture's logits depend on that picture alone.
    (slope,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    return logits, slope


@full_precision
def r1_penalty(slope: Tensor) -> Tensor:
    """Return half the squared length of the slope at real pictures (Mescheder et al., ICML 2018).

    The sum over a picture, (C, H, W), the mean over the pictures.
    """
    lengths: Tensor = slope.flatten(1).square().sum(dim=1)
    return 0.5 * lengths.mean()


@full_precision
def unit_slope_penalty(slope: Tensor) -> Tensor:
    """Return the squared deviation of the slope's length from 1 (Gulrajani et al., NeurIPS 2017).

    The slope is that at points between real and fake, (B, C, H, W); the mean over the pictures.
    """
    # As released a tiny number is added to each entry: a slope of 0 would have no gradient.
    lengths: Tensor = (slope.flatten(1) + 1e-16).norm(dim=1)
    return (lengths - 1.0).square().mean()
