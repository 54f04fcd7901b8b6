"""Settings and fixtures of all tests: one CPU thread, a home of their own, tiny pictures."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run_i2i
from picture_folders import write_pictures
from PIL import Image

from i2icli.system import allocator
from i2icli.system.messages import collect_messages

TESTS = Path(__file__).resolve().parent


def pytest_configure() -> None:
    """Compute and start processes as the environment says; let child processes find all this.

    I2I_TEST_THREADS is the number of threads, one by default: more of them take turns on the cores
    of a small machine. I2I_TEST_START_METHOD is how Python starts the processes that load pictures:
    fork, spawn or forkserver; by default as this Python does.
    """
    torch.set_num_threads(int(os.environ.get("I2I_TEST_THREADS", "1")))
    if method := os.environ.get("I2I_TEST_START_METHOD"):
        multiprocessing.set_start_method(method)
    found = [str(TESTS / "kits"), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, found))


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
def _own_messages() -> Iterator[None]:
    """Forget who listened to the messages of a test."""
    log = logging.getLogger("i2icli")
    before = list(log.handlers)
    yield
    log.handlers = before


@pytest.fixture
def said() -> list[str]:
    """Return the messages of a test, a list that grows."""
    return collect_messages()


@pytest.fixture
def i2i(monkeypatch, capsys):
    """Return a call of the command line: exit code, standard output, standard error."""
    return lambda *words: (run_i2i(monkeypatch, *words), *capsys.readouterr())


@pytest.fixture
def i2i_json(i2i):
    """Return a call, with --json, of a command that ends well: what it printed."""

    def call(*words):
        code, out, err = i2i(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Let every test draw the same numbers, whatever ran before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _own_malloc() -> Iterator[None]:
    """Leave the memory of this process alone again after a command ran within it."""
    yield
    allocator.return_freed_memory()
    allocator._Process.is_ours = False


@pytest.fixture
def pair() -> Iterator[str]:
    """Register the small method for one test."""
    from engine_kit import registered

    with registered() as name:
        yield name


@pytest.fixture(scope="session")
def truth_root(picture_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny data set with a truth and a mask beside every test picture of A."""
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
