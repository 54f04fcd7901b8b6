"""Layers of MUNIT's networks (Huang et al., ECCV 2018), named as in the released ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resample import ReflectionPad
from i2icli.system.device import widen

NormName = Literal["instance", "layer", "none"]
ActivationName = Literal["relu", "leaky", "tanh", "none"]


class AdaptiveInstanceNorm(nn.Module):
    """Instance norm that takes its scales and shifts with the pictures (Huang et al., ICCV 2017).

    Biased variance, 1e-5 added to it. It computes in float32 (float64 for float64 images)
    whatever the precision of the images, which the result keeps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normalise = InstanceNorm(channels)

    def forward(self, images: Tensor, shifts: Tensor, scales: Tensor) -> Tensor:
        """Normalise each channel of images, (B, C, H, W) of more than one pixel, and restyle it.

        `shifts` and `scales` are the means and deviations to take on, (B, C).
        """
        wide = widen(images)
        normalised = self.normalise(wide)
        shifts, scales = (part.to(wide.dtype)[:, :, None, None] for part in (shifts, scales))
        shifted: Tensor = normalised * scales + shifts
        return shifted.to(images.dtype)


class ImageLayerNorm(nn.Module):
    """Normalise each image as a whole, then scale and shift its channels.

    It computes in float32 (float64 for float64 images) whatever the precision of the images,
    which the result keeps. `gamma` starts uniform in [0, 1), `beta` at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise `images`, (B, C, H, W)."""
        wide = widen(images)
        # As released: the unbiased deviation, and 1e-5 added to it, not to the variance.
        deviation, mean = torch.std_mean(wide, dim=(1, 2, 3), keepdim=True, correction=1)
        normalised = (wide - mean) / (deviation + 1e-5)
        result = normalised * self.gamma.view(-1, 1, 1) + self.beta.view(-1, 1, 1)
        return result.to(images.dtype)


_NORMS: dict[NormName, Callable[[int], nn.Module]] = {
    "instance": InstanceNorm,
    "layer": ImageLayerNorm,
    "none": nn.Identity,
}
_ACTIVATIONS: dict[ActivationName, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


class ConvBlock(nn.Module):
    """A reflection-padded convolution with bias, a norm and an activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the filters, pixels.
        stride: step of the filters, pixels.
        padding: reflected pixels on each side; less than the sides of the input.
        norm: after the convolution: one a channel, one an image, or none.
        activation: after the norm; "leaky" has slope 0.2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int,
        norm: NormName = "none",
        activation: ActivationName = "relu",
    ) -> None:
        super().__init__()
        self.pad = ReflectionPad(padding)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride)
        self.norm = _NORMS[norm](out_channels)
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, out_channels, H', W') of images, (B, in_channels, H, W)."""
        result: Tensor = self.activation(self.norm(self.conv(self.pad(images))))
        return result


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm, added to their input; no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            ConvBlock(channels, channels, 3, padding=1, norm="instance"),
            ConvBlock(channels, channels, 3, padding=1, norm="instance", activation="none"),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return a tensor of the shape of `images`, (B, channels, H, W)."""
        added: Tensor = images + self.model(images)
        return added


class AdaptiveConv(nn.Module):
    """A reflection-padded 3x3 convolution with bias, then adaptive instance norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pad = ReflectionPad(1)
        self.conv = nn.Conv2d(channels, channels, 3)
        self.norm = AdaptiveInstanceNorm(channels)

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return a map of the shape of `images`; parameters are shifts, then scales, (B, 2, C)."""
        # Shifts come first, as released: its linear layer gives means before deviations.
        result: Tensor = self.norm(self.conv(self.pad(images)), parameters[:, 0], parameters[:, 1])
        return result


class AdaptiveResidualBlock(nn.Module):
    """As `ResidualBlock`, but with adaptive norms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleList([AdaptiveConv(channels), AdaptiveConv(channels)])

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return a map of the shape of `images`; parameters of two norms are (B, 2, 2, C)."""
        first, second = self.model
        added: Tensor = images + second(first(images, parameters[:, 0]).relu(), parameters[:, 1])
        return added


class ResidualBlocks(nn.Module):
    """Residual blocks, one after the other."""

    def __init__(self, blocks: int, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def forward(self, images: Tensor) -> Tensor:
        """Return a tensor of the shape of `images`, (B, channels, H, W)."""
        result: Tensor = self.model(images)
        return result


class AdaptiveResidualBlocks(nn.Module):
    """Adaptive residual blocks, one after the other."""

    def __init__(self, blocks: int, channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleList(AdaptiveResidualBlock(channels) for _ in range(blocks))

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Return a map of the shape of `images`; parameters are (B, blocks, 2, 2, C)."""
        for number, block in enumerate(self.model):
            images = block(images, parameters[:, number])
        return images
