"""Instance normalisation that is right in every memory layout and batch size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.system.device import widen

_EPSILON = 1e-5
_HALVES = (torch.bfloat16, torch.float16)
_CONTIGUOUS = torch.contiguous_format

_NORMALISE_INTO = torch.ops.aten.native_batch_norm.out
_MOMENTS = torch.ops.aten.batch_norm_update_stats
_BACK = torch.ops.aten.native_batch_norm_backward


class _ContiguousGradient(torch.autograd.Function):
    """The identity, which hands its gradient on in contiguous memory."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class InstanceNorm(nn.Module):
    """Normalise each channel of each image over its pixels; no weights, no running statistics.

    Biased variance, 1e-5 added to it. Statistics are taken in float32 (float64 for float64
    images) whatever the precision of the images, which the result keeps.

    Attributes:
        channels: only for `repr`, there are no weights.
        is_lean: compute in the layout and number format of the images, statistics in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.is_lean = True

    def forward(self, images: Tensor) -> Tensor:
        """Normalise `images`, (B, C, H, W) with more than one pixel."""
        if self.is_lean and _has_kernels(images):
            lean: Tensor = _LeanNorm.apply(images)
            return lean
        wide = widen(images)
        if torch.compiler.is_compiling():  # one kernel for all, and the layout stays
            return _formula(wide).to(images.dtype)
        # Departs from the official code: the gradient is made contiguous, because PyTorch's own
        # backward of instance norm is wrong on a CPU for one image when the gradient arrives
        # channels-last, as sampled features send it. Group norm with one channel a group is right
        # there and faster, but its rounding is ten times coarser and shows in five training steps.
        normalised = F.instance_norm(wide.contiguous(), eps=_EPSILON)
        result: Tensor = _ContiguousGradient.apply(normalised)
        return result.to(images.dtype)

    def extra_repr(self) -> str:
        """Return the number of channels, for `print(network)`."""
        return str(self.channels)


def _has_kernels(images: Tensor) -> bool:
    """Return whether the kernels of batch norm do here what `_LeanNorm` asks of them."""
    is_plain = images.is_cpu or images.is_cuda  # neither "meta" nor rarer devices
    has_pixels = images.dim() == 4 and images.shape[0] > 0 and images.shape[2:].numel() > 1
    return is_plain and has_pixels and not torch.compiler.is_compiling()


def _formula(images: Tensor) -> Tensor:
    variance, mean = torch.var_mean(images, dim=(2, 3), correction=0, keepdim=True)
    return (images - mean) * (variance + _EPSILON).rsqrt()


def _back_formula(images: Tensor, gradient: Tensor) -> Tensor:
    wide, upper = widen(images), widen(gradient)
    variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
    scale = (variance + _EPSILON).rsqrt()
    normalised = (wide - mean) * scale
    along = (upper * normalised).mean(dim=(2, 3), keepdim=True)
    change = scale * (upper - upper.mean(dim=(2, 3), keepdim=True) - normalised * along)
    return change.to(images.dtype)


class _LeanNorm(torch.autograd.Function):
    """Instance norm by the kernels of batch norm; keeps its images, and two numbers a channel."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        # Contiguous images are one image of B * C channels to the kernels; those that lie
        # channels-last go one by one, since there is no such view of these.
        result = torch.empty_like(images, memory_format=_layout(images))
        pieces = zip(_pieces(images), _pieces(result), strict=True)
        parts = [_normalise(piece, into) for piece, into in pieces]
        ctx.save_for_backward(images, *(torch.stack(part) for part in zip(*parts, strict=True)))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        images, means, scales = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more, for a penalty on a slope
            return _back_formula(images, gradient)
        # The kernels are wrong where gradient and images differ in layout.
        layout = _layout(images)
        uppers, pieces = _pieces(gradient.to(images.dtype), layout), _pieces(images)
        if len(pieces) == 1:
            return _normalise_back(uppers[0], pieces[0], means[0], scales[0]).view_as(images)
        result = torch.empty_like(images, memory_format=layout)
        for into, *parts in zip(torch.split(result, 1), uppers, pieces, means, scales, strict=True):
            into.copy_(_normalise_back(*parts))
        return result


def _layout(images: Tensor) -> torch.memory_format:
    # contiguous where both hold, or neither
    is_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last and not images.is_contiguous() else _CONTIGUOUS


def _pieces(images: Tensor, layout: torch.memory_format | None = None) -> list[Tensor]:
    """Return images as pieces of one batch norm each, in a layout, by default their own.

    One piece (1, B * C, H, W) of contiguous images, else B pieces (1, C, H, W); views where the
    images lie like that already.
    """
    layout = layout or _layout(images)
    images = images.contiguous(memory_format=layout)
    if layout is _CONTIGUOUS:
        return [images.view(1, -1, *images.shape[2:])]
    return list(torch.split(images, 1))


def _normalise(piece: Tensor, into: Tensor) -> tuple[Tensor, Tensor]:
    """Write a normalised piece, (1, N, H, W); return channels' means and 1 / deviations, (N,)."""
    if not _sums_coarsely(piece):
        fresh = _vector(piece), _vector(piece)
        outs = {"out": into, "save_mean": fresh[0], "save_invstd": fresh[1]}
        _NORMALISE_INTO(piece, *_affine(piece), None, None, True, 0.0, _EPSILON, **outs)
        return fresh
    columns, width = _columns(piece), piece.shape[3]
    # Running statistics, which nobody reads, make the kernel keep float32 beside half precision.
    is_half = piece.dtype in _HALVES
    running = _ones_and_zeros(columns.shape[1], piece.device) if is_half else (None, None)
    means, variances = (part.view(width, -1) for part in _MOMENTS(columns, *running, 0.0))
    mean = means.mean(dim=0)
    # of all pixels: the mean within columns plus that between them
    variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
    none = mean.new_empty(0)
    outs = {"out": into, "save_mean": none, "save_invstd": none}
    _NORMALISE_INTO(piece, *_affine(piece), mean, variance, False, 0.0, _EPSILON, **outs)
    return mean, (variance + _EPSILON).rsqrt()


def _normalise_back(upper: Tensor, piece: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    if not _sums_coarsely(piece) or piece.dtype in _HALVES:
        given = upper, piece, _affine(piece)[0], None, None, mean, scale
        change: Tensor = _BACK(*given, True, _EPSILON, [True, False, False])[0]
        return change
    height, width = piece.shape[2:]
    many = mean.repeat(width), scale.repeat(width)
    given = _columns(upper), _columns(piece), None, None, None, *many
    # scale * (upper - mean(upper) - normalised * mean(upper * normalised)) as
    # shift + upper * scale + piece * slope; the kernels give the sums of the columns.
    sums = _BACK(*given, True, _EPSILON, [False, True, True])[1:]
    along, offset = (part.view(width, -1).mean(dim=0) / height for part in sums)
    slope = -scale * scale * along
    shift = -scale * offset - slope * mean
    shift, scale, slope = (values[:, None, None] for values in (shift, scale, slope))
    return torch.addcmul(shift, upper, scale).addcmul_(piece, slope)


def _sums_coarsely(piece: Tensor) -> bool:
    # Where channels lie last, the kernels for a CPU add up all pixels of a channel one after the
    # other; in float32 that costs two digits at 256x256.
    return piece.is_cpu and not piece.is_contiguous()


def _columns(piece: Tensor) -> Tensor:
    # (1, C, H, W), channels-last, as (1, W * C, H, 1), a view: each column of pixels is a channel
    # of its own then, and sums are short.
    _, channels, height, width = piece.shape
    rows = piece.permute(0, 2, 3, 1).reshape(1, height, 1, width * channels)
    return rows.permute(0, 3, 1, 2)


def _affine(piece: Tensor) -> tuple[Tensor | None, Tensor | None]:
    # Weights of 1 and 0 make the kernels keep float32 beside half precision.
    if piece.dtype not in _HALVES:
        return None, None
    return _ones_and_zeros(piece.shape[1], piece.device)


def _ones_and_zeros(channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.ones(channels, device=device), torch.zeros(channels, device=device)


def _vector(piece: Tensor) -> Tensor:
    # room for one number a channel
    wide = torch.float32 if piece.dtype in _HALVES else piece.dtype
    return torch.empty(piece.shape[1], dtype=wide, device=piece.device)
