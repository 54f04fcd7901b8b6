"""The convolutions of VGG16 (Simonyan and Zisserman, ICLR 2015), tapped by the names of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_BLOCKS = (2, 2, 3, 3, 3)  # convolutions before each pooling
_CHANNELS = (64, 128, 256, 512, 512)  # of each block


def vgg16_channels(layers: Sequence[str]) -> list[int]:
    """Return the channels of layers such as relu3_1, from their names alone."""
    return [_CHANNELS[int(name.removeprefix("relu").split("_")[0]) - 1] for name in layers]


class VGG16Features(nn.Module):
    """Features after the ReLUs, named relu1_1 to relu5_3; weights are loaded, never trained here.

    Attributes:
        names: the layers that can be tapped, from the first on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg16

        with torch.device("meta"):  # the classifier, which is not used, would be half a gigabyte
            self.features: nn.Sequential = vgg16(weights=None, init_weights=False).features
        self.features = self.features.to_empty(device="cpu")
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # a tapped value must stay as it was
        # Constants, not state: a checkpoint has no use for them.
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)
        blocks = enumerate(_BLOCKS, start=1)
        self.names = tuple(f"relu{b}_{i}" for b, count in blocks for i in range(1, count + 1))

    def load_convolutions(self, tensors: Mapping[str, Tensor]) -> None:
        """Take torchvision's weights, named features.0.weight and so on.

        Raises:
            KeyError: if one is missing.
        """
        self.features.load_state_dict(
            {name: tensors[f"features.{name}"].float() for name in self.features.state_dict()}
        )

    def forward(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return the features of the named layers, each after its ReLU, (B, C_l, H_l, W_l).

        Args:
            images: (B, 3, H, W) in [-1, 1].
            layers: of `names`, ascending.

        Raises:
            ValueError: a layer is unknown, or they do not ascend.
        """
        if [name for name in self.names if name in layers] != list(layers):
            raise ValueError(f"layers must ascend among {', '.join(self.names)}, got {layers}")
        names = iter(self.names)
        value = ((images + 1.0) / 2.0 - self.mean) / self.std
        features: list[Tensor] = []
        for layer in self.features:
            if len(features) == len(layers):
                break
            value = layer(value)
            if isinstance(layer, nn.ReLU) and next(names) in layers:
                features.append(value)
        return features
