"""Instance normalisation that is right in every memory layout and batch size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InstanceNorm(nn.Module):
    """Normalise each channel of each image over its pixels; no weights, no running statistics.

    Biased variance, 1e-5 added to it. Statistics are taken in float32 (float64 for float64
    images) whatever the precision of the images, which the result keeps.

    Args:
        channels: channels of the images; only for `repr`, there are no weights.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Normalise `images`, (B, C, H, W) with more than one pixel."""
        wide = images if images.dtype == torch.float64 else images.float()
        # Departs from the official code: group norm with one channel a group instead of instance
        # norm, because PyTorch's own backward of the latter is wrong on a CPU for one image when
        # the gradient arrives channels-last, as sampled features send it.
        return F.group_norm(wide, images.shape[1], eps=1e-5).to(images.dtype)

    def extra_repr(self) -> str:
        """Return the number of channels, for `print(network)`."""
        return str(self.channels)
