"""Settings and fixtures of all tests: one CPU thread, a home of their own, tiny pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

PICTURES = 8
SIDE = 24


def pytest_configure() -> None:
    """Compute on one thread, so that timing and rounding do not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def i2i_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep weights, data sets and caches of the tests away from the user's."""
    home = tmp_path_factory.mktemp("i2i-home")
    before = os.environ.get("I2I_HOME")
    os.environ["I2I_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["I2I_HOME"]
    else:
        os.environ["I2I_HOME"] = before


def write_pictures(folder: Path, *, seed: int, count: int = PICTURES, side: int = SIDE) -> None:
    """Write smooth random pictures named 00.png, 01.png, ..."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02d}.png")


@pytest.fixture(scope="session")
def picture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of tiny pictures, trainA to testB, to be read only."""
    root = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("trainA", "trainB")):
        write_pictures(root / name, seed=seed)
    for seed, name in enumerate(("testA", "testB"), start=2):
        write_pictures(root / name, seed=seed, count=2)
    return root
