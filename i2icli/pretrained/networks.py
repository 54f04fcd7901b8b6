"""Frozen networks with pretrained weights, for the methods and measurements that need them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from i2icli.errors import WeightsError
from i2icli.networks.efficientnet import EfficientNetLite0
from i2icli.networks.vgg import VGG16Features
from i2icli.pretrained.weight_files import read_tensors
from i2icli.pretrained.weights import WEIGHTS, load_weights
from i2icli.system.torch_files import UNCHECKED

log = logging.getLogger(__package__)

ARCHITECTURES: Mapping[str, type[VGG16Features] | type[EfficientNetLite0]] = {
    "vgg16": VGG16Features,
    "efficientnet-lite0": EfficientNetLite0,
}


def load_network(name: str) -> nn.Module:
    """Return the frozen network of that name, in evaluation mode, on the CPU.

    Raises:
        WeightsError: its weights are not here; says what to type.
        ValueError: no network is built from weights of that name.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no network is built from the weights {name!r}")
    tensors = load_weights(name)[0]
    network = ARCHITECTURES[name]()
    network.load_convolutions(tensors)
    return network.eval().requires_grad_(False)


def load_networks(names: Iterable[str], device: torch.device) -> dict[str, nn.Module]:
    """Return several, on `device`.

    Raises:
        WeightsError: as `load_network`.
    """
    return {name: load_network(name).to(device) for name in names}


def load_table(name: str) -> Mapping[str, Tensor]:
    """Return the tensors that a new run starts from, on the CPU.

    `name` is one of `i2i weights`, or the path of a file of weights.

    Raises:
        WeightsError: they are not here, or the file holds none.
    """
    if name in WEIGHTS:
        return load_weights(name)[0]
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"{name} is neither a file of weights nor one of {', '.join(WEIGHTS)}: "
            "`i2i weights list` shows what is here."
        )
    content = read_tensors(path)
    for key, tensor in content.tensors.items():
        if not tensor.is_floating_point() and tensor.ndim:  # counters are whole numbers
            raise WeightsError(f"{path} cannot be used: {key} has the type {tensor.dtype}.")
    if not content.has_sums:
        log.warning(UNCHECKED.format(path))
    return content.tensors
