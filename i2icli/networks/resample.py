"""Anti-aliased halving and doubling of feature maps (Zhang, ICML 2019), as CUT uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.system.device import widen, without_autocast


def blur_filter(taps: list[float], channels: int) -> Tensor:
    """Return the outer product of K `taps` with itself, sum 1, as (channels, 1, K, K)."""
    line = torch.tensor(taps)
    square = torch.outer(line, line)
    return (square / square.sum()).expand(channels, 1, -1, -1).clone()


def pad(features: Tensor, widths: Sequence[int], *, mode: str) -> Tensor:
    """Pad maps, (B, C, H, W), by `widths` left, right, top, bottom, in the number format they have.

    It only copies, yet autocast for a CPU would have it in float32, which takes ten times as long.
    """
    with without_autocast(features.device.type):
        return F.pad(features, list(widths), mode=mode)


class ReflectionPad(nn.ReflectionPad2d):
    """Reflection padding by `pad`."""

    def forward(self, features: Tensor) -> Tensor:
        """Pad `features`, (B, C, H, W)."""
        return pad(features, self.padding, mode="reflect")


class Downsample(nn.Module):
    """Blur by [1, 2, 1] and keep every second pixel; odd sides round up.

    Attributes:
        filt: the filter, (C, 1, 3, 3).
        is_lean: on a CPU, take the gradient by slices and sums rather than by a convolution.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", blur_filter([1.0, 2.0, 1.0], channels))
        self.is_lean = True

    def forward(self, features: Tensor) -> Tensor:
        """Halve `features`, (B, C, H, W) with sides of 2 or more."""
        if self.is_lean and features.is_cpu and not torch.compiler.is_compiling():
            blurred: Tensor = _Blur.apply(features, self.filt)
            return blurred
        return _blurred(features, self.filt)


def _blurred(features: Tensor, filt: Tensor) -> Tensor:
    padded = pad(features, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, filt, stride=2, groups=features.shape[1])


class _Blur(torch.autograd.Function):
    """The blur of `Downsample`, which keeps nothing for its gradient.

    PyTorch's own gradient of a convolution channel by channel takes ten to forty times as long.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, filt: Tensor) -> Tensor:
        is_last = features.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if is_last else torch.contiguous_format
        ctx.features = features.shape, features.dtype
        ctx.save_for_backward(filt)
        return _blurred(features, filt)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (filt,) = ctx.saved_tensors
        shape, dtype = ctx.features
        # in the layout that what computed the features expects
        gradient = gradient.contiguous(memory_format=ctx.layout)
        spread: Tensor = _Spread.apply(gradient, filt, shape, ctx.layout)
        return spread.to(dtype), None


class _Spread(torch.autograd.Function):
    """The adjoint of `_Blur`, for its gradient; `_Blur` is the adjoint of this one."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, filt: Tensor, shape: torch.Size, layout: torch.memory_format
    ) -> Tensor:
        ctx.save_for_backward(filt)
        return _spread(_spread(gradient, 3, shape[3], layout), 2, shape[2], layout)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (filt,) = ctx.saved_tensors
        blurred: Tensor = _Blur.apply(gradient, filt.to(gradient.dtype))
        return blurred, None, None, None


def _spread(gradient: Tensor, axis: int, length: int, layout: torch.memory_format) -> Tensor:
    """Return the gradient along an axis of `length` places that [1, 2, 1] / 4 halved."""
    halves = gradient.shape[axis]
    shape = list(gradient.shape)
    shape[axis] = length
    result = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=layout)
    even, odd = (_every_second(result, axis, start) for start in (0, 1))
    torch.mul(gradient, 0.5, out=even)
    # Place 2i + 1 lies beside 2i and 2i + 2, and what lies beyond an edge is what lies before it.
    without_last, without_first = _trimmed(gradient, axis)
    torch.add(without_last, without_first, out=odd.narrow(axis, 0, halves - 1))
    if length % 2 == 0:
        odd.narrow(axis, halves - 1, 1).copy_(gradient.narrow(axis, halves - 1, 1))
    else:
        odd.narrow(axis, halves - 2, 1).add_(gradient.narrow(axis, halves - 1, 1))
    odd.narrow(axis, 0, 1).add_(gradient.narrow(axis, 0, 1))
    odd.mul_(0.25)
    return result


def _every_second(values: Tensor, axis: int, start: int) -> Tensor:
    return values[(slice(None),) * axis + (slice(start, None, 2),)]


class Upsample(nn.Module):
    """Double the sides by the filter [1, 3, 3, 1], edges replicated.

    Attributes:
        filt: the filter, (C, 1, 4, 4), kept for the names in checkpoints.
        is_bilinear: interpolate, which is the same map, and does not read the filter; else run
            the filter.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4.0 * blur_filter([1.0, 3.0, 3.0, 1.0], channels))
        self.is_bilinear = True

    def forward(self, features: Tensor) -> Tensor:
        """Double `features`, (B, C, H, W)."""
        if not self.is_bilinear:  # as the released code does
            padded = pad(features, (1, 1, 1, 1), mode="replicate")
            groups = features.shape[1]
            doubled = F.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=groups)
            return doubled[:, :, 1:-1, 1:-1]
        # Departs from the official code: bilinear interpolation instead of a transposed blur
        # convolution on a padded map, because it computes the same values several times faster.
        is_last = features.is_contiguous(memory_format=torch.channels_last)
        is_planar = features.is_contiguous() or not is_last
        if features.is_cpu and is_planar and not torch.compiler.is_compiling():
            interpolated: Tensor = _Double.apply(features)
            return interpolated
        return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


class _Double(torch.autograd.Function):
    """Bilinear doubling of maps that lie plane by plane, one axis after the other.

    PyTorch's own kernel for a CPU takes more than twice as long, unless channels lie last.
    """

    @staticmethod
    def forward(_ctx: Any, features: Tensor) -> Tensor:
        return _doubled(_doubled(widen(features), 2), 3).to(features.dtype)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        halved: Tensor = _Halve.apply(gradient)
        return halved


class _Halve(torch.autograd.Function):
    """The adjoint of `_Double`, for its gradient; `_Double` is the adjoint of this one."""

    @staticmethod
    def forward(_ctx: Any, gradient: Tensor) -> Tensor:
        return _halved(_halved(widen(gradient).contiguous(), 3), 2).to(gradient.dtype)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        doubled: Tensor = _Double.apply(gradient.contiguous())
        return doubled


def _doubled(features: Tensor, axis: int) -> Tensor:
    """Return maps of twice the length along an axis: 3/4 of each place, 1/4 of its neighbour."""
    length = features.shape[axis]
    shape = list(features.shape)
    shape[axis] = 2 * length
    result = features.new_empty(shape)
    even, odd = torch.unflatten(result, axis, (length, 2)).unbind(axis + 1)
    # Place 2i lies a quarter towards place i - 1 of the features, place 2i + 1 towards i + 1.
    without_last, without_first = _trimmed(features, axis)
    torch.lerp(without_first, without_last, 0.25, out=_trimmed(even, axis)[1])
    torch.lerp(without_last, without_first, 0.25, out=_trimmed(odd, axis)[0])
    # What lies beyond an edge is the edge.
    even.narrow(axis, 0, 1).copy_(features.narrow(axis, 0, 1))
    odd.narrow(axis, length - 1, 1).copy_(features.narrow(axis, length - 1, 1))
    return result


def _halved(gradient: Tensor, axis: int) -> Tensor:
    """Return the gradient of the input of `_doubled`, given that of its output."""
    length = gradient.shape[axis] // 2
    even, odd = torch.unflatten(gradient, axis, (length, 2)).unbind(axis + 1)
    result = torch.add(even, odd, out=gradient.new_empty(even.shape)).mul_(0.75)
    without_last, without_first = _trimmed(result, axis)
    without_last.add_(_trimmed(even, axis)[1], alpha=0.25)
    without_first.add_(_trimmed(odd, axis)[0], alpha=0.25)
    result.narrow(axis, 0, 1).add_(even.narrow(axis, 0, 1), alpha=0.25)
    result.narrow(axis, length - 1, 1).add_(odd.narrow(axis, length - 1, 1), alpha=0.25)
    return result


def _trimmed(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    length = values.shape[axis]  # without the last, and without the first place
    return values.narrow(axis, 0, length - 1), values.narrow(axis, 1, length - 1)
