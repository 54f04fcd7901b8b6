"""DANet: a segmentation head with attention over places and over channels.

Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.dual_attention import ChannelAttention, ChannelForm, PositionAttention


class DANetScores(NamedTuple):
    """Class scores, each (B, K, H, W), before any softmax.

    Attributes:
        fused: from both attentions; the prediction.
        position: from position attention alone.
        channel: from channel attention alone.
    """

    fused: Tensor
    position: Tensor
    channel: Tensor


class DANetHead(nn.Module):
    """From features to class scores; modules are named as in the released network.

    Args:
        channels: of the features; a quarter of them goes through the attentions.
        classes: number of classes, K.
        dropout: share of channels dropped before the scores in training.
        form: of the channel attention.
    """

    def __init__(
        self, channels: int, classes: int, *, dropout: float = 0.1, form: ChannelForm = "released"
    ) -> None:
        super().__init__()
        inner = channels // 4
        self.conv5a = conv_norm(channels, inner)
        self.conv5c = conv_norm(channels, inner)
        self.sa = PositionAttention(inner)
        self.sc = ChannelAttention(form=form)
        self.conv51 = conv_norm(inner, inner)
        self.conv52 = conv_norm(inner, inner)
        self.conv6, self.conv7, self.conv8 = (
            nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(inner, classes, 1)) for _ in range(3)
        )

    def forward(self, features: Tensor) -> DANetScores:
        """Return scores at the size of the features, (B, K, h, w) each."""
        by_place = self.conv51(self.sa(self.conv5a(features)))
        by_channel = self.conv52(self.sc(self.conv5c(features)))
        return DANetScores(
            self.conv8(by_place + by_channel), self.conv6(by_place), self.conv7(by_channel)
        )


def enlarge(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate maps, (B, K, h, w), bilinearly to `size`, corner on corner."""
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=True)


def conv_norm(channels: int, out: int) -> nn.Sequential:
    """Build a 3x3 convolution, its batch norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )
