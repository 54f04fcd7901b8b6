"""Layers of a generator that work on some rows of a picture and give what the whole would give.

A layer says which rows it must see for some rows of its result; rows beyond the border of the
picture come from the layer's own padding, rows beyond a band are real ones. Bands have the full
width, so nothing is special along it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.errors import I2IError
from i2icli.networks.resample import Downsample, Upsample
from i2icli.networks.resnet import add_change
from i2icli.system.device import widen
from i2icli.translation.row_maps import RowMap

Shape = tuple[int, int, int]  # channels, rows, columns


class RowOp(ABC):
    """A layer, by rows."""

    @abstractmethod
    def shape(self, shape: Shape) -> Shape:
        """Return the shape of the whole result for a whole map of `shape`."""

    @abstractmethod
    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:
        """Return the rows of a map of `height` that rows `first` up to `last` are made of."""

    @abstractmethod
    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:
        """Return rows `first` up to `last` of the result, of a map of `height` rows.

        `rows`, (1, C, h, W), are those that `needs` named; the first of them has the number
        `start`.
        """


class _Pointwise(RowOp):
    # Pixels depend on the same pixel only: activations, fixed norms.
    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def shape(self, shape: Shape) -> Shape:
        return shape

    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:  # noqa: ARG002
        return first, last

    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:  # noqa: ARG002
        result: Tensor = self._layer(rows)
        return result


class AddChange(RowOp):
    """The end of a residual generator: a change is added to the picture, (C, H, W)."""

    def __init__(self, image: Tensor) -> None:
        self._image = image

    def shape(self, shape: Shape) -> Shape:
        """Return the shape as it is."""
        return shape

    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:  # noqa: ARG002
        """Return the same rows."""
        return first, last

    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:  # noqa: ARG002
        """Return rows of the translation."""
        return add_change(self._image[None, :, first:last].to(rows.device), rows)


class _Reflect(RowOp):
    def __init__(self, pad: int) -> None:
        self._pad = pad

    def shape(self, shape: Shape) -> Shape:
        return shape[0], shape[1] + 2 * self._pad, shape[2] + 2 * self._pad

    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:
        rows = self._rows(first, last, height)
        return int(rows.min()), int(rows.max()) + 1

    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:
        chosen = (self._rows(first, last, height) - start).to(rows.device)
        return F.pad(rows.index_select(2, chosen), (self._pad, self._pad, 0, 0), mode="reflect")

    def _rows(self, first: int, last: int, height: int) -> Tensor:
        rows = (torch.arange(first, last) - self._pad).abs()
        return height - 1 - (height - 1 - rows).abs()


class _Convolve(RowOp):
    def __init__(self, weight: Tensor, bias: Tensor | None, *, stride: int, pad: int, groups: int):
        self._weight, self._bias = weight, bias
        self._stride, self._pad, self._groups = stride, pad, groups
        self._kernel: int = weight.shape[2]

    def shape(self, shape: Shape) -> Shape:
        height, width = (
            (side + 2 * self._pad - self._kernel) // self._stride + 1 for side in shape[1:]
        )
        return self._weight.shape[0], height, width

    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:
        top = first * self._stride - self._pad
        bottom = (last - 1) * self._stride - self._pad + self._kernel
        return max(0, top), min(height, bottom)

    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:  # noqa: ARG002
        above = start - (first * self._stride - self._pad)
        below = (last - 1) * self._stride - self._pad + self._kernel - start - rows.shape[2]
        padded = F.pad(rows, (0, 0, above, below)) if above or below else rows
        return F.conv2d(
            padded,
            self._weight,
            self._bias,
            stride=self._stride,
            padding=(0, self._pad),
            groups=self._groups,
        )


class _ConvolveTransposed(RowOp):
    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        self._layer = layer
        self._kernel, self._stride = layer.kernel_size[0], layer.stride[0]
        self._pad, self._extra = int(layer.padding[0]), layer.output_padding[0]

    def shape(self, shape: Shape) -> Shape:
        height, width = (
            (side - 1) * self._stride - 2 * self._pad + self._kernel + self._extra
            for side in shape[1:]
        )
        return self._layer.out_channels, height, width

    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:
        top = -((self._kernel - 1 - first - self._pad) // self._stride)
        bottom = (last - 1 + self._pad) // self._stride + 1
        top = min(max(0, top), height - 1)
        return top, max(top + 1, min(height, bottom))

    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:  # noqa: ARG002
        layer = self._layer
        whole = F.conv_transpose2d(
            rows,
            layer.weight,
            layer.bias,
            stride=self._stride,
            padding=(0, self._pad),
            output_padding=self._extra,
        )
        top = first - (start * self._stride - self._pad)
        return whole[:, :, top : top + last - first]


class _Double(RowOp):
    def __init__(self, layer: Upsample) -> None:
        self._layer = layer

    def shape(self, shape: Shape) -> Shape:
        return shape[0], 2 * shape[1], 2 * shape[2]

    def needs(self, first: int, last: int, height: int) -> tuple[int, int]:
        return max(0, first // 2 - 1), min(height, (last + 1) // 2 + 1)

    def run(self, rows: Tensor, start: int, first: int, last: int, height: int) -> Tensor:  # noqa: ARG002
        doubled: Tensor = self._layer(rows)
        return doubled[:, :, first - 2 * start : last - 2 * start]


class Normalise(nn.Module):
    """Instance norm with statistics that are known already.

    Args:
        mean: of each channel, (C,), float64.
        variance: of each channel, biased, (C,), float64.
    """

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self._mean = mean[:, None, None]
        self._scale = (variance + 1e-5).rsqrt()[:, None, None]

    def forward(self, images: Tensor) -> Tensor:
        """Normalise `images`, (1, C, h, W), in float32 at least."""
        wide = widen(images)
        mean, scale = (part.to(wide) for part in (self._mean, self._scale))
        return wide.sub(mean).mul_(scale).to(images.dtype)


def row_ops(layer: nn.Module) -> list[RowOp]:
    """Return a layer by rows.

    Raises:
        I2IError: if the layer is of a kind that is not known here.
    """
    if isinstance(layer, nn.ReflectionPad2d):
        return [_Reflect(layer.padding[0])]
    is_plain = getattr(layer, "padding_mode", "") == "zeros" and layer.dilation == (1, 1)
    if isinstance(layer, nn.Conv2d) and is_plain:
        stride, pad, groups = layer.stride[0], int(layer.padding[0]), layer.groups
        return [_Convolve(layer.weight, layer.bias, stride=stride, pad=pad, groups=groups)]
    if isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1 and layer.dilation == (1, 1):
        return [_ConvolveTransposed(layer)]
    if isinstance(layer, Downsample):
        blur = _Convolve(layer.filt, None, stride=2, pad=0, groups=len(layer.filt))
        return [_Reflect(1), blur]
    if isinstance(layer, Upsample):
        return [_Double(layer)]
    if isinstance(layer, nn.ReLU | nn.Tanh | nn.Dropout | nn.Identity | nn.BatchNorm2d | Normalise):
        return [_Pointwise(layer)]
    raise I2IError(
        f"a generator with {type(layer).__name__} cannot be translated in tiles: "
        "use a smaller picture, or --tiles off."
    )


@dataclass(frozen=True)
class Chain:
    """Layers one after the other, from a stored map; nothing between them is stored whole."""

    source: RowMap  # where rows come from
    ops: Sequence[RowOp]

    @property
    def shapes(self) -> list[Shape]:
        """The shape of the source, and after each layer."""
        shapes = [self.source.shape]
        for op in self.ops:
            shapes.append(op.shape(shapes[-1]))
        return shapes

    def rows(self, first: int, last: int, device: torch.device) -> Tensor:
        """Return rows `first` up to `last` of the result, (1, C, last - first, W)."""
        spans = self._spans(first, last)
        heights = [shape[1] for shape in self.shapes]
        value = self.source.read(*spans[0]).to(device)
        for number, op in enumerate(self.ops):
            start = spans[number][0]
            value = op.run(value, start, *spans[number + 1], heights[number])
        return value

    def cost(self, count: int) -> int:
        """Return about how many bytes `count` rows take, with what is between the layers.

        All of it counts in full, in float32 and twice, since libraries rearrange what they
        convolve; statistics need the result in float64.
        """
        shapes = self.shapes
        middle = max(0, (shapes[-1][1] - count) // 2)
        spans = self._spans(middle, min(shapes[-1][1], middle + count))
        numbers = [
            shape[0] * shape[2] * (last - first)
            for shape, (first, last) in zip(shapes, spans, strict=True)
        ]
        return 8 * max(map(sum, zip(numbers, numbers[1:], strict=False)), default=0) + (
            8 * numbers[-1] + 4 * numbers[0]
        )

    def _spans(self, first: int, last: int) -> list[tuple[int, int]]:
        spans = [(first, last)]
        heights = [shape[1] for shape in self.shapes]
        for op, height in zip(self.ops[::-1], heights[-2::-1], strict=True):
            spans.append(op.needs(*spans[-1], height))
        return spans[::-1]
