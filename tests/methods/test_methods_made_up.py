"""Adding a paper takes one file and one preset: here is one that nobody wrote."""

import importlib.util
import sys
from pathlib import Path

import pytest
import test_methods_contract as contract
import torch
from command_line import run_i2i
from PIL import Image

from i2icli.methods.shared.registry import METHODS
from i2icli.runs.checkpoint import load_checkpoint

PAPER = '''
"""Tone transfer (Nobody, NOWHERE 2031): each channel is scaled and shifted."""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from i2icli.methods.shared import Method, MethodConfig, Player, Translation, register


class ToneConfig(MethodConfig):
    """Hyperparameters of tone transfer."""

    name: Literal["tone"] = "tone"
    lambda_mean: float = Field(1.0, ge=0, description="Weight of the mean tone.")


@register
class Tone(Method):
    """Match the mean and spread of the target domain."""

    Config = ToneConfig

    def __init__(self, config, task=None):
        super().__init__(config, task)
        self.mix = nn.Conv2d(self.channels["a"], self.channels["b"], 1)

    @property
    def players(self):
        return {**self.structure_players(), "mixer": self.player(self.mix)}

    @property
    def translators(self):
        return {"mix": self.mix}

    def losses(self, batch):
        toned = self.translate(batch.real_a).images
        dims = (0, 2, 3)
        mean = (toned.mean(dims) - batch.real_b.mean(dims)).square().sum()
        spread = (toned.std(dims) - batch.real_b.std(dims)).square().sum()
        yield from self.structure_turns(batch.real_a, toned, batch.real_b)
        terms = {"mean": self.config.lambda_mean * mean, "spread": spread}
        yield "mixer", {**terms, **self.structure_terms(batch.real_a, toned)}

    def translate(self, images, *, direction="a2b", style=None):
        return Translation(torch.tanh(self.mix(images)))
'''
PRESET = """
[about]
paper = "Nobody, NOWHERE 2031"

[method]
name = "tone"
lambda_mean = 2.0

[data]
resize = 20
crop = 16

[train]
steps = 4

[runtime]
device = "cpu"
workers = 0
"""
# The whole contract: everything that `test_methods_contract` asks of the real methods.
RULES = [value for key, value in vars(contract).items() if key.startswith("test_")]


@pytest.fixture
def preset(tmp_path):
    """Return a preset of a method that has just been added, as a file."""
    paper, preset = tmp_path / "tone.py", tmp_path / "tone.toml"
    paper.write_text(PAPER)
    preset.write_text(PRESET)
    spec = importlib.util.spec_from_file_location("made_up_tone", paper)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_up_tone"] = module
    spec.loader.exec_module(module)
    yield preset
    del METHODS["tone"], sys.modules["made_up_tone"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("test_"))
@pytest.mark.usefixtures("preset")
def test_it_holds_the_contract(rule):
    rule("tone")


def test_it_trains_resumes_and_translates(preset, picture_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_i2i(monkeypatch, "train", "--preset", preset, "--data", picture_root) == 0
    (run,) = (tmp_path / "runs").iterdir()
    state = load_checkpoint(run / "checkpoints" / "last.pt")
    assert state.config["method"]["lambda_mean"] == 2.0
    assert run_i2i(monkeypatch, "resume", run, "--steps", "6") == 0
    assert load_checkpoint(run / "checkpoints" / "last.pt").step == 6
    assert run_i2i(monkeypatch, "translate", run, picture_root / "testA", "out") == 0
    sources = sorted((picture_root / "testA").iterdir())
    assert [p.stem for p in sorted(Path("out").iterdir())] == [p.stem for p in sources]
    with Image.open(Path("out") / sources[0].name) as made, Image.open(sources[0]) as source:
        assert made.size == source.size


def test_it_is_gone_afterwards():
    assert "tone" not in METHODS
    assert not torch.is_inference_mode_enabled()
