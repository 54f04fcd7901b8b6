"""Anti-aliased halving and doubling of feature maps (Zhang, ICML 2019), as CUT uses them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def blur_filter(taps: list[float], channels: int) -> Tensor:
    """Return the outer product of `taps` with itself, summing to 1, once a channel.

    Args:
        taps: the filter along one axis, K numbers.
        channels: channels it will run over.

    Returns:
        Weights of a depthwise convolution, (channels, 1, K, K).
    """
    line = torch.tensor(taps)
    square = torch.outer(line, line)
    return (square / square.sum()).expand(channels, 1, -1, -1).clone()


class Downsample(nn.Module):
    """Blur by [1, 2, 1] and keep every second pixel; odd sides round up.

    Args:
        channels: channels of the feature maps.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", blur_filter([1.0, 2.0, 1.0], channels))

    def forward(self, features: Tensor) -> Tensor:
        """Halve `features`, (B, C, H, W) with sides of 2 or more."""
        padded = F.pad(features, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.filt, stride=2, groups=features.shape[1])


class Upsample(nn.Module):
    """Double the sides by the filter [1, 3, 3, 1], edges replicated.

    Args:
        channels: channels of the feature maps.

    Attributes:
        filt: the filter, (C, 1, 4, 4), kept for the names in checkpoints. The computation does
            not read it: bilinear interpolation is the same map, and faster.
        is_bilinear: interpolate; else run the filter.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4.0 * blur_filter([1.0, 3.0, 3.0, 1.0], channels))
        self.is_bilinear = True

    def forward(self, features: Tensor) -> Tensor:
        """Double `features`, (B, C, H, W)."""
        # Departs from the official code: bilinear interpolation instead of a transposed blur
        # convolution on a padded map, because it computes the same values several times faster.
        return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
