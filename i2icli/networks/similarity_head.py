"""The learned head of L-SeSim: small convolutions that features pass before they are compared."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class SimilarityHead(nn.Module):
    """Two 1 x 1 convolutions a feature layer (Zheng et al., CVPR 2021).

    Args:
        channels: channels of each feature layer, C_l; the head gives max(32, C_l // 4).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for index, inside in enumerate(channels):
            width = max(32, inside // 4)
            head = nn.Sequential(nn.Conv2d(inside, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
            self.add_module(f"conv_{index}", head)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of every layer as they are compared.

        Args:
            features: one map a layer, (B, C_l, H_l, W_l).

        Returns:
            One a layer, (B, max(32, C_l // 4), H_l, W_l).
        """
        heads = self.children()
        return [head(value) for head, value in zip(heads, features, strict=True)]
