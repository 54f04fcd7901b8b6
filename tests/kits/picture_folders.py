"""Folders of tiny pictures for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

PICTURES = 8
SIDE = 24


def write_pictures(folder: Path, *, seed: int, count: int = PICTURES, side: int = SIDE) -> None:
    """Write smooth random pictures named 00.png, 01.png, ..."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02d}.png")


def write_noise(path: Path, height: int = 16, width: int = 16, *, seed: int = 0) -> Path:
    """Write a picture of random pixels, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
