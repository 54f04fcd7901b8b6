"""Attention to Scale: how much each size of the picture says at each of its places.

Chen et al., "Attention to Scale: Scale-aware Semantic Image Segmentation", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from i2icli.networks.danet import conv_norm, enlarge
from i2icli.system.device import widen, without_autocast


class ScaleScores(NamedTuple):
    """What the head makes of the features of all scales; h, w: the size at scale 1.

    Attributes:
        merged: weighted sum of the scores, (B, K, h, w); the prediction.
        by_scale: scores of each scale by itself, S of (B, K, h_s, w_s).
        weights: of the scales, (B, S, h, w), sum 1.
        features: what was scored, of each scale at the size of scale 1, S of (B, C, h, w).
    """

    merged: Tensor
    by_scale: tuple[Tensor, ...]
    weights: Tensor
    features: tuple[Tensor, ...]

    def merged_features(self) -> Tensor:
        """Return the features of all scales, weighted as the scores are, (B, C, h, w)."""
        return _weighted(self.weights, self.features)


class ScaleAttentionHead(nn.Module):
    """Scores for every scale by one classifier, and the attention that merges them (sec. 4.1).

    Args:
        channels: of the backbone's features; what is scored and attended has a quarter, C.
        classes: number of classes, K.
        scales: number of scales, S.
        hidden: channels of the attention's first layer.
        dropout: share of activations dropped before the last layers in training.

    Attributes:
        channels: of what is scored and attended, C.
    """

    def __init__(
        self, channels: int, classes: int, scales: int, *, hidden: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.channels = channels // 4
        # In the place of LargeFOV's fc6 and fc7. The norm lets it learn from random weights at
        # the rates of segmentation networks; bare features of a residual network grow too large.
        self.neck = conv_norm(channels, self.channels)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(self.channels, classes, 1))
        self.attention = nn.Sequential(
            nn.Conv2d(scales * self.channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(hidden, scales, 1),
        )

    def forward(self, features: Sequence[Tensor]) -> ScaleScores:
        """Score features, (B, channels, h_s, w_s) a scale, the first of scale 1, and merge."""
        height, width = features[0].shape[2:]
        seen = [self.neck(part) for part in features]
        by_scale = tuple(self.classifier(part) for part in seen)
        # As in the paper, attention sees the features of all scales at the size of the first.
        aligned = tuple(enlarge(part, (height, width)) for part in seen)
        logits = self.attention(torch.cat(aligned, dim=1))
        with without_autocast(logits.device.type):
            weights = widen(logits).softmax(dim=1)
        merged = _weighted(weights, [enlarge(part, (height, width)) for part in by_scale])
        return ScaleScores(merged, by_scale, weights, aligned)


class ScaleClassifier(nn.Module):
    """Tells from a feature map which scale it came from: 0 merged, 1 the first scale, and so on."""

    def __init__(self, channels: int, scales: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(hidden, scales + 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return scores of the S + 1 answers, (B, S + 1), for features (B, C, h, w)."""
        scores: Tensor = self.layers(features)
        return scores


def resize_to_scale(images: Tensor, scale: float) -> Tensor:
    """Return pictures, (B, C, H, W), at `scale` times their sides, at least one pixel each."""
    if scale == 1.0:
        return images
    height, width = (max(1, round(scale * side)) for side in images.shape[2:])
    return enlarge(images, (height, width))


def _weighted(weights: Tensor, maps: Sequence[Tensor]) -> Tensor:
    # The sum over scales of weights, (B, S, h, w), times maps, each (B, C, h, w); sec. 4.1.
    total = weights[:, :1] * maps[0]
    for number, part in enumerate(maps[1:], start=1):
        total = total + weights[:, number : number + 1] * part
    return total
