"""Penalties on the slope of a discriminator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
def maps_with_slopes(*given: Tensor, discriminator: Callable[..., Any]) -> tuple[Any, list[Tensor]]:
    """Return maps of logits, and the slopes with respect to all that the discriminator sees.

    As in `logits_with_slope`. The slope is that of the sum of the maps' means, so that it does not
    grow with the picture.

    Args:
        given: pictures, features of them, or both, (B, C, H, W) each; taken as constants.
        discriminator: takes these, and returns maps, (B, 1, h, w), in sequences however deep.

    Returns:
        What the discriminator returned, and the gradient with respect to each of `given`.
    """
    points = [part.detach().requires_grad_() for part in given]
    answer = discriminator(*points)
    total = torch.stack([logits.flatten(1).mean(dim=1).sum() for logits in _flat(answer)]).sum()
    return answer, list(torch.autograd.grad(total, points, create_graph=True))


def _flat(answer: Any) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    return [logits for part in answer for logits in _flat(part)]


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
