"""Run folders of version 0.1.0 are read, resumed and translated with as they were then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run_i2i
from plain_data import assert_same, tensors_of
from reference_runs import (
    LISTED,
    MORE,
    RECORD,
    RECORDED,
    STEPS,
    fill,
    move_run,
    pixels_of,
    raw_checkpoint,
    source_of,
    terms_of,
)
from tiny import TinyVGG, tiny_method

from i2icli.config.sections import FIRST_LEVERS
from i2icli.methods import METHODS
from i2icli.pretrained import networks
from i2icli.runs.checkpoint import load_checkpoint

WANTED = json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "load_network", lambda name: TinyVGG())


def resumed(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> Path:
    folder.mkdir()
    run = move_run(name, folder)
    assert run_i2i(monkeypatch, "resume", run, "--steps", STEPS + MORE) == 0
    return run


def test_every_recorded_method_is_there_still() -> None:
    assert {*RECORDED, *LISTED} == set(WANTED)
    assert set(WANTED) <= set(METHODS)


@pytest.mark.parametrize("name", RECORDED)
def test_every_tensor_of_an_old_checkpoint_loads_as_it_is(name: str, tmp_path: Path) -> None:
    run = move_run(name, tmp_path)
    state, raw = load_checkpoint(run / "checkpoints" / "last.pt"), raw_checkpoint(run)
    assert_same({key: vars(state)[key] for key in raw if key in vars(state)}, vars_of(raw, state))


def vars_of(raw: dict[str, Any], state: object) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key in vars(state)}


@pytest.mark.parametrize("name", RECORDED)
def test_an_old_run_goes_on_as_it_did(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resumed(monkeypatch, name, tmp_path / "first")
    second = resumed(monkeypatch, name, tmp_path / "second")
    states = [raw_checkpoint(run) for run in (first, second)]
    for state in states:
        state["config"]["data"]["root"] = ""  # each went on in a folder of its own
        state.pop("seconds")  # of training, by the clock
    # The same operations on the same numbers: equal to the bit.
    assert_same(*states)
    computed, recorded = terms_of(first), WANTED[name]["terms"]
    assert [list(line) for line in computed] == [list(line) for line in recorded]
    # The first step rounds as the processor does; the second has rounding go through an update.
    for line, wanted, relative in zip(computed, recorded, (1e-3, 3e-2), strict=True):
        assert line == pytest.approx(wanted, rel=relative, abs=1e-4)


def test_an_old_run_goes_on_without_a_lever_that_came_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(title: str, line: str) -> dict[str, Any]:
        (tmp_path / title).mkdir()
        run = move_run("cut", tmp_path / title)
        text = (run / "config.toml").read_text(encoding="utf-8")
        assert "bilinear_upsample = true\n" in text
        text = text.replace("bilinear_upsample = true\n", line)
        (run / "config.toml").write_text(text, encoding="utf-8")
        for more in range(STEPS + 1, STEPS + MORE + 1):  # each time it reads what it wrote
            assert run_i2i(monkeypatch, "resume", run, "--steps", more) == 0
        state = raw_checkpoint(run)
        state["config"]["data"]["root"] = ""
        state.pop("seconds")
        return state

    with monkeypatch.context() as patch:
        first = [name for name in FIRST_LEVERS if name != "bilinear_upsample"]
        patch.setattr("i2icli.methods.shared.configure.FIRST_LEVERS", tuple(first))
        later = ended("later", "")
        added = ended("added", "bilinear_upsample = true\n")  # the user's word
    off, on = ended("off", "bilinear_upsample = false\n"), ended("on", "bilinear_upsample = true\n")
    assert_same(later, off)
    assert_same(added, on)
    # Otherwise this shows nothing.
    assert not torch.equal(*(all_weights(state) for state in (on, off)))


def all_weights(state: dict[str, Any]) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in state["weights"].values()])


@pytest.mark.parametrize("name", RECORDED)
def test_an_old_checkpoint_translates_as_it_did(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = move_run(name, tmp_path), tmp_path / "out"
    source = tmp_path / "demo" / source_of(name)
    assert run_i2i(monkeypatch, "translate", run, source, out / "one.png") == 0
    wanted = np.asarray(WANTED[name]["pixels"], np.int16)
    # A pixel between two values rounds either way, depending on the order of sums.
    assert np.abs(pixels_of(out).astype(np.int16) - wanted).max() <= 2


@pytest.mark.parametrize("name", LISTED)
def test_listed_weights_load_as_they_are(name: str) -> None:
    listed = {
        key: {"tensor": kind, "shape": shape}
        for key, (shape, kind) in WANTED[name]["weights"].items()
    }
    weights = fill(listed)
    method = tiny_method(name)
    method.load_state_dict(weights)
    assert_same(tensors_of(dict(method.state_dict())), tensors_of(weights))
    assert {str(value.dtype).removeprefix("torch.") for value in weights.values()} == {
        kind for _, kind in WANTED[name]["weights"].values()
    }
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
