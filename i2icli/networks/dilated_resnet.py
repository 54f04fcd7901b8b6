"""The residual networks of torchvision, at an eighth of the picture's sides, without classifier.

He et al., CVPR 2016. The last two stages keep their size and widen their kernels instead, as
segmentation networks have it (DANet, CVPR 2019, sec. 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

ResnetName = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
RESNETS: tuple[ResnetName, ...] = ("resnet18", "resnet34", "resnet50", "resnet101")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DilatedResnet(nn.Module):
    """Features at 1/8 of the picture; weights are named as torchvision names them.

    Args:
        name: which residual network.
        multi_grid: dilations of the last stage's blocks, repeated in turn, for example
            (4, 8, 16); none: 2 in its first block and 4 in the others, as torchvision has it.

    Attributes:
        channels: of the features.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: ResnetName, *, multi_grid: tuple[int, ...] = ()) -> None:
        super().__init__()
        from torchvision import models

        network = getattr(models, name)(weights=None)
        self.channels = int(network.fc.in_features)
        self.conv1, self.bn1, self.relu = network.conv1, network.bn1, network.relu
        self.maxpool = network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        _dilate(self.layer3, [1] + [2] * (len(self.layer3) - 1))
        last = len(self.layer4)
        grid = [multi_grid[i % len(multi_grid)] for i in range(last)] if multi_grid else None
        _dilate(self.layer4, grid or [2] + [4] * (last - 1))
        # Constants, not state: a checkpoint has no use for them.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features, (B, channels, H / 8, W / 8), sides rounded up.

        Args:
            images: (B, 1 or 3, H, W) in [-1, 1]; grey ones are repeated.
        """
        colour = images.expand(-1, 3, -1, -1)
        value = ((colour + 1.0) / 2.0 - self.mean) / self.std
        value = self.maxpool(self.relu(self.bn1(self.conv1(value))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            value = stage(value)
        features: Tensor = value
        return features

    def load_torchvision(self, tensors: Mapping[str, Tensor]) -> None:
        """Take torchvision's weights; those of its classifier are left.

        Raises:
            ValueError: if one is missing or of another shape, naming it.
        """
        for name, own in self.state_dict().items():
            # Files from before 2018 do not count batches.
            if name not in tensors and not name.endswith("num_batches_tracked"):
                raise ValueError(f"they lack {name}")
            if name in tensors and tensors[name].shape != own.shape:
                theirs = tuple(tensors[name].shape)
                raise ValueError(f"their {name} is {theirs} instead of {tuple(own.shape)}")
        known = {name: tensors.get(name, own) for name, own in self.state_dict().items()}
        self.load_state_dict(known)


def _dilate(stage: nn.Sequential, dilations: list[int]) -> None:
    # The stage keeps its size; the 3x3 kernels of its blocks get these dilations.
    for block, dilation in zip(stage, dilations, strict=True):
        for layer in block.modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (dilation, dilation)
