"""Networks of attention-guided translation (Alami Mejjati et al., NeurIPS 2018).

https://arxiv.org/abs/1806.02311. They follow the released TensorFlow code in what differs from
CycleGAN's: padding, a norm with scale and offset, a ReLU after each residual sum. Sides must be a
multiple of 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resample import pad
from i2icli.system.device import widen

AttentionLayout = Literal["released", "paper", "port"]
Border = Literal["constant", "reflect"]
UnitNorm = Literal["affine", "plain", "none"]


def compose(translated: Tensor, source: Tensor, attention: Tensor) -> Tensor:
    """Return a * G(s) + (1 - a) * s: the source itself, bit for bit, where a is 0.

    Pictures are (B, C, H, W), attention is (B, 1, H, W) in [0, 1].
    """
    return attention * translated + (1 - attention) * source


def keep_foreground(images: Tensor, attention: Tensor, threshold: float) -> Tensor:
    """Return pictures, (B, C, H, W), with 0 where attention is below the threshold.

    That choice has no gradient. Attention is (B, 1, H, W) in [0, 1]; threshold 0 keeps everything.
    """
    if threshold <= 0:
        return images
    return images * (attention >= threshold).to(images.dtype)


class AffineInstanceNorm(InstanceNorm):
    """Instance norm with a learned scale and offset a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.scale = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise `images`, (B, C, H, W) with more than one pixel."""
        shape = (1, -1, 1, 1)
        normalised = super().forward(images)
        return (self.scale.view(shape) * normalised + self.offset.view(shape)).to(images.dtype)


class ConvUnit(nn.Module):
    """Padding, convolution, norm, activation.

    Args:
        inside: channels in.
        outside: channels out.
        kernel: its side, pixels.
        stride: 1 or 2.
        margin: padding on each side, pixels; None: TensorFlow's SAME, whose odd pixel lies at the
            bottom and on the right.
        border: what the padding holds: zeros, or the mirrored picture.
        norm: with scale and offset, without, or none.
        slope: of the leaky ReLU below 0; None: no activation.
        bias: whether the convolution has one.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int,
        *,
        stride: int = 1,
        margin: int | None = None,
        border: Border = "constant",
        norm: UnitNorm = "affine",
        slope: float | None = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride=stride, bias=bias)
        self.norm = _build_norm(norm, outside)
        self.kernel, self.stride, self.margin = kernel, stride, margin
        self.border, self.slope = border, slope

    def forward(self, features: Tensor, *, is_normed: bool = True) -> Tensor:
        """Return features, (B, outside, H', W'), of (B, inside, H, W); maybe without the norm."""
        rows, columns = (self._margins(side) for side in features.shape[-2:])
        value: Tensor = self.conv(pad(features, (*columns, *rows), mode=self.border))
        if is_normed:
            value = self.norm(value)
        if self.slope is None:
            return value
        return F.leaky_relu(value, self.slope) if self.slope else F.relu(value)

    def _margins(self, side: int) -> tuple[int, int]:
        if self.margin is not None:
            return self.margin, self.margin
        # TensorFlow's SAME: the odd pixel goes behind.
        steps = -(-side // self.stride)
        missing = max(0, (steps - 1) * self.stride + self.kernel - side)
        return missing // 2, missing - missing // 2


class DoublingUnit(nn.Module):
    """Transposed 3x3 convolution of stride 2 as TensorFlow's SAME has it, norm, ReLU.

    It is the adjoint of a `ConvUnit` with SAME padding: row 2i of the result lies on row i of the
    features, where PyTorch's own with `padding=1` lies one pixel off.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inside, outside, 3, stride=2)
        self.norm = AffineInstanceNorm(outside)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of twice the sides, (B, outside, 2H, 2W)."""
        return F.relu(self.norm(self.conv(features)[..., :-1, :-1]))


class RectifiedBlock(nn.Module):
    """Two 3x3 convolutions with a skip around them and a ReLU after the sum."""

    def __init__(
        self, channels: int, *, border: Border, norm: UnitNorm = "affine", bias: bool = True
    ) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels, 3, margin=1, border=border, norm=norm, bias=bias)
        self.second = ConvUnit(
            channels, channels, 3, margin=1, border=border, norm=norm, bias=bias, slope=None
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's features, (B, C, H, W), none below 0."""
        return F.relu(self.second(self.first(features)) + features)


@dataclass(frozen=True)
class _Form:
    kernels: tuple[int, int, int]  # after the two doublings, and of the last convolution
    up: Literal["nearest", "bilinear"] = "nearest"
    border: Border = "reflect"
    halving_margin: int | None = None
    norm: UnitNorm = "affine"
    bias: bool = True


_FORMS: dict[AttentionLayout, _Form] = {
    "released": _Form((1, 1, 1)),  # its layers take for the kernel what is given as its width
    "paper": _Form((3, 3, 7)),
    "port": _Form((3, 3, 7), "bilinear", "constant", halving_margin=1, norm="plain", bias=False),
}


class AttentionNetwork(nn.Module):
    """Say of each pixel how much of it is to be translated.

    Args:
        in_channels: channels of the pictures.
        width: channels after the first convolution; they double at the second.
        layout: "released": 1x1 convolutions in the decoder, as the released code computes; "paper":
            3x3, 3x3 and 7x7 ones, as its arguments read; "port": those too, as a PyTorch
            re-implementation has them, see `_FORMS`.
    """

    def __init__(
        self, in_channels: int = 3, *, width: int = 32, layout: AttentionLayout = "released"
    ) -> None:
        super().__init__()
        form = _FORMS[layout]
        norm, border = form.norm, form.border
        self.up = form.up
        unit = partial(ConvUnit, bias=form.bias)
        self.first = unit(in_channels, width, 7, stride=2, margin=3, border=border, norm=norm)
        self.second = unit(width, 2 * width, 3, stride=2, margin=form.halving_margin, norm=norm)
        self.block = RectifiedBlock(2 * width, border=border, norm=norm, bias=form.bias)
        channels = (2 * width, 2 * width, width, 1)
        self.decoder = nn.ModuleList(
            unit(
                channels[number],
                channels[number + 1],
                kernel,
                margin=kernel // 2,
                border=border,
                norm=norm if number < 2 else "none",
                slope=0.0 if number < 2 else None,
            )
            for number, kernel in enumerate(form.kernels)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the attention of pictures, (B, 1, H, W) in [0, 1], float32 at least.

        Pictures are (B, in_channels, H, W) in [-1, 1], sides a multiple of 4.
        """
        value = self.encode(images)
        for number, unit in enumerate(self.decoder):
            if number < 2:
                value = F.interpolate(value, scale_factor=2, mode=self.up)
            value = unit(value)
        return widen(value).sigmoid()

    def encode(self, images: Tensor) -> Tensor:
        """Return the features after the residual block, (B, 2 * width, H/4, W/4)."""
        features: Tensor = self.block(self.second(self.first(images)))
        return features


class GuidedGenerator(nn.Module):
    """Translate a whole picture; the attention network says where that shows."""

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, *, width: int = 32, blocks: int = 9
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(
            ConvUnit(in_channels, width, 7, margin=3),
            ConvUnit(width, 2 * width, 3, stride=2),
            ConvUnit(2 * width, 4 * width, 3, stride=2),
            *(RectifiedBlock(4 * width, border="constant") for _ in range(blocks)),
            DoublingUnit(4 * width, 2 * width),
            DoublingUnit(2 * width, width),
            ConvUnit(width, out_channels, 7, norm="none", slope=None),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the translation, (B, out_channels, H, W) in [-1, 1].

        Pictures are (B, in_channels, H, W) in [-1, 1], sides a multiple of 4.
        """
        translated: Tensor = self.model(images).tanh()
        return translated


class GuidedTranslator(nn.Module):
    """An attention network and a generator: together they translate the foreground."""

    def __init__(self, attention: AttentionNetwork, generator: GuidedGenerator) -> None:
        super().__init__()
        self.attention = attention
        self.generator = generator

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Translate pictures, (B, C, H, W) in [-1, 1], sides a multiple of 4.

        As released, the generator sees them whole.

        Returns:
            The translations, and the attention maps that they were composed by, (B, 1, H, W).
        """
        attention = self.attention(images)
        return compose(self.generator(images), images, attention), attention


class GuidedDiscriminator(nn.Module):
    """Discriminate overlapping patches of 70x70 pixels, with a norm that can be switched off.

    Attributes:
        is_normed: whether the norms are in use.
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        self.is_normed = True
        channels = (in_channels, width, 2 * width, 4 * width, 8 * width)
        self.inner = nn.ModuleList(
            ConvUnit(inside, outside, 4, stride=stride, margin=2, slope=0.2)
            for inside, outside, stride in zip(channels, channels[1:], (2, 2, 2, 1), strict=False)
        )
        self.last = ConvUnit(channels[-1], 1, 4, margin=2, norm="none", slope=None)

    def use_norm(self, is_used: bool) -> None:
        """Switch the norms on or off; scales and offsets out of use are frozen."""
        self.is_normed = is_used
        for layer in self.modules():
            if isinstance(layer, AffineInstanceNorm):
                layer.requires_grad_(is_used)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit a patch, (B, 1, h, w), any real number; high means real.

        Pictures are in [-1, 1], their background 0 where it is not shown.
        """
        value = images
        for unit in self.inner:
            value = unit(value, is_normed=self.is_normed)
        logits: Tensor = self.last(value)
        return logits


def draw_truncated(network: nn.Module, std: float = 0.02) -> None:
    """Draw fresh weights as the released code does, from torch's global random state.

    Convolutions from a normal distribution around 0, scales around 1, both of deviation `std` and
    cut off at twice that; biases and offsets become 0.
    """
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, AffineInstanceNorm):
            nn.init.trunc_normal_(layer.scale, 1.0, std, 1 - 2 * std, 1 + 2 * std)
            nn.init.zeros_(layer.offset)


def _build_norm(kind: UnitNorm, channels: int) -> nn.Module:
    if kind == "affine":
        return AffineInstanceNorm(channels)
    return InstanceNorm(channels) if kind == "plain" else nn.Identity()
