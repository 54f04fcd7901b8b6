"""The residual generator of CycleGAN and CUT, with taps for contrastive losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from i2icli.networks.dual_attention import DualAttention
from i2icli.networks.layers import (
    NormKind,
    SmallStart,
    build_norm,
    check_taps,
    norm_needs_bias,
)
from i2icli.networks.resample import Downsample, ReflectionPad, Upsample
from i2icli.networks.segments import run_in_segments
from i2icli.networks.taps import tap_rows
from i2icli.system.device import widen

_MOST = 0.97  # of a source's range, so that its inverse tanh stays finite


def add_change(images: Tensor, change: Tensor) -> Tensor:
    """Return tanh(atanh(0.97 x) + f): pictures to which a residual generator's change is added.

    In float32 at least. Without a change a picture loses 3 % of its range.

    Args:
        images: x, (B, C, H, W); beyond [-1, 1] they are cut off.
        change: f, the same shape, unbounded.
    """
    start = torch.atanh(_MOST * widen(images).clamp(-1.0, 1.0))
    return torch.tanh(start + widen(change))


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with a skip around them; no activation after the sum."""

    def __init__(self, channels: int, *, norm: NormKind, dropout: bool) -> None:
        super().__init__()
        self.channels = channels
        bias = norm_needs_bias(norm)
        half = [
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            build_norm(norm, channels),
            nn.ReLU(),
        ]
        if dropout:
            half.append(nn.Dropout(0.5))
        self.conv_block = nn.Sequential(
            *half,
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            build_norm(norm, channels),
        )

    def forward(self, features: Tensor, *, recomputes: bool = False) -> Tensor:
        """Return `features`, (B, C, H, W), plus the block's change; see `ResnetGenerator`."""
        return features + run_in_segments(self.conv_block, features, recomputes=recomputes)


class ResnetGenerator(nn.Module):
    """Encoder, residual blocks and decoder (Johnson et al., ECCV 2016; CycleGAN; CUT).

    `model` is one flat sequence, numbered as in the released networks, so their checkpoints load
    by name, and a layer number means what it means there.

    Args:
        in_channels: channels of the input pictures.
        out_channels: channels of the translated pictures.
        width: channels after the first convolution; they double at each halving.
        blocks: residual blocks.
        antialias_down: halve by blur (CUT) rather than by strided convolution (CycleGAN).
        antialias_up: double by interpolation (CUT) rather than by transposed convolution.
        norm: normalisation after each convolution.
        dropout: dropout inside the residual blocks.
        attention: "dual": attention over places and channels after the residual blocks; it is no
            part of `model`, so numbers and names stay what they are without it.
        residual: what comes before the tanh is added to the picture (`add_change`), and starts
            small: the first translation is the source.

    Raises:
        ValueError: residual, and pictures and translations differ in channels.

    Attributes:
        recomputes: in training, keep the outputs of convolutions alone, and compute what lies
            between them again for the gradient.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        width: int = 64,
        blocks: int = 9,
        antialias_down: bool = True,
        antialias_up: bool = True,
        norm: NormKind = "instance",
        dropout: bool = False,
        attention: Literal["none", "dual"] = "none",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if residual and in_channels != out_channels:
            raise ValueError(
                f"a residual generator adds to {in_channels} channels, it cannot make "
                f"{out_channels} of them"
            )
        self.in_channels, self.residual = in_channels, residual
        self.recomputes = False
        bias = norm_needs_bias(norm)
        layers: list[nn.Module] = [
            ReflectionPad(3),
            nn.Conv2d(in_channels, width, 7, bias=bias),
            build_norm(norm, width),
            nn.ReLU(),
        ]
        for channels in (width, 2 * width):
            layers += _halving(channels, antialias=antialias_down, norm=norm)
        layers += [ResnetBlock(4 * width, norm=norm, dropout=dropout) for _ in range(blocks)]
        self._last_block = len(layers) - 1  # 20 of 9 blocks with blurs, else 18
        # The module between whose output and the picture half of the blocks lie.
        self.middle_block = self._last_block - blocks // 2
        for channels in (4 * width, 2 * width):
            layers += _doubling(channels, antialias=antialias_up, norm=norm)
        last = SmallStart if residual else nn.Conv2d
        layers += [ReflectionPad(3), last(width, out_channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        self.attention = DualAttention(4 * width) if attention == "dual" else None

    def forward(self, images: Tensor, layers: Sequence[int] = ()) -> tuple[Tensor, list[Tensor]]:
        """Translate `images`, and return features on the way.

        Args:
            images: (B, in_channels, H, W) in [-1, 1], sides a multiple of 4.
            layers: numbers of the modules to tap, ascending.

        Returns:
            The translation, (B, out_channels, H, W) in [-1, 1], and features as of `encode`.

        Raises:
            ValueError: `layers` does not ascend or names a module that is not there.
        """
        return self._run(images, layers, last=len(self.model) - 1)

    def change(self, images: Tensor) -> Tensor:
        """Return what a residual generator adds to pictures by `add_change`, the same shape.

        Args:
            images: (B, C, H, W) in [-1, 1], sides a multiple of 4.
        """
        assert self.residual, "this generator adds nothing to its pictures"
        return self._run(images, (), last=len(self.model) - 2)[0]

    def encode(
        self, images: Tensor, layers: Sequence[int], places: Sequence[Tensor | None] = ()
    ) -> list[Tensor]:
        """Return features, stopping after the last tapped module.

        Args:
            images: (B, in_channels, H, W) in [-1, 1], sides a multiple of 4.
            layers: numbers of the modules to tap, ascending.
            places: by tap, flat positions, (B, N), int64, row * W_i + column, of the features that
                are wanted; None: all.

        Returns:
            A tap, (B, C_i, H_i, W_i), or (B, N, C_i) where it has `places`.

        Raises:
            ValueError: `layers` does not ascend or names a module that is not there.
        """
        return self._run(images, layers, last=max(layers, default=-1), places=places)[1]

    def feature_channels(self, layers: Sequence[int]) -> list[int]:
        """Return the channels of the features that tapping `layers` gives.

        Raises:
            ValueError: `layers` does not ascend or names a module that is not there.
        """
        check_taps(layers, len(self.model))
        channels, after = self.in_channels, []
        for module in self.model:
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                channels = module.out_channels
            after.append(channels)
        return [after[layer] for layer in layers]

    def _run(
        self,
        images: Tensor,
        layers: Sequence[int],
        *,
        last: int,
        places: Sequence[Tensor | None] = (),
    ) -> tuple[Tensor, list[Tensor]]:
        check_taps(layers, len(self.model))
        taps = [self._tapped(layer, last=layers[-1]) for layer in layers]
        wanted = dict(zip(taps, places, strict=False))
        features: dict[int, Tensor] = {}
        value, start = images, 0
        for end in self._borders(taps, last):
            if self.residual and end == len(self.model) - 1:  # the tanh, which stands alone
                value = add_change(images, value)
            else:
                value = self._through(start, end, value)
            if (rows := wanted.get(end)) is not None:
                value, features[end] = tap_rows(value, rows)
            elif end in taps:
                features[end] = value
            if end == self._last_block < last and self.attention is not None:
                value = self.attention(value)
            start = end + 1
        return value, [features[tap] for tap in taps]

    def _borders(self, taps: Sequence[int], last: int) -> list[int]:
        """Return, ascending, the modules up to `last` after which something else happens."""
        blocks = {number for number in range(last + 1) if self._is_block(number)}
        before = {number - 1 for number in blocks}
        if self.residual and last == len(self.model) - 1:
            before.add(last - 1)
        return sorted({*taps, *blocks, *before, last} - {-1})

    def _through(self, first: int, last: int, value: Tensor) -> Tensor:
        if self._is_block(first):  # the modules are one block, or none
            result: Tensor = self.model[first](value, recomputes=self.recomputes)
            return result
        layers = self.model[first : last + 1]
        return run_in_segments(layers, value, recomputes=self.recomputes)

    def _is_block(self, number: int) -> bool:
        return isinstance(self.model[number], ResnetBlock)

    def _tapped(self, layer: int, *, last: int) -> int:
        # The released networks overwrite a tapped norm by the ReLU that follows. Only the last tap
        # keeps its own value, for there the released encoder stops.
        following = layer + 1
        while following < last and isinstance(self.model[following], nn.Identity):
            following += 1
        is_overwritten = following <= last and isinstance(self.model[following], nn.ReLU)
        return following if is_overwritten else layer


# Halving doubles the channels, doubling halves them.
def _halving(channels: int, *, antialias: bool, norm: NormKind) -> list[nn.Module]:
    stride = 1 if antialias else 2
    bias = norm_needs_bias(norm)
    layers = [
        nn.Conv2d(channels, 2 * channels, 3, stride=stride, padding=1, bias=bias),
        build_norm(norm, 2 * channels),
        nn.ReLU(),
    ]
    return [*layers, Downsample(2 * channels)] if antialias else layers


def _doubling(channels: int, *, antialias: bool, norm: NormKind) -> list[nn.Module]:
    bias, half = norm_needs_bias(norm), channels // 2
    after = [build_norm(norm, half), nn.ReLU()]
    if antialias:
        return [Upsample(channels), nn.Conv2d(channels, half, 3, padding=1, bias=bias), *after]
    transposed = nn.ConvTranspose2d(
        channels, half, 3, stride=2, padding=1, output_padding=1, bias=bias
    )
    return [transposed, *after]
