"""`i2i weights`: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from i2icli.cli import app as app_module
from i2icli.pretrained import weights as module
from i2icli.pretrained.weight_files import digest, expected_shapes
from i2icli.pretrained.weights import WEIGHTS, Weights

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def i2i(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("I2I_OFFLINE", "1")
    made = {name: torch.ones(shape) / 64 for name, shape in expected_shapes("alexnet").items()}
    torch.save(made, tmp_path / "alexnet.pth")
    known = WEIGHTS["alexnet"]
    entry = Weights(known.name, known.purpose, known.urls, "none", digest(made), known.files)
    monkeypatch.setattr(module, "WEIGHTS", {**WEIGHTS, "alexnet": entry})
    monkeypatch.setattr(module, "_ALL", (*(w for w in WEIGHTS.values() if w is not known), entry))

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["i2i", "weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app_module.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_where_prints_the_folder(i2i: Call, tmp_path: Path) -> None:
    assert i2i("where") == (0, f"{tmp_path / 'home' / 'weights'}\n", "")
    assert json.loads(i2i("where", "--json")[1]) == {"folder": str(tmp_path / "home" / "weights")}


def test_list_says_what_is_here(i2i: Call, tmp_path: Path) -> None:
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


def test_add_prints_place_and_sum(i2i: Call, tmp_path: Path) -> None:
    code, out, _ = i2i("add", "alexnet", tmp_path / "alexnet.pth", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["path"] == str(tmp_path / "home" / "weights" / "alexnet.pth")
    assert document["state"] == "added"


def test_wrong_file_ends_with_4_and_one_sentence(i2i: Call, tmp_path: Path) -> None:
    code, out, err = i2i("add", "vgg16", tmp_path / "alexnet.pth")
    assert (code, out) == (4, "")
    assert "is not the weights vgg16, it is alexnet: it lacks 22 of 26 tensors" in err
    assert "Traceback" not in err


def test_offline_get_ends_with_4_and_what_to_type(i2i: Call) -> None:
    code, _, err = i2i("get", "inception")
    assert code == 4
    assert "i2i weights add inception FILE" in err
    assert "https://" in err


def test_unknown_name_ends_with_2(i2i: Call) -> None:
    code, _, err = i2i("get", "vgg19", "--offline")
    assert code == 2
    assert "did you mean vgg16?" in err


def test_verify_ends_with_4_when_a_file_was_damaged(i2i: Call, tmp_path: Path) -> None:
    i2i("add", "alexnet", tmp_path / "alexnet.pth")
    code, out, _ = i2i("verify")
    assert code == 0
    assert "alexnet           here" in out
    file = tmp_path / "home" / "weights" / "alexnet.pth"
    file.write_bytes(file.read_bytes()[:5000])
    code, out, err = i2i("verify")
    assert code == 4
    assert "alexnet           WRONG" in out
    assert "i2i weights get alexnet" in err
