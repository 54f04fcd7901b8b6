"""A run killed again and again ends like the run that was left alone, for every method."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine_kit import assert_same_end
from kinds_of_data import data_for
from tiny import tiny_config

from i2icli.config.document import config_document, write_toml
from i2icli.methods import METHODS
from i2icli.methods.shared.configure import run_schema
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

STEPS, KILLS = 12, 4


@pytest.fixture(scope="module")
def killed(picture_root, tmp_path_factory):
    """Train every method both ways; return the folder and the steps of the kills by method."""
    root = tmp_path_factory.mktemp("kills")
    for name in METHODS:
        sections = {
            **data_for(name, picture_root, root),
            "train": {"steps": STEPS},
            "checkpoint": {"every_steps": 3},
            # The clock draws after every step, so that kills hit that too.
            "samples": {"every_steps": 5, "every_minutes": 1e-4, "count": 1},
            "log": {"every_steps": 1, "tensorboard": "off"},
            "ema": {"decay": 0.9},
            "runtime": {"workers": 2, "threads": 1},
        }
        document = config_document(tiny_config(name))
        # 4 steps an epoch; in the last epoch the rate falls.
        document["method"]["schedule"] = {"policy": "linear", "epochs": 2, "epochs_decay": 2}
        for title, section in sections.items():
            document[title] |= section
        config = run_schema().model_validate(document)
        (root / f"{name}.toml").write_text(write_toml(config_document(config)))
    script = Path(__file__).parents[1] / "kits" / "train_until_killed.py"
    done = subprocess.run(
        [sys.executable, str(script), str(root), str(KILLS), "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return {"root": root, "kills": json.loads(done.stdout)}


each_method = pytest.mark.parametrize("name", list(METHODS))


@each_method
def test_killed_run_ends_bit_for_bit_like_the_uninterrupted_one(killed, name):
    through, resumed = (killed["root"] / f"{name}-{kind}" for kind in ("through", "killed"))
    assert load_checkpoint(RunFolder(through).last).step == STEPS
    assert_same_end(through, resumed)
    for step in (0, 5, 10, 12):
        ours, theirs = (RunFolder(folder).sample(step) for folder in (through, resumed))
        assert ours.read_bytes() == theirs.read_bytes()


@each_method
def test_kills_hit_the_run_in_its_middle(killed, name):
    kills = killed["kills"][name]
    assert len(kills) >= 2
    assert all(0 < step <= STEPS for step in kills), kills
    assert min(kills) < STEPS
