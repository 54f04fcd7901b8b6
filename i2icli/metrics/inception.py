"""Pictures into Inception features as clean-fid computes them: its resizing, our own network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from i2icli.errors import ConfigError, I2IError
from i2icli.networks.inception import SIDE
from i2icli.pictures.images import Pixels
from i2icli.pretrained.inception import load_inception
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
    """Return clean-fid's own resizer for (H, W, 3) uint8 pictures.

    Raises:
        I2IError: clean-fid is not installed.
    """
    try:
        with quiet():
            from cleanfid.resize import build_resizer as build

            return cast(Callable[[Any], Any], build(mode))
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
def build_network(mode: FeatureMode, device: torch.device, weights: FoundWeights) -> Network:
    """Return the network from prepared pictures, (B, 3, h, w), to features, (B, 2048).

    Raises:
        WeightsError: the file of the weights was damaged after it was found.
    """
    inception = load_inception(weights).to(device)

    def network(images: Tensor) -> Tensor:
        if mode == "legacy_pytorch":
            return cast(Tensor, inception(2 * (images / 255) - 1))
        if mode == "legacy_tensorflow":
            images = _enlarge(images)
        return cast(Tensor, inception((images - 128) / 128))

    return network


def _enlarge(images: Tensor) -> Tensor:
    """Bring pictures, (B, 3, h, w), to the network's side as TensorFlow 1 did, corner on corner."""
    batch, channels, height, width = images.shape
    # Its samples begin at a picture's first pixel, where those of torch lie half a step further in.
    shifted = [[1.0, 0.0, 1 / width - 1 / SIDE], [0.0, 1.0, 1 / height - 1 / SIDE]]
    theta = torch.tensor(shifted, device=images.device).expand(batch, 2, 3)
    grid = F.affine_grid(theta, [batch, channels, SIDE, SIDE], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
