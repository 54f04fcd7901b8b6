"""A short run of the small method, made once."""

import shutil

import pytest
from engine_kit import pair_config, registered

from i2icli.training.run import start_run


@pytest.fixture(scope="module")
def two_steps(picture_root, tmp_path_factory):
    """Return the folder of a run of two steps, to be read only."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with registered():
        start_run(pair_config(picture_root, steps=2), run_dir=folder)
    return folder


@pytest.fixture
def run(two_steps, tmp_path):
    """Return a copy of the run of two steps, to go on with."""
    return shutil.copytree(two_steps, tmp_path / "run")
