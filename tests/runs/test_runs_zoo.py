"""Entries of the zoo: the form they are held to, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from run_kit import make_run, save_untrained
from safetensors.torch import load_file, save_file
from tiny import tiny_config
from zoo_kit import SCRIPT, check_form, write_entry

from i2icli.config.document import differences
from i2icli.errors import CheckpointError, ConfigError
from i2icli.methods import METHODS, build_method
from i2icli.runs.checkpoint import load_checkpoint, save_checkpoint
from i2icli.runs.paths import find_checkpoint
from i2icli.translation.translator import load_translator

SHIPPED = sorted(path.parent for path in Path(__file__).parents[2].glob("zoo/*/config.json"))


@pytest.fixture(scope="module")
def sources(picture_root):
    return sorted((picture_root / "testA").iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run whose averaged generator differs from its last one."""
    run = make_run(tmp_path_factory.mktemp("runs") / "small")
    state = load_checkpoint(run.last)
    names = [name for name in state.weights if name.startswith("generator.")]
    ema = {name: state.weights[name] + 0.01 for name in names}
    save_checkpoint(run.last, replace(state, ema=ema))
    return run


@pytest.fixture(scope="module")
def made(run, sources, tmp_path_factory):
    return write_entry(tmp_path_factory.mktemp("made"), run.path, sources)


@pytest.fixture
def entry(made, tmp_path):
    """Return an entry that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "zoo" / "tiny"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_every_entry_that_comes_with_i2i_is_of_the_form(folder):
    check_form(folder)


def test_the_script_writes_an_entry_of_the_form(made):
    check_form(made)
    assert load_file(made / "model.safetensors").keys() == {
        name for name in load_checkpoint(find_checkpoint(made)).weights if "generator" in name
    }


def test_an_entry_translates_as_the_averaged_generator_does(made, run, sources):
    ours, theirs = (
        np.asarray(load_translator(path, device="cpu").translate(sources[0])).astype(int)
        for path in (made, run.path)
    )
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(theirs - 128).max() > 1


def test_an_entry_keeps_what_is_known_of_the_training(made, run):
    ours, theirs = (load_checkpoint(find_checkpoint(path)) for path in (made, run.path))
    assert (ours.step, ours.epoch, ours.data) == (theirs.step, theirs.epoch, theirs.data)
    assert theirs.data
    differing = differences(theirs.config, ours.config)
    assert [change.path for change in differing] == ["data.root"]


def test_a_picture_that_16_bits_would_change_keeps_float32(run, sources, tmp_path):
    state = load_checkpoint(run.last)
    # Values before the tanh so large, and so often near 0, that 10 bits are too coarse for them.
    last = [name for name in state.weights if "generator" in name and "weight" in name][-1]
    weights = {**state.weights, last: 300 * state.weights[last]}
    save_checkpoint(tmp_path / "wild.pt", replace(state, weights=weights, ema=None))
    folder = write_entry(tmp_path / "zoo", tmp_path / "wild.pt", sources)
    assert json.loads((folder / "config.json").read_text())["model"]["type"] == "float32"
    assert {w.dtype for w in load_file(folder / "model.safetensors").values()} == {torch.float32}
    check_form(folder)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_translates_from_its_translating_networks_alone(
    name, tmp_path, sources, monkeypatch
):
    monkeypatch.setitem(SCRIPT["write_entry"].__globals__, "MOST_BYTES", 10**8)
    config = tiny_config(name)
    whole = save_untrained(tmp_path / "whole.pt", config)
    folder = write_entry(tmp_path / "zoo", whole, sources[:1])
    state = load_checkpoint(folder / "model.safetensors")
    assert state.translates_only
    assert state.weights.keys() == build_method(config).translating_state().keys()
    load_translator(folder, device="cpu")


def test_an_entry_says_nothing_of_where_pictures_lay(entry):
    text = "".join(path.read_text() for path in (entry / "config.json", entry / "README.md"))
    assert "/nowhere/horses" not in text
    assert (
        json.loads((entry / "config.json").read_text())["configuration"]["data"]["root"] == "tiny"
    )


def test_an_entry_is_replaced_only_when_asked_and_never_too_large(
    entry, run, sources, monkeypatch, capsys
):
    with pytest.raises(ConfigError, match="replace it with --overwrite"):
        write_entry(entry.parent, run.path, sources)
    write_entry(entry.parent, run.path, sources[:1], "--overwrite")
    assert len(list((entry / "samples").iterdir())) == 2
    monkeypatch.setitem(SCRIPT["write_entry"].__globals__, "MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match="at most 1000"):
        write_entry(entry.parent, run.path, sources, name="large")
    assert not (entry.parent / "large").exists()
    with pytest.raises(SystemExit):
        write_entry(entry.parent, run.path, sources * 4, name="many")
    assert "samples are more than 6" in capsys.readouterr().err


def damage(entry, what):
    """Change an entry, and return the words that refuse it."""
    model, facts = entry / "model.safetensors", entry / "config.json"
    known = json.loads(facts.read_text())
    if what == "flipped":
        content = bytearray(model.read_bytes())
        content[-100] ^= 64
        model.write_bytes(content)
        return r"is damaged or was changed: its SHA-256 is [0-9a-f]{64}, and config\.json beside it"
    if what == "cut":
        model.write_bytes(model.read_bytes()[:1000])
        return r"model\.safetensors \(1000 bytes\) is damaged or was changed"
    if what == "other weights":
        save_file({"generator.x": torch.zeros(1)}, model)
        known["model"]["sha256"] = SCRIPT["hashlib"].sha256(model.read_bytes()).hexdigest()
        facts.write_text(json.dumps(known))
        return "is damaged: its weights do not fit its configuration"
    if what == "no safetensors":
        model.write_bytes(b"x" * 100)
        known["model"]["sha256"] = SCRIPT["hashlib"].sha256(model.read_bytes()).hexdigest()
        facts.write_text(json.dumps(known))
        return r"model\.safetensors is damaged"
    if what == "no JSON":
        facts.write_text(facts.read_text()[:100])
        return r"config\.json is damaged: it is no JSON"
    if what == "another's":
        facts.write_text('{"architectures": ["Other"]}')
        return r"holds model\.safetensors, but not of i2i\. .*`i2i import .*safetensors`"
    if what == "newer":
        facts.write_text(json.dumps({**known, "format": 2}))
        return "has format 2, and this i2i reads up to 1: update it"
    key, value = {"step": ("step", "8"), "metrics": ("metrics", {"fid": "low"})}[what]
    facts.write_text(json.dumps({**known, key: value}))
    return rf"config\.json is damaged: {key} is "


@pytest.mark.parametrize(
    "what",
    ["flipped", "cut", "other weights", "no safetensors", "no JSON", "another's", "newer", "step"]
    + ["metrics"],
)
def test_a_damaged_entry_is_refused_in_a_sentence(entry, what):
    words = damage(entry, what)
    with pytest.raises(CheckpointError, match=words):
        load_translator(entry, device="cpu")


def test_a_model_alone_is_no_checkpoint(entry):
    (entry / "config.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_translator(entry / "model.safetensors", device="cpu")


def test_a_folder_of_samples_may_be_gone(entry):
    shutil.rmtree(entry / "samples")
    picture = Image.fromarray(np.full((20, 24, 3), 128, np.uint8))
    assert load_translator(entry, device="cpu").translate(picture).size == (24, 20)
