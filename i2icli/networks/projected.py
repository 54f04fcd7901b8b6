"""Discriminators on the features of a frozen network (Sauer et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.layers import OwnStart
from i2icli.networks.spectral import SpectralConv

_MIXED = 64  # channels of the random projections
_MOST_HALVINGS = 2


class ProjectedHeads(nn.Module):
    """Mix the features of all layers by fixed random convolutions, and discriminate each mixture.

    Channels are mixed by 1x1 convolutions; scales by 3x3 ones, from the coarsest layer on, each
    mixture enlarged and added to the next. Both are drawn once and kept: buffers, not weights.
    Heads, which are trained, halve the two finest mixtures twice and once.

    Args:
        channels: of the features of each layer, the finest first.
        width: channels of the heads.
        is_spectral: the heads' convolutions are spectrally normalised.
    """

    def __init__(self, channels: Sequence[int], *, width: int = 96, is_spectral: bool = False):
        super().__init__()
        kind = SpectralConv if is_spectral else OwnStart
        for number, inside in enumerate(channels):
            self.register_buffer(f"channels_{number}", _drawn(_MIXED, inside, 1))
            self.register_buffer(f"scales_{number}", _drawn(_MIXED, _MIXED, 3))
        self.heads = nn.ModuleList(
            _head(kind, width, max(0, _MOST_HALVINGS - number)) for number in range(len(channels))
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return a map of logits a layer, (B, 1, h, w), of features, (B, C_l, H_l, W_l) each."""
        maps: list[Tensor] = []
        above: Tensor | None = None
        for number in reversed(range(len(self.heads))):
            mixed = F.conv2d(features[number], self.get_buffer(f"channels_{number}"))
            if above is not None:
                mixed = mixed + F.interpolate(above, size=mixed.shape[2:], mode="bilinear")
            above = F.conv2d(mixed, self.get_buffer(f"scales_{number}"), padding=1)
            maps.insert(0, self.heads[number](above))
        return maps


class JointDiscriminator(nn.Module):
    """A discriminator of features, maybe beside one of the pictures themselves.

    Args:
        projected: of features.
        patch: of pictures; None: none.
    """

    def __init__(self, projected: ProjectedHeads, patch: nn.Module | None) -> None:
        super().__init__()
        self.projected, self.patch = projected, patch

    def forward(self, *given: Tensor) -> list[list[Tensor]]:
        """Return the maps of logits of each part, (B, 1, h, w) each; high means real.

        Given are pictures, (B, C, H, W), where there is a discriminator of these, then their
        features, (B, C_l, H_l, W_l), the finest first.
        """
        if self.patch is None:
            return [self.projected(given)]
        pictures, *features = given
        logits = self.patch(pictures)
        of_pictures = [logits] if isinstance(logits, Tensor) else logits
        return [self.projected(features), of_pictures]


def _drawn(outside: int, inside: int, kernel: int) -> Tensor:
    drawn: Tensor = torch.randn(outside, inside, kernel, kernel) / (inside * kernel**2) ** 0.5
    return drawn


def _head(kind: type[OwnStart], width: int, halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    inside = _MIXED
    for _ in range(halvings):
        layers += [kind(inside, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inside = width
    layers += [kind(inside, width, 3, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, kind(width, 1, 3, padding=1))
