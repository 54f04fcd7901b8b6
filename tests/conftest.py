"""Settings and fixtures of all tests: one CPU thread, a home of their own, tiny pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from picture_folders import write_pictures

from i2icli.runtime import allocator


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


@pytest.fixture(scope="session")
def picture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of tiny pictures, trainA to testB, to be read only."""
    root = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("trainA", "trainB")):
        write_pictures(root / name, seed=seed)
    for seed, name in enumerate(("testA", "testB"), start=2):
        write_pictures(root / name, seed=seed, count=2)
    return root


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Let every test draw the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_malloc() -> Iterator[None]:
    """Leave the memory of this process alone again after a command ran within it."""
    yield
    allocator.return_freed_memory()
    allocator._Process.is_ours = False
