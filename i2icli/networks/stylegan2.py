"""The StyleGAN2-like generator and discriminator of single-image translation (SinCUT, SeSim).

An encoder and decoder of few blocks without any normalisation, so a pixel of the translation
depends on a small neighbourhood of the source only, and large pictures can be done in tiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from i2icli.networks.layers import check_taps
from i2icli.networks.stylegan2_layers import DoublingBlock, EqualLinear, ResidualBlock, conv_layer
from i2icli.networks.tiles import cut_tiles

_NOISE_SEED = 1729
# Beyond this a picture is translated in tiles of this side; with 80 channels one of them takes
# half a gigabyte.
_MOST_PIXELS = 1024 * 1024
_TILE = 512


class StyleGAN2Generator(nn.Module):
    """Encoder and decoder of StyleGAN2 blocks, with taps for contrastive losses.

    The last layer activates too (CUT's single-image code), so without `tanh` the translation is
    not bounded: values below 0 come out at a fifth of what the others do.

    Args:
        in_channels: channels of the input pictures.
        out_channels: channels of the translated pictures.
        width: scales the channels: `width` / 32 of 256 at 64 pixels, twice that at 32, up to 512.
        resolution: side of the training crops, pixels; decides the channels of each level.
        downsamplings: halvings of the sides.
        blocks: residual blocks at the lowest level, half of them in the encoder.
        tanh: end with the hyperbolic tangent.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        width: int = 10,
        resolution: int = 64,
        downsamplings: int = 1,
        blocks: int = 6,
        tanh: bool = False,
    ) -> None:
        super().__init__()
        levels = [resolution >> level for level in range(downsamplings + 1)]
        channels = [_channels(level, width / 32, most=512) for level in levels]
        lowest = channels[-1]
        self.downsamplings, self.blocks = downsamplings, blocks
        self.encoder = _Half(
            nn.Identity(),
            conv_layer(in_channels, channels[0], 1),
            *(ResidualBlock(high, low, halve=True) for high, low in pairwise(channels)),
            *(ResidualBlock(lowest, lowest) for _ in range(blocks // 2)),
        )
        self.decoder = _Half(
            *(ResidualBlock(lowest, lowest) for _ in range(blocks // 2)),
            *(DoublingBlock(low, high) for low, high in pairwise(reversed(channels))),
            conv_layer(channels[0], out_channels, 1),
        )
        self.output: nn.Module = nn.Tanh() if tanh else nn.Identity()
        self._channels = [in_channels, *channels, *[lowest] * (blocks // 2)]

    @property
    def halo(self) -> int:
        """How far from a pixel of the translation the source matters, pixels, generously."""
        lowest = 2**self.downsamplings
        # A halving reaches 4 of its own pixels, a doubling 2 of the lower level's, a block 2
        halvings = sum(4 * 2**level for level in range(self.downsamplings))
        doublings = sum(2 * 2 ** (level + 1) for level in range(self.downsamplings))
        reach: int = halvings + 2 * 2 * (self.blocks // 2) * lowest + doublings
        return reach

    def noise_shapes(self, images: Tensor) -> list[tuple[int, int, int, int]]:
        """Return the shapes of the noise maps that `images`, (B, C, H, W), take, lowest first."""
        count, _, height, width = images.shape
        return [
            (count, 1, height >> level, width >> level)
            for level in reversed(range(self.downsamplings))
        ]

    def fixed_noise(self, images: Tensor) -> list[Tensor]:
        """Return the noise of evaluation: always the same for a size, shared by the batch."""
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        return [
            torch.randn((1, *shape[1:]), generator=generator).to(images.device)
            for shape in self.noise_shapes(images)
        ]

    def forward(
        self, images: Tensor, layers: Sequence[int] = (), noise: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Translate `images`, and return features of the encoder.

        Args:
            images: (B, in_channels, H, W) in [-1, 1], sides a multiple of 2 ** downsamplings.
            layers: numbers of the encoder's modules to tap, ascending.
            noise: maps of `noise_shapes`; none: the fixed ones of evaluation.

        Returns:
            The translation, (B, out_channels, H, W), and one feature map a tap.

        Raises:
            ValueError: `layers` does not ascend or names a module that is not there.
        """
        value, features = self._encode(images, layers, last=len(self._channels) - 1)
        # Departs from the official code: without given noise it is fixed, not drawn anew at every
        # translation, because the same picture should give the same translation.
        maps = iter(self.fixed_noise(images) if noise is None else noise)
        for module in self.decoder.convs:
            is_doubling = isinstance(module, DoublingBlock)
            value = module(value, next(maps)) if is_doubling else module(value)
        return self.output(value), features

    def encode(self, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Return features, (B, C_i, H_i, W_i) a tap, stopping after the last tapped module.

        Module 0 gives the pictures.

        Raises:
            ValueError: `layers` does not ascend or names a module that is not there.
        """
        return self._encode(images, layers, last=max(layers, default=-1))[1]

    def feature_channels(self, layers: Sequence[int]) -> list[int]:
        """Return the channels of the features that tapping `layers` gives.

        Raises:
            ValueError: `layers` does not ascend or names a module that is not there.
        """
        check_taps(layers, len(self._channels))
        return [self._channels[layer] for layer in layers]

    def translate(self, images: Tensor) -> Tensor:
        """Translate pictures with fixed noise, those of more than a million pixels in tiles.

        Their sides, (B, in_channels, H, W) in [-1, 1], are a multiple of 2 ** downsamplings.
        """
        if images.shape[-2] * images.shape[-1] > _MOST_PIXELS:
            return self.in_tiles(images, side=_TILE)
        translated: Tensor = self(images)[0]
        return translated

    def in_tiles(self, images: Tensor, *, side: int) -> Tensor:
        """Translate in tiles, in memory that does not grow with the pictures.

        Each tile is translated with so much of its surroundings that the result is the whole
        picture's to within rounding. `side` of a tile and sides of the pictures,
        (B, in_channels, H, W), are multiples of 2 ** downsamplings, pixels.
        """
        noise = self.fixed_noise(images)
        levels = range(len(noise) - 1, -1, -1)
        whole: Tensor | None = None
        for tile in cut_tiles(images.shape[-2], images.shape[-1], side=side, halo=self.halo):
            maps = [tile.around(m, level) for m, level in zip(noise, levels, strict=True)]
            part = tile.inside(self(tile.around(images), noise=maps)[0])
            if whole is None:
                whole = part.new_empty((*part.shape[:2], *images.shape[-2:]))
            tile.put(whole, part)
        assert whole is not None, "a picture has pixels"
        return whole

    def _encode(
        self, images: Tensor, layers: Sequence[int], *, last: int
    ) -> tuple[Tensor, list[Tensor]]:
        check_taps(layers, len(self._channels))
        value, features = images, []
        for number in range(last + 1):
            value = self.encoder.convs[number](value)
            if number in layers:
                features.append(value)
        return value, features


class _Half(nn.Module):
    # a sequence under the name that checkpoints have for it
    def __init__(self, *convs: nn.Module) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convs)


class StyleGAN2Discriminator(nn.Module):
    """Discriminate crops of one size as a whole.

    As released there is no minibatch standard deviation.

    Args:
        in_channels: channels of the pictures.
        width: scales the channels: `width` / 64 of 256 at 64 pixels, twice that at 32, up to 384.
        resolution: side of the pictures, a power of two, pixels.
        last_side: side at which the feature map is flattened, a power of two, pixels.

    Raises:
        ValueError: for a resolution that is no power of two, or below `last_side`.
    """

    def __init__(
        self, in_channels: int = 3, *, width: int = 8, resolution: int = 64, last_side: int = 4
    ) -> None:
        super().__init__()
        if resolution & (resolution - 1) or resolution < last_side:
            raise ValueError(
                f"this discriminator sees whole crops: data.crop must be a power of two, "
                f"{last_side} or more, got {resolution}"
            )
        halvings = int(math.log2(resolution // last_side))
        sides = [resolution >> level for level in range(halvings + 1)]
        channels = [_channels(side, width / 64, most=384) for side in sides]
        last = _channels(4, width / 64, most=384)
        self.resolution = resolution
        self.convs = nn.Sequential(
            conv_layer(in_channels, channels[0], 1),
            *(ResidualBlock(high, low, halve=True) for high, low in pairwise(channels)),
        )
        self.final_conv = conv_layer(channels[-1], last, 3)
        self.final_linear = nn.Sequential(
            EqualLinear(last * last_side**2, last, activate=True), EqualLinear(last, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return a logit a picture, (B, 1); high means real."""
        logits: Tensor = self.final_linear(self.final_conv(self.convs(images)).flatten(1))
        return logits


def _channels(side: int, share: float, *, most: int) -> int:
    """Return the channels of feature maps of `side` pixels in training."""
    wanted = max(1, round(16384 / side * share))
    # The released table has an upper limit at low levels only
    return min(most, wanted) if side <= 32 else wanted
