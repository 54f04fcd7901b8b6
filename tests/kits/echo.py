"""A method that gives back what it gets, to see what the code around a method does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from run_kit import save_untrained
from torch import Tensor, nn

from i2icli.config.method import MethodConfig, Task
from i2icli.data.batch import Batch
from i2icli.methods import Method, Player, Terms, Translation, configure_run
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.pictures.images import Pixels
from i2icli.translation.pictures import translate_images


class Echo(Method):
    """Returns its input through layers that do nothing in evaluation mode."""

    Config = MethodConfig
    directions = ("a2b", "b2a")

    def __init__(self, **channels: int) -> None:
        super().__init__(MethodConfig(name="echo"), Task(**channels))
        self.scale = nn.Parameter(torch.ones(()))
        self.parts = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
        self.seen: list[tuple[int, ...]] = []

    @property
    def players(self) -> Mapping[str, Player]:
        return {}

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        return {"parts": self.parts}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        yield from ()

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        self.seen.append(tuple(images.shape))
        wanted = self.channels["b" if direction == "a2b" else "a"]
        if wanted < images.shape[1]:
            images = images.mean(1, keepdim=True)
        elif wanted > images.shape[1]:
            images = images.expand(-1, wanted, -1, -1)
        return Translation(self.parts(images * self.scale))


def translate_tensor(method: Method, images: Tensor, *direction: str, **options: Any) -> Tensor:
    """Return the translations of pictures of one size, (B, C', H, W)."""
    return translate_images(method, [images], *direction, **options)[0].images


SMALL = (
    "method.generator.width=4",
    "method.generator.blocks=1",
    "method.discriminator.width=4",
)


def save_fresh(path: Path, preset: str = "cyclegan", *overrides: str) -> AnyRunConfig:
    """Write the checkpoint of a tiny method that has not been trained."""
    config = configure_run(preset, [*SMALL, *overrides])
    save_untrained(path, config)
    return config


def noise(height: int, width: int, channels: int = 3, *, seed: int = 0, bits: int = 8) -> Pixels:
    """Return random pixels, (height, width, channels)."""
    kind = np.uint16 if bits == 16 else np.uint8
    random = np.random.default_rng(seed)
    return random.integers(0, 2**bits, (height, width, channels)).astype(kind)


def count_in(sheet: Pixels, pixels: Pixels) -> int:
    """Return how often `pixels` stand in the sheet."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], pixels.shape[:2])
    return int((windows == pixels[..., 0]).all(axis=(2, 3)).sum())
