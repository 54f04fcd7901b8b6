"""Small networks with random weights, saved in the layouts of released codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2icli.networks.heads import ProjectionHead
from i2icli.networks.munit import MultiScaleDiscriminator, StyleAutoencoder
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

Weights = dict[str, Tensor]


def pictures(seed: int = 0, channels: int = 3) -> Tensor:
    """Return two pictures, (2, channels, 24, 32)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, 24, 32, generator=generator) * 2 - 1


def resnet(*, plain: bool = False, **changes: Any) -> ResnetGenerator:
    """Return a generator as CUT's, or as CycleGAN's with `plain`."""
    ways = {"antialias_down": not plain, "antialias_up": not plain}
    return ResnetGenerator(**{"width": 4, "blocks": 3, **ways, **changes}).eval()


def patchgan(*, plain: bool = False, **changes: Any) -> PatchDiscriminator:
    """Return a discriminator as CUT's, or as CycleGAN's with `plain`."""
    return PatchDiscriminator(**{"width": 4, "layers": 2, "antialias": not plain, **changes})


def projector(generator: ResnetGenerator, layers: tuple[int, ...] = (0, 4, 8, 12, 16)) -> nn.Module:
    """Return the projection head of a generator."""
    return ProjectionHead(generator.feature_channels(layers), 6)


def stylegan2(**changes: Any) -> StyleGAN2Generator:
    """Return a generator as SinCUT's."""
    return StyleGAN2Generator(**{"width": 1, "resolution": 64, "blocks": 4, **changes})


def stylegan2_discriminator(**changes: Any) -> StyleGAN2Discriminator:
    """Return a discriminator as SinCUT's."""
    return StyleGAN2Discriminator(**{"width": 1, "resolution": 64, **changes})


def autoencoder() -> StyleAutoencoder:
    """Return an auto-encoder as MUNIT's."""
    return StyleAutoencoder(width=4, blocks=2, style_size=3, mlp_width=5)


def munit_discriminator() -> MultiScaleDiscriminator:
    """Return a discriminator as MUNIT's."""
    return MultiScaleDiscriminator(width=4, layers=2, scales=2)


def save(path: Path, network: nn.Module | Weights, **changes: Any) -> Path:
    """Save the state dict of a network, as `torch.save` does by default or with `changes`."""
    weights = network.state_dict() if isinstance(network, nn.Module) else network
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path, **changes)
    return path


def in_joligen_layout(generator: ResnetGenerator) -> Weights:
    """Return the weights of a plain generator as joliGEN names them."""
    blocks = sum(type(module).__name__ == "ResnetBlock" for module in generator.model)
    split = 10 + blocks
    renamed = {}
    for name, weight in generator.state_dict().items():
        _, number, leaf = name.split(".", 2)
        place = int(number)
        half = f"encoder.model.{place}" if place < split else f"decoder.model.{place - split}"
        renamed[f"{half}.{leaf}"] = weight
    return renamed


def in_mmgeneration_layout(generator: ResnetGenerator) -> Weights:
    """Return the weights of a plain generator as mmgeneration names them."""
    renamed, modules = {}, dict[str, int]()
    for name, weight in generator.state_dict().items():
        _, number, *inner, leaf = name.split(".")
        module = modules.setdefault(number, len(modules))
        # A dropout layer stands between the two convolutions.
        half = f"block.{'156'.index(inner[1])}." if inner else ""
        renamed[f"model.{module}.{half}conv.{leaf}"] = weight
    return renamed
