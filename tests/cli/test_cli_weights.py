"""`i2i weights`: what it prints, what it refuses, how it ends."""

import json

import pytest
import torch

from i2icli.pretrained import weights as module
from i2icli.pretrained.weight_files import digest, expected_shapes
from i2icli.pretrained.weights import WEIGHTS, Weights


@pytest.fixture
def i2i(i2i, monkeypatch, tmp_path):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("I2I_OFFLINE", "1")
    made = {name: torch.ones(shape) / 64 for name, shape in expected_shapes("alexnet").items()}
    torch.save(made, tmp_path / "alexnet.pth")
    known = WEIGHTS["alexnet"]
    entry = Weights(known.name, known.purpose, known.urls, "none", digest(made), known.files)
    monkeypatch.setattr(module, "WEIGHTS", {**WEIGHTS, "alexnet": entry})
    monkeypatch.setattr(module, "_ALL", (*(w for w in WEIGHTS.values() if w is not known), entry))

    return lambda *words: i2i("weights", *words)


def test_where_prints_the_folder(i2i, tmp_path):
    assert i2i("where") == (0, f"{tmp_path / 'home' / 'weights'}\n", "")
    assert json.loads(i2i("where", "--json")[1]) == {"folder": str(tmp_path / "home" / "weights")}


def test_list_says_what_is_here(i2i, tmp_path):
    code, out, err = i2i("list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        [name, "missing"] for name in WEIGHTS
    ]
    assert "i2i weights get NAME" in err
    i2i("add", "alexnet", tmp_path / "alexnet.pth")
    listed = json.loads(i2i("list", "--json")[1])
    assert {entry["name"]: entry["state"] for entry in listed}["alexnet"] == "here"
    assert {entry["name"]: len(entry["sha256"] or "") for entry in listed}["alexnet"] == 64


def test_add_prints_place_and_sum(i2i_json, tmp_path):
    document = i2i_json("add", "alexnet", tmp_path / "alexnet.pth")
    assert document["path"] == str(tmp_path / "home" / "weights" / "alexnet.pth")
    assert document["state"] == "added"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("add", "vgg16", "alexnet.pth"),
            4,
            ["is not the weights vgg16, it is alexnet: it lacks 22 of 26 tensors"],
        ),
        (("get", "inception"), 4, ["i2i weights add inception FILE", "https://"]),
        (("get", "vgg19", "--offline"), 2, ["did you mean vgg16?"]),
    ],
    ids=["wrong file", "offline", "unknown name"],
)
def test_refusal_is_one_sentence_with_what_to_type(i2i, tmp_path, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    ended, out, err = i2i(*words)
    assert (ended, out) == (code, "")
    assert all(part in err for part in said)
    assert "Traceback" not in err


def test_verify_ends_with_4_when_a_file_was_damaged(i2i, tmp_path):
    i2i("add", "alexnet", tmp_path / "alexnet.pth")
    code, out, _ = i2i("verify")
    assert code == 0
    assert "alexnet             here" in out
    file = tmp_path / "home" / "weights" / "alexnet.pth"
    file.write_bytes(file.read_bytes()[:5000])
    code, out, err = i2i("verify")
    assert code == 4
    assert "alexnet             WRONG" in out
    assert "i2i weights get alexnet" in err
