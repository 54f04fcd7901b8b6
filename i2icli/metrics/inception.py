"""clean-fid's Inception networks, with the weights handed in by path.

clean-fid fetches its weights on its own, into a temporary folder; here they come from the weights
folder, and the network is never used.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2icli.errors import ConfigError, I2IError
from i2icli.pictures.images import Pixels
from i2icli.pretrained.weight_files import read_tensors
from i2icli.pretrained.weights import FoundWeights, find_weights

FeatureMode = Literal["clean", "legacy_pytorch", "legacy_tensorflow"]
FEATURES = 2048
RESIZERS: dict[FeatureMode, str] = {
    "clean": "Pillow bicubic, antialiased, float, to 299x299",
    "legacy_pytorch": "PyTorch bilinear, not antialiased, to 299x299",
    "legacy_tensorflow": "TensorFlow 1 bilinear, not antialiased, inside the network, to 299x299",
}
_WEIGHTS = {
    "clean": "inception",
    "legacy_pytorch": "inception-pytorch",
    "legacy_tensorflow": "inception",
}
_BUILDING = threading.Lock()

Network = Callable[[Tensor], Tensor]


def check_mode(mode: str) -> FeatureMode:
    """Return `mode` as one of the modes.

    Raises:
        ConfigError: it is none; names those there are.
    """
    if mode not in RESIZERS:
        raise ConfigError(f"--mode {mode!r} is no way to resize: use {', '.join(RESIZERS)}.")
    return mode


def find_inception(mode: FeatureMode) -> FoundWeights:
    """Return the weights that a mode computes with.

    Raises:
        WeightsError: they are not here.
    """
    return find_weights(_WEIGHTS[mode])


def prepare(pixels: Pixels, resize: Callable[[Any], Any]) -> Tensor:
    """Return a picture, (H, W, 3) uint8, as clean-fid's networks take it, (3, h, w) in [0, 255]."""
    resized: NDArray[np.generic] = np.ascontiguousarray(resize(pixels))
    planes = torch.from_numpy(resized).permute(2, 0, 1).contiguous()
    if planes.dtype == torch.uint8:
        # To [0, 1] and back, which rounds, because clean-fid does.
        return planes.to(torch.float32).div_(255).mul_(255)
    return planes.to(torch.float32)


def build_resizer(mode: FeatureMode) -> Callable[[Any], Any]:
    """Return clean-fid's own resizer for (H, W, 3) uint8 pictures."""
    with quiet():
        from cleanfid.resize import build_resizer as build

        return cast(Callable[[Any], Any], build(mode))


def build_network(mode: FeatureMode, device: torch.device, weights: FoundWeights) -> Network:
    """Return the network from prepared pictures, (B, 3, h, w), to features, (B, 2048).

    Raises:
        I2IError: clean-fid is not installed.
    """
    try:
        with quiet(), _BUILDING:
            return _build(mode, device, weights)
    except ImportError as fault:
        raise I2IError(
            f"clean-fid cannot be used ({fault}): install it with `pip install clean-fid`."
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of clean-fid's old calls from the user, and its filters from the rest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=2)
def _build(mode: FeatureMode, device: torch.device, weights: FoundWeights) -> Network:
    if mode == "legacy_pytorch":
        return _pytorch_network(device, weights)
    from cleanfid.inception_torchscript import InceptionV3W

    # It takes the folder and adds the published name, under which the file is kept.
    model = InceptionV3W(
        str(weights.path.parent), download=False, resize_inside=mode == "legacy_tensorflow"
    )
    model = model.to(device).eval().requires_grad_(False)
    return cast(Network, model)


def _pytorch_network(device: torch.device, weights: FoundWeights) -> Network:
    from cleanfid import inception_pytorch

    # Its constructor downloads through this name and offers no other way in.
    original = inception_pytorch.load_state_dict_from_url
    inception_pytorch.load_state_dict_from_url = lambda *_args, **_options: dict(
        read_tensors(weights.path).tensors
    )
    try:
        model = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False)
    finally:
        inception_pytorch.load_state_dict_from_url = original
    model = model.to(device).eval().requires_grad_(False)

    def network(images: Tensor) -> Tensor:
        pooled: Tensor = model(images / 255)[0]
        return pooled.flatten(1)

    return network
