"""Layers of StyleGAN2 (Karras et al., CVPR 2020) in plain torch: no compiled extension.

Weights are drawn from N(0, 1) and scaled at run time to the fan-in, so that all learn alike fast.
Names follow the released single-image networks of CUT, whose checkpoints load by name.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TAPS = (1.0, 3.0, 3.0, 1.0)


class Blur(nn.Module):
    """Blur by [1, 3, 3, 1] along both axes, with zeros around the picture.

    Args:
        before: zeros above and to the left, pixels.
        after: zeros below and to the right, pixels.
        gain: multiplies the result; 4 makes up for the zeros between pixels after doubling.
        stride: keep every so many pixels.
    """

    kernel: Tensor

    def __init__(self, before: int, after: int, *, gain: float = 1.0, stride: int = 1) -> None:
        super().__init__()
        line = torch.tensor(_TAPS)
        square = torch.outer(line, line)
        self.register_buffer("kernel", gain * square / square.sum())
        self.pad = (before, after, before, after)
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Blur `features`, (B, C, H, W)."""
        channels = features.shape[1]
        kernel = self.kernel.expand(channels, 1, -1, -1)
        return F.conv2d(F.pad(features, self.pad), kernel, stride=self.stride, groups=channels)


class EqualConv(nn.Module):
    """A convolution without bias whose weights are scaled by 1 / sqrt(fan-in) at run time."""

    def __init__(
        self, in_channels: int, out_channels: int, side: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, side, side))
        self.scale = 1 / math.sqrt(in_channels * side**2)
        self.stride = stride
        self.padding = padding

    def forward(self, features: Tensor) -> Tensor:
        """Convolve `features`, (B, in_channels, H, W)."""
        weight = self.weight * self.scale
        return F.conv2d(features, weight, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """A linear layer whose weights are scaled by 1 / sqrt(fan-in) at run time."""

    def __init__(self, in_features: int, out_features: int, *, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = 1 / math.sqrt(in_features)
        self.activate = activate

    def forward(self, rows: Tensor) -> Tensor:
        """Map vectors, (B, in_features), to (B, out_features)."""
        mapped = F.linear(rows, self.weight * self.scale, self.bias)
        return scaled_leaky_relu(mapped) if self.activate else mapped


class BiasedLeakyReLU(nn.Module):
    """Add a bias a channel, then the scaled leaky rectifier."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Activate `features`, (B, C, H, W)."""
        return scaled_leaky_relu(features + self.bias)


def scaled_leaky_relu(values: Tensor) -> Tensor:
    """Return `values`, those below 0 times 0.2, all times sqrt(2), which keeps their variance."""
    return F.leaky_relu(values, 0.2) * math.sqrt(2)


def conv_layer(in_channels: int, out_channels: int, side: int) -> nn.Sequential:
    """Return a convolution that keeps the size, and its activation."""
    return nn.Sequential(
        EqualConv(in_channels, out_channels, side, padding=side // 2), BiasedLeakyReLU(out_channels)
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip, their sum divided by sqrt(2); maybe half the sides."""

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool = False) -> None:
        super().__init__()
        self.conv1 = conv_layer(in_channels, in_channels, 3)
        if halve:
            self.conv2 = nn.Sequential(
                Blur(2, 2),
                EqualConv(in_channels, out_channels, 3, stride=2),
                BiasedLeakyReLU(out_channels),
            )
            # A 1x1 convolution may as well see only the pixels that are kept.
            self.skip: nn.Module = nn.Sequential(
                Blur(1, 1, stride=2), EqualConv(in_channels, out_channels, 1)
            )
        else:
            self.conv2 = conv_layer(in_channels, out_channels, 3)
            is_same = in_channels == out_channels
            self.skip = (
                nn.Identity() if is_same else nn.Sequential(EqualConv(in_channels, out_channels, 1))
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, H, W), or with half the sides, rounded down."""
        changed: Tensor = self.conv2(self.conv1(features)) + self.skip(features)
        return changed / math.sqrt(2)


class DoublingConv(nn.Module):
    """A 3x3 convolution that doubles the sides, its weights of length 1 for each output channel.

    StyleGAN2's modulated convolution without a style: modulation by ones, then demodulation.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, 3, 3))
        self.scale = 1 / math.sqrt(in_channels * 9)
        self.blur = Blur(1, 1, gain=4.0)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, out_channels, 2H, 2W)."""
        weight = self.scale * self.weight[0]
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        doubled = F.conv_transpose2d(features, weight.transpose(0, 1), stride=2)
        blurred: Tensor = self.blur(doubled)
        return blurred


class NoiseInjection(nn.Module):
    """Add a noise map, the same for all channels, with one learned weight that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Add `noise`, (B or 1, 1, H, W), to `features`, (B, C, H, W)."""
        return features + (self.weight * noise).to(features.dtype)


class DoublingBlock(nn.Module):
    """Double the sides, inject noise, activate."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = DoublingConv(in_channels, out_channels)
        self.noise = NoiseInjection()
        self.activate = BiasedLeakyReLU(out_channels)

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Return (B, out_channels, 2H, 2W); `noise` is (B or 1, 1, 2H, 2W)."""
        activated: Tensor = self.activate(self.noise(self.conv(features), noise))
        return activated
