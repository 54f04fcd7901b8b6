"""Dual attention: over the places of a feature map, and over its channels.

Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019, sec. 3.2 and 3.3.
Both parts add what they gather times a learned weight, gamma, that starts at 0: at first they are
the identity.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from i2icli.system.device import widen, without_autocast

ChannelForm = Literal["released", "paper"]
_MOST_WEIGHTS = 1 << 25  # attention weights held at once where no gradient is wanted, 128 MiB


class PositionAttention(nn.Module):
    """Every place gathers from all places by the likeness of its query and their keys (PAM).

    The products are not scaled. Weights are named as in the released network.

    Args:
        channels: of the features.
        reduction: queries and keys have `channels // reduction` channels, at least 1.
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.query_conv = nn.Conv2d(channels, inner, 1)
        self.key_conv = nn.Conv2d(channels, inner, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Return `features` plus gamma times what each place gathers, (B, C, H, W)."""
        queries, keys = (part.flatten(2) for part in self.queries_and_keys(features))
        values = widen(self.value_conv(features)).flatten(2)  # (B, C, HW)
        with without_autocast(features.device.type):
            gathered = torch.cat(
                [values @ _attend(part, keys).mT for part in _portions(queries, values)], dim=2
            )
            wide = widen(features)
            result: Tensor = self.gamma * gathered.view_as(wide) + wide
        return result.to(features.dtype)

    def queries_and_keys(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys, each (B, C', H, W), at least float32."""
        return widen(self.query_conv(features)), widen(self.key_conv(features))

    def weights(self, features: Tensor) -> Tensor:
        """Return the whole attention, (B, HW, HW): a row a gathering place, each sums to 1."""
        queries, keys = (part.flatten(2) for part in self.queries_and_keys(features))
        with without_autocast(features.device.type):
            return _attend(queries, keys)


class ChannelAttention(nn.Module):
    """Every channel gathers from all channels by their products over the map (CAM).

    Args:
        form: "paper": softmax of the products, like channels gather from each other (eq. 3);
            "released": softmax of (row maximum - products), unlike channels do.
    """

    def __init__(self, *, form: ChannelForm = "released") -> None:
        super().__init__()
        self.form = form
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Return `features` plus gamma times what each channel gathers, (B, C, H, W)."""
        wide = widen(features)
        with without_autocast(features.device.type):
            gathered = self.weights(wide) @ wide.flatten(2)
            result: Tensor = self.gamma * gathered.view_as(wide) + wide
        return result.to(features.dtype)

    def weights(self, features: Tensor) -> Tensor:
        """Return the attention, (B, C, C): a row a gathering channel, each sums to 1."""
        with without_autocast(features.device.type):
            flat = widen(features).flatten(2)
            products = flat @ flat.mT  # (B, C, C)
            if self.form == "released":  # the sign turned: unlike channels gather from each other
                products = products.amax(dim=2, keepdim=True) - products
            weights: Tensor = products.softmax(dim=2)
        return weights


class DualAttention(nn.Module):
    """Both attentions side by side; what they add to the features is summed.

    With both gammas at 0, as they start, the features are returned bit for bit.
    """

    def __init__(
        self, channels: int, *, reduction: int = 8, form: ChannelForm = "released"
    ) -> None:
        super().__init__()
        self.position = PositionAttention(channels, reduction=reduction)
        self.channel = ChannelAttention(form=form)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features with what both attentions add, (B, C, H, W)."""
        change_by_place: Tensor = self.position(features) - features
        change_by_channel: Tensor = self.channel(features) - features
        return features + change_by_place + change_by_channel


def _attend(queries: Tensor, keys: Tensor) -> Tensor:
    weights: Tensor = (queries.mT @ keys).softmax(dim=2)  # (B, N, M) of (B, D, N) and (B, D, M)
    return weights


def _portions(queries: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    # Without gradient, large maps are worked on in portions of their rows, so that memory stays
    # bounded where HW x HW weights would not fit.
    batch, _, places = queries.shape
    is_learning = torch.is_grad_enabled() and (queries.requires_grad or values.requires_grad)
    if is_learning or batch * places * places <= _MOST_WEIGHTS:
        return (queries,)
    return torch.split(queries, max(1, _MOST_WEIGHTS // (batch * places)), dim=2)
