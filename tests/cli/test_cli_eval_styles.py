"""`i2i eval` and its like for methods with styles and for those with masks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from many_sided import configure_tiny, many_sided, names_in
from picture_folders import write_pictures
from PIL import Image
from plain_data import assert_same_picture
from random_weights import random_convolutions
from run_kit import save_untrained

from i2icli.metrics.perceptual import Lpips
from i2icli.pictures.images import read_picture
from i2icli.pretrained.weights import FoundWeights
from i2icli.translation.translator import load_translator

KINDS = ("styled", "masked")


def random_lpips(*_, **__):
    """Return LPIPS with random convolutions."""
    return Lpips("alex", random_convolutions("alexnet"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the working folder: a data set, and runs of both kinds with two checkpoints."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB")):
        write_pictures(tmp_path / "data" / name, seed=seed, count=3, side=40)
    with many_sided():
        for kind in KINDS:
            config = configure_tiny(f"tiny-{kind}", tmp_path / "data")
            for step, name in enumerate(("step-0000001", "last"), start=1):
                save_untrained(
                    tmp_path / "runs" / kind / "checkpoints" / f"{name}.pt", config, step=step
                )
            (tmp_path / "runs" / kind / "config.toml").write_text("")
        yield tmp_path


@pytest.fixture
def i2i(i2i, monkeypatch, place):
    weights = FoundWeights("alexnet", Path("none.pth"), "0" * 64)
    monkeypatch.setattr("i2icli.metrics.choose.find_weights", lambda _name: weights)
    monkeypatch.setattr("i2icli.metrics.perceptual.load_lpips", random_lpips)

    return lambda *words: i2i(*words)


def mean_of_pairs(paths):
    """Return the mean LPIPS of all pairs of picture files."""
    lpips = random_lpips()
    tensors = [
        torch.from_numpy(read_picture(path).pixels).permute(2, 0, 1)[None] / 127.5 - 1
        for path in paths
    ]
    pairs = [(a, b) for place, a in enumerate(tensors) for b in tensors[:place]]
    return float(np.mean([float(lpips.distances(a, b)) for a, b in pairs]))


def test_a_checkpoint_with_styles_is_translated_in_several_and_measured(i2i_json, place):
    words = ("--diversity", "--styles", 3, "--keep", "kept")
    (found,) = i2i_json("eval", "runs/styled", *words)["metrics"].values()
    assert found["counts"] == {"inputs": 3, "styles": 3}
    assert found["protocol"]["kind"] == "diversity"
    assert found["protocol"]["pairs"] == "all of an input"
    assert found["protocol"]["style_codes"].startswith("standard normal, own of each input")
    assert found["protocol"]["direction"] == "a2b"
    assert found["interval"]["low"] <= found["value"] <= found["interval"]["high"]
    kept = place / "kept" / "styles"
    assert names_in(kept) == [f"0{i}_style{j}.png" for i in range(3) for j in (1, 2, 3)]
    means = [mean_of_pairs(sorted(kept.glob(f"0{i}_*.png"))) for i in range(3)]
    assert found["value"] == pytest.approx(np.mean(means), rel=1e-4)
    assert names_in(place / "kept" / "outputs") == ["00.png", "01.png", "02.png"]
    folder = i2i_json("eval", "--diversity", "--fake", kept)
    assert folder["metrics"]["lpips_diversity"]["value"] == found["value"]


def test_every_picture_has_styles_of_its_own_the_same_each_time(i2i, place):
    for keep in ("one", "two"):
        words = ("--diversity", "--styles", 2, "--keep", keep)
        assert i2i("eval", "runs/styled", *words)[0] == 0
    for name in names_in(place / "one" / "styles"):
        made = [(place / keep / "styles" / name).read_bytes() for keep in ("one", "two")]
        assert made[0] == made[1]
    translator = load_translator("runs/styled", device="cpu")
    for number in range(3):
        wanted = translator.translate(
            place / "data" / "testA" / f"0{number}.png", style=translator.styles(2, number)[1]
        )
        made = read_picture(place / "one" / "styles" / f"0{number}_style2.png").pixels
        assert_same_picture(made, np.asarray(wanted))


def test_diversity_is_measured_at_the_size_of_a_protocol(i2i_json, place):
    words = ("--diversity", "--styles", 2, "--protocol", "cut")
    (found,) = i2i_json("eval", "runs/styled", *words)["metrics"].values()
    assert found["protocol"]["size"] == "256x256"


def test_no_checkpoint_is_called_best_for_its_diversity(i2i, i2i_json):
    words = ("--diversity", "--lpips", "--styles", 2, "--all-checkpoints")
    code, out, err = i2i("eval", "runs/styled", *words)
    assert code == 0, err
    header, first, second, *_ = out.splitlines()
    assert header.split() == ["step", "lpips", "lpips_diversity"]
    assert "*" in first + second
    assert not first.endswith("*")
    assert not second.endswith("*")
    assert set(i2i_json("eval", "runs/styled", *words)["best"]) == {"lpips"}


def test_diversity_of_a_method_without_styles_is_refused(i2i):
    code, _, err = i2i("eval", "runs/masked", "--diversity")
    assert code == 2
    assert "this checkpoint's method has no styles" in " ".join(err.split())


@pytest.mark.parametrize("kind", KINDS)
def test_other_metrics_take_the_default_style(i2i_json, place, kind):
    found = i2i_json("eval", f"runs/{kind}", "--lpips", "--keep", "kept")
    assert list(found["metrics"]) == ["lpips"]
    assert sorted(p.name for p in (place / "kept").iterdir()) == ["outputs"]
    wanted = load_translator(f"runs/{kind}", device="cpu").translate("data/testA/00.png")
    made = read_picture(place / "kept" / "outputs" / "00.png").pixels
    assert_same_picture(made, np.asarray(wanted))


@pytest.mark.parametrize("kind", KINDS)
def test_runs_are_trained_measured_reported_and_compared(i2i, place, kind):
    shutil.copytree(place / "data" / "testA", place / "data" / "testA_truth")
    preset = place / "tiny.toml"
    preset.write_text(
        f"""
[method]
name = "tiny-{kind}"
[data]
root = "{place / "data"}"
resize = 20
crop = 16
[train]
steps = 4
[samples]
every_steps = 2
[eval]
every_steps = 2
[runtime]
device = "cpu"
workers = 0
"""
    )
    for name in ("one", "two"):
        code, _, err = i2i("train", "--preset", preset, "--set", f"train.seed={len(name)}")
        assert code == 0, err
    runs = sorted(p for p in (place / "runs").iterdir() if p.name not in KINDS)
    assert len(runs) == 2
    for run in runs:
        assert len(list((run / "samples").glob("*.png"))) >= 2
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert any("eval/truth_total" in line for line in metrics)
        code, out, err = i2i("report", run)
        assert code == 0, err
    words = ("--out", "compared")
    code, _, err = i2i("compare", *runs, place / "data" / "testA", *words)
    assert code == 0, err
    with Image.open(place / "compared" / "compare.png") as image:
        assert min(image.size) > 100
