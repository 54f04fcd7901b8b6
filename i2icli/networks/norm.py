"""Instance normalisation that is right in every memory layout and batch size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.runtime import widen


class _ContiguousGradient(torch.autograd.Function):
    """The identity, which hands its gradient on in contiguous memory."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


def _with_contiguous_gradient(values: Tensor) -> Tensor:
    # Departs from the official code: the gradient is made contiguous, because PyTorch's own
    # backward of instance norm is wrong on a CPU for one image when the gradient arrives
    # channels-last, as sampled features send it. Group norm with one channel a group is right
    # there and faster, but its rounding is ten times coarser and shows in five training steps.
    result: Tensor = _ContiguousGradient.apply(values)
    return result


class InstanceNorm(nn.Module):
    """Normalise each channel of each image over its pixels; no weights, no running statistics.

    Biased variance, 1e-5 added to it. Statistics are taken in float32 (float64 for float64
    images) whatever the precision of the images, which the result keeps.

    Args:
        channels: channels of the images; only for `repr`, there are no weights.

    Attributes:
        is_lean: compute in the layout and number format of the images, statistics in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.is_lean = True

    def forward(self, images: Tensor) -> Tensor:
        """Normalise `images`, (B, C, H, W) with more than one pixel."""
        wide = widen(images)
        normalised = F.instance_norm(wide.contiguous(), eps=1e-5)
        return _with_contiguous_gradient(normalised).to(images.dtype)

    def extra_repr(self) -> str:
        """Return the number of channels, for `print(network)`."""
        return str(self.channels)
