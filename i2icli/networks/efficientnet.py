"""The features of EfficientNet-Lite0 (Tan and Le, ICML 2019; Liu, 2020), for frozen use.

EfficientNet-B0 without squeeze and excitation, with ReLU6 for swish. Each batch norm is a part of
the convolution before it, which is what it is once it no longer learns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPSILON = 1e-3  # of the batch norms
_STEM = 32
# Repeats, side of the kernel, stride of the first, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The last block before each halving, and the last of all: strides 4, 8, 16, 32.
_TAPS = {"block2": 24, "block4": 40, "block10": 112, "block15": 320}


@dataclass(frozen=True)
class _Shape:
    kernel: int
    stride: int
    inside: int
    expansion: int
    outside: int


def _blocks() -> Iterator[_Shape]:
    inside = _STEM
    for repeats, kernel, stride, expansion, outside in _STAGES:
        for number in range(repeats):
            yield _Shape(kernel, stride if number == 0 else 1, inside, expansion, outside)
            inside = outside


def efficientnet_channels(layers: Sequence[str]) -> list[int]:
    """Return the channels of layers such as block4, from their names alone."""
    return [_TAPS[name] for name in layers]


class EfficientNetLite0(nn.Module):
    """Features after blocks 2, 4, 10 and 15; weights are loaded, never trained here.

    Attributes:
        names: the layers that can be tapped, from the first on.
    """

    names = tuple(_TAPS)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, stride=2)
        self.blocks = nn.ModuleList(_Block(shape) for shape in _blocks())

    def load_convolutions(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of the published conversion to PyTorch, named as `released_shapes`.

        Raises:
            KeyError: if one is missing.
        """
        for ours, conv, norm in _released_names():
            self.get_submodule(ours).load_state_dict(_merged(tensors, conv, norm))

    def forward(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return the features of the named layers, (B, C_l, H_l, W_l).

        Args:
            images: (B, 3, H, W) in [-1, 1], which is (pixel - 127) / 128 to within 1 of 255.
            layers: of `names`, ascending.

        Raises:
            ValueError: a layer is unknown, or they do not ascend.
        """
        if [name for name in self.names if name in layers] != list(layers):
            raise ValueError(f"layers must ascend among {', '.join(self.names)}, got {layers}")
        features: list[Tensor] = []
        value = F.relu6(self.stem(images))
        for number, block in enumerate(self.blocks):
            if len(features) == len(layers):
                break
            value = block(value)
            if f"block{number}" in layers:
                features.append(value)
        return features


class _Convolution(nn.Conv2d):
    """A convolution padded as in TensorFlow: where a stride leaves one over, at the far side."""

    def forward(self, images: Tensor) -> Tensor:
        if self.kernel_size[0] == 1:
            return super().forward(images)
        rows, columns = (self._margins(side) for side in images.shape[2:])
        if rows[0] == rows[1] and columns[0] == columns[1]:
            return F.conv2d(
                images,
                self.weight,
                self.bias,
                stride=self.stride,
                padding=(rows[0], columns[0]),
                groups=self.groups,
            )
        return super().forward(F.pad(images, (*columns, *rows)))

    def _margins(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """An inverted bottleneck: widen, convolve channel by channel, narrow; a skip where it fits."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        wide = shape.inside * shape.expansion
        self.expand = _Convolution(shape.inside, wide, 1) if shape.expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, shape.kernel, stride=shape.stride, groups=wide)
        self.project = _Convolution(wide, shape.outside, 1)
        self.has_skip = shape.stride == 1 and shape.inside == shape.outside

    def forward(self, features: Tensor) -> Tensor:
        value = features if self.expand is None else F.relu6(self.expand(features))
        narrow: Tensor = self.project(F.relu6(self.depthwise(value)))
        return features + narrow if self.has_skip else narrow


def released_shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the released tensors that `load_convolutions` reads."""
    with torch.device("meta"):
        network = EfficientNetLite0()
    shapes: dict[str, tuple[int, ...]] = {}
    for ours, conv, norm in _released_names():
        weight = network.get_parameter(f"{ours}.weight")
        shapes[f"{conv}.weight"] = tuple(weight.shape)
        shapes |= {f"{norm}.{part}": (len(weight),) for part in _NORM_PARTS}
    return shapes


_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def _released_names() -> Iterator[tuple[str, str, str]]:
    """Yield the names of each convolution: ours, the released one's, that of the norm after it."""
    yield "stem", "_conv_stem", "_bn0"
    for number, shape in enumerate(_blocks()):
        theirs = f"_blocks.{number}"
        if shape.expansion > 1:
            yield f"blocks.{number}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
        yield f"blocks.{number}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
        yield f"blocks.{number}.project", f"{theirs}._project_conv", f"{theirs}._bn2"


def _merged(tensors: Mapping[str, Tensor], conv: str, norm: str) -> dict[str, Tensor]:
    gain, offset, mean, variance = (tensors[f"{norm}.{part}"].double() for part in _NORM_PARTS)
    scale = gain / (variance + _EPSILON).sqrt()
    weight = tensors[f"{conv}.weight"].double() * scale[:, None, None, None]
    return {"weight": weight.float(), "bias": (offset - mean * scale).float()}
