"""Ten steps of the smallest form of every method, in float64, against the recorded losses.

In float32 they would compare rounding: some of these methods make ten times as much of it every
step, and it differs between processors and with every way to less cost.

A change that should not move results must leave these as they are. One that should says so in the
changelog and records them anew: `python tests/training/test_training_golden_run.py`.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "kits"))  # when run as a program
from tiny import TinyVGG, batch_for, tiny_method

from i2icli.methods import METHODS
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

RECORD = Path(__file__).with_name("golden_run.json")
STEPS = 10


def run_golden(name):
    """Train and return every term by "player/term", one number a step."""
    method, device = tiny_method(name).train().double(), torch.device("cpu")
    method.take_pretrained({wanted: TinyVGG().double() for wanted in method.pretrained})
    steppers = build_steppers(method, device=device, precision=torch.float32)
    curves = {}
    for step in range(STEPS):
        batch = _in_double(batch_for(name, seed=step + 1))
        losses = train_step(method, batch, steppers, device=device, precision=torch.float32)
        for player, terms in losses.items():
            for term, value in terms.items():
                curves.setdefault(f"{player}/{term}", []).append(float(value))
    return curves


def comparable_steps():
    """Return how many steps can be compared with the record: all, or those before rounding shows.

    Where torch has no kernels for AVX2 it rounds the normal numbers that it draws otherwise, the
    first weights among them, and the steps make more and more of that.
    """
    drawn = torch.randn(64, generator=torch.Generator().manual_seed(0)).numpy().tobytes()
    return STEPS if hashlib.sha256(drawn).hexdigest().startswith("e1275a78") else 2


def draws_other_truncated_normals():
    """Return whether torch is of a version (2.9 is one) that cuts normal numbers off otherwise."""
    drawn = torch.nn.init.trunc_normal_(
        torch.empty(4), 0.0, 1.0, -2.0, 2.0, generator=torch.Generator().manual_seed(0)
    )
    return not torch.allclose(drawn, torch.tensor([1.5410, -0.2934, 0.4033, 0.5684]), atol=1e-3)


def _in_double(batch):
    pictures = {key: value for key, value in vars(batch).items() if _is_float(value)}
    return replace(batch, **{key: value.double() for key, value in pictures.items()})


def _is_float(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


@pytest.mark.parametrize("name", list(METHODS))
def test_golden_run_repeats_its_recorded_losses(name):
    if "init_std" in METHODS[name].Config.model_fields and draws_other_truncated_normals():
        pytest.skip("this version of torch draws other first weights")
    recorded = json.loads(RECORD.read_text())
    assert name in recorded, f"record {name}: python tests/training/test_training_golden_run.py"
    curves, steps = run_golden(name), comparable_steps()
    rel = 1e-5 if steps == STEPS else 1e-4
    assert list(curves) == list(recorded[name])
    for key, values in curves.items():
        assert values[:steps] == pytest.approx(recorded[name][key][:steps], rel=rel, abs=1e-7), key


def test_golden_run_holds_no_method_that_is_gone():
    assert set(json.loads(RECORD.read_text())) == set(METHODS)


def record():
    """Write the losses as they are now."""
    torch.set_num_threads(1)
    rounded = {
        name: {
            key: [float(f"{value:.9g}") for value in values]
            for key, values in run_golden(name).items()
        }
        for name in METHODS
    }
    RECORD.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    record()
