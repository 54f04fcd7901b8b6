"""Inception v3 as the Frechet Inception Distance has it: from a picture to 2048 features.

The weights are those that TensorFlow published in 2015 (Szegedy et al., CVPR 2016). Two files carry
them under names of their own: pytorch-fid's, whose names are torchvision's and ours, and NVIDIA's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 299  # of the pictures, pixels
_EPSILON = 0.001

# A branch is a chain of layers: a pooling by its name, a convolution as (name, channels, kernel,
# stride), or a fork, the list of the branches into which it parts. Padding keeps the sides where
# the stride is 1.
Branch = Sequence[Any]


def _block_a(pooled: int) -> list[Branch]:
    return [
        [("branch1x1", 64, 1, 1)],
        [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)],
        [
            ("branch3x3dbl_1", 64, 1, 1),
            ("branch3x3dbl_2", 96, 3, 1),
            ("branch3x3dbl_3", 96, 3, 1),
        ],
        ["mean", ("branch_pool", pooled, 1, 1)],
    ]


_BLOCK_B: list[Branch] = [
    [("branch3x3", 384, 3, 2)],
    [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)],
    ["halve"],
]


def _block_c(inner: int) -> list[Branch]:
    wide, high = (1, 7), (7, 1)
    return [
        [("branch1x1", 192, 1, 1)],
        [
            ("branch7x7_1", inner, 1, 1),
            ("branch7x7_2", inner, wide, 1),
            ("branch7x7_3", 192, high, 1),
        ],
        [
            ("branch7x7dbl_1", inner, 1, 1),
            ("branch7x7dbl_2", inner, high, 1),
            ("branch7x7dbl_3", inner, wide, 1),
            ("branch7x7dbl_4", inner, high, 1),
            ("branch7x7dbl_5", 192, wide, 1),
        ],
        ["mean", ("branch_pool", 192, 1, 1)],
    ]


_BLOCK_D: list[Branch] = [
    [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)],
    [
        ("branch7x7x3_1", 192, 1, 1),
        ("branch7x7x3_2", 192, (1, 7), 1),
        ("branch7x7x3_3", 192, (7, 1), 1),
        ("branch7x7x3_4", 192, 3, 2),
    ],
    ["halve"],
]


def _block_e(pooling: str) -> list[Branch]:
    def fork(name: str) -> list[Branch]:
        return [[(f"{name}a", 384, (1, 3), 1)], [(f"{name}b", 384, (3, 1), 1)]]

    return [
        [("branch1x1", 320, 1, 1)],
        [("branch3x3_1", 384, 1, 1), fork("branch3x3_2")],
        [("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 1), fork("branch3x3dbl_3")],
        [pooling, ("branch_pool", 192, 1, 1)],
    ]


_STEM: Branch = (
    ("Conv2d_1a_3x3", 32, 3, 2),
    ("Conv2d_2a_3x3", 32, 3, 1),
    ("Conv2d_2b_3x3", 64, 3, 1),
    "halve",
    ("Conv2d_3b_1x1", 80, 1, 1),
    ("Conv2d_4a_3x3", 192, 3, 1),
    "halve",
)
_UNPADDED = ("Conv2d_2a_3x3", "Conv2d_4a_3x3")
_BLOCKS: Mapping[str, list[Branch]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": _BLOCK_B,
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": _BLOCK_D,
    "Mixed_7b": _block_e("mean"),
    # A slip of the published graph, without which its features would be others.
    "Mixed_7c": _block_e("largest"),
}
_POOLINGS = {
    # The border does not count, as in TensorFlow.
    "mean": lambda maps: F.avg_pool2d(maps, 3, 1, 1, count_include_pad=False),
    "largest": lambda maps: F.max_pool2d(maps, 3, 1, 1),
    "halve": lambda maps: F.max_pool2d(maps, 3, 2),
}


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm by fixed numbers, and what is positive of it."""

    def __init__(self, inside: int, layer: tuple[str, int, int | tuple[int, int], int]) -> None:
        super().__init__()
        name, outside, kernel, stride = layer
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        is_padded = stride == 1 and name not in _UNPADDED
        padding = (high // 2, wide // 2) if is_padded else (0, 0)
        self.conv = nn.Conv2d(inside, outside, (high, wide), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=_EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps, (B, outside, h, w), of maps (B, inside, H, W)."""
        return F.relu_(self.bn(self.conv(maps)))


class Block(nn.Module):
    """Branches over the same maps, their results beside each other."""

    def __init__(self, inside: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self._branches = branches
        self.outside = sum(self._build(inside, branch) for branch in branches)

    def _build(self, channels: int, branch: Branch) -> int:
        for layer in branch:
            if isinstance(layer, tuple):
                self.add_module(layer[0], ConvNorm(channels, layer))
                channels = layer[1]
            elif isinstance(layer, list):
                channels = sum(self._build(channels, part) for part in layer)
        return channels

    def _run(self, maps: Tensor, branch: Branch) -> Tensor:
        for layer in branch:
            if isinstance(layer, str):
                maps = _POOLINGS[layer](maps)
            elif isinstance(layer, tuple):
                maps = self.get_submodule(layer[0])(maps)
            else:
                maps = torch.cat([self._run(maps, part) for part in layer], 1)
        return maps

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps, (B, outside, h, w), of maps (B, inside, H, W)."""
        return self._run(maps, [self._branches])


class FidInception(nn.Module):
    """The network without its classifier; names of weights are torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for layer in _STEM:
            if isinstance(layer, tuple):
                self.add_module(layer[0], ConvNorm(channels, layer))
                channels = layer[1]
        for name, branches in _BLOCKS.items():
            block = Block(channels, branches)
            self.add_module(name, block)
            channels = block.outside

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, (B, 2048), of pictures (B, 3, 299, 299) in [-1, 1]."""
        maps = images
        for layer in _STEM:
            name = layer if isinstance(layer, str) else layer[0]
            maps = _POOLINGS[name](maps) if name in _POOLINGS else self.get_submodule(name)(maps)
        for name in _BLOCKS:
            maps = self.get_submodule(name)(maps)
        return maps.mean((2, 3))

    def load_pytorch(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of pytorch-fid's file.

        Raises:
            KeyError: if one is missing.
            RuntimeError: if one is of another shape.
        """
        self.load_state_dict(
            {
                name: value if name.endswith("num_batches_tracked") else tensors[name].float()
                for name, value in self.state_dict().items()
            }
        )

    def load_tensorflow(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of NVIDIA's file, which has TensorFlow's names.

        Raises:
            KeyError, RuntimeError: as `load_pytorch`.
        """
        named: dict[str, Tensor] = {}
        for ours, theirs in tensorflow_names().items():
            found = {end: tensors[f"layers.{theirs}.{end}"] for end in _ENDS}
            named |= {f"{ours}.{end}": found[their_end] for their_end, end in _ENDS.items()}
            named[f"{ours}.bn.weight"] = torch.ones_like(found["beta"])
        self.load_pytorch(named)


_ENDS = {
    "weight": "conv.weight",
    "beta": "bn.bias",
    "mean": "bn.running_mean",
    "var": "bn.running_var",
}
_THREE = ("tower_1.conv", "tower_1.conv_1", "tower_1.conv_2")
_TENSORFLOW: Mapping[str, Sequence[str]] = {
    "5": ("conv", "tower.conv", "tower.conv_1", *_THREE, "tower_2.conv"),
    "6a": ("conv", "tower.conv", "tower.conv_1", "tower.conv_2"),
    "6": (
        *("conv", "tower.conv", "tower.conv_1", "tower.conv_2"),
        *(*_THREE, "tower_1.conv_3", "tower_1.conv_4", "tower_2.conv"),
    ),
    "7a": ("tower.conv", "tower.conv_1", *_THREE, "tower_1.conv_3"),
    "7": (
        *("conv", "tower_conv", "tower_mixed_conv", "tower_mixed_conv_1", "tower_1_conv"),
        *("tower_1_conv_1", "tower_1_mixed_conv", "tower_1_mixed_conv_1", "tower_2_conv"),
    ),
}


def tensorflow_names() -> dict[str, str]:
    """Return TensorFlow's names of the convolutions by ours."""
    stem = [layer[0] for layer in _STEM if isinstance(layer, tuple)]
    names = {ours: _numbered("conv", number) for number, ours in enumerate(stem)}
    for number, (block, branches) in enumerate(_BLOCKS.items()):
        kind = block.removeprefix("Mixed_")
        theirs = _TENSORFLOW.get(kind, _TENSORFLOW[kind[0]])
        ours = [layer for branch in branches for layer in _layers(branch)]
        mixed = _numbered("mixed", number)
        pairs = zip(ours, theirs, strict=True)
        names |= {f"{block}.{our}": f"{mixed}.{their}" for our, their in pairs}
    return names


def _layers(branch: Branch) -> list[str]:
    names: list[str] = []
    for layer in branch:
        if isinstance(layer, tuple):
            names.append(layer[0])
        elif isinstance(layer, list):
            names += [name for part in layer for name in _layers(part)]
    return names


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
