"""Heads that features pass before they are contrasted or compared."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from i2icli.system.device import widen


class ProjectionHead(nn.Module):
    """One small perceptron a feature layer, then a scaling to length 1; maybe only that."""

    def __init__(self, channels: Sequence[int], dim: int = 256, *, use_mlp: bool = True) -> None:
        super().__init__()
        self.use_mlp = use_mlp
        if not use_mlp:
            return
        for index, width in enumerate(channels):
            perceptron = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))
            self.add_module(f"mlp_{index}", perceptron)

    def forward(self, rows: Tensor, index: int) -> Tensor:
        """Project feature vectors, (..., C), of the layer at `index` of `channels`.

        Returns:
            (..., dim), or (..., C) without perceptrons; length 1 but for tiny vectors.
        """
        projected: Tensor = self.get_submodule(f"mlp_{index}")(rows) if self.use_mlp else rows
        return scale_to_unit(projected)


def scale_to_unit(rows: Tensor) -> Tensor:
    """Divide each vector, (..., C), by its Euclidean length plus 1e-7, in float32 at least.

    An all-zero vector stays zero.
    """
    # The constant is added, no lower limit: with fresh weights the vectors are so short that it
    # shows.
    wide = widen(rows)
    squares = wide.square().sum(dim=-1, keepdim=True)
    # Departs from the official code: an all-zero vector passes no gradient back, because the
    # square root's infinite slope at 0 would make it NaN.
    is_zero = squares == 0
    length = squares.masked_fill(is_zero, 1.0).sqrt()
    return wide.masked_fill(is_zero, 0.0) / (length + 1e-7)


class SimilarityHead(nn.Module):
    """Two 1 x 1 convolutions a feature layer of C_l channels (Zheng et al., CVPR 2021)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for index, inside in enumerate(channels):
            width = max(32, inside // 4)
            head = nn.Sequential(nn.Conv2d(inside, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
            self.add_module(f"conv_{index}", head)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return (B, max(32, C_l // 4), H_l, W_l) a layer of features, (B, C_l, H_l, W_l)."""
        heads = self.children()
        return [head(value) for head, value in zip(heads, features, strict=True)]
