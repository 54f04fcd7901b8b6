"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from i2icli.methods.configure import run_schema
from i2icli.methods.registry import METHODS, register


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def pair() -> Iterator[str]:
    """Register the small method for one test."""
    from engine_kit import PairMethod

    register(PairMethod)
    run_schema.cache_clear()
    yield "tiny-pair"
    del METHODS["tiny-pair"]
    run_schema.cache_clear()


@pytest.fixture(scope="session")
def truth_root(picture_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny data set with a truth and a mask beside every test picture of A."""
    import shutil

    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("truth") / "data"
    shutil.copytree(picture_root, root)
    for part in ("truth", "mask"):
        (root / f"testA_{part}").mkdir()
    for path in sorted((root / "testA").iterdir()):
        pixels = np.asarray(Image.open(path))
        Image.fromarray(255 - pixels).save(root / "testA_truth" / path.name)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[4:12, 4:12] = 255
        Image.fromarray(mask).save(root / "testA_mask" / path.name)
    return root
