"""`i2i eval --seg` of segmenters, and of translators that a segmenter scores."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_folders import IGNORED, write_labelled
from PIL import Image

from i2icli.cli import app as app_module
from i2icli.config.document import config_document
from i2icli.evaluation.segmenters import Scorer, score_by_segmenter
from i2icli.evaluation.translated import Translated
from i2icli.methods import build_method, configure_run
from i2icli.metrics.segmentation import confusion_matrix, score_label_maps
from i2icli.pictures.images import read_picture
from i2icli.pictures.label_maps import LabelScheme, read_labels
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint
from i2icli.translation.pictures import translate_pictures
from i2icli.translation.translator import load_translator

Call = Callable[..., tuple[int, str, str]]
SHARE = 0.01  # of two nearly equal scores of a pixel either may win where it is computed twice
COLOURS = "#ff0000 #00ff00 #0000ff #ffff00"
SMALL = ("method.generator.width=4", "method.generator.blocks=1", "method.discriminator.width=4")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "labelled", count=3, size=(40, 32))


def save(path: Path, preset: str, *overrides: str, step: int = 7) -> Path:
    config = configure_run(preset, list(overrides))
    path.parent.mkdir(parents=True, exist_ok=True)
    state = CheckpointState(
        config=config_document(config), weights=build_method(config).state_dict(), step=step
    )
    save_checkpoint(path, state)
    return path


@pytest.fixture
def segmenter(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "segmenter" / "checkpoints" / "last.pt"
    labels = ("labels.classes=4", f"labels.ignore={IGNORED}", 'labels.names=["road", "sky"]')
    save(path, "danet", "method.backbone=resnet18", f"data.root={data}", *labels)
    (path.parents[1] / "config.toml").write_text("")
    return path.parents[1]


@pytest.fixture
def i2i(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["i2i", "eval", *map(str, arguments), "--device", "cpu"])
        with pytest.raises(SystemExit) as end:
            app_module.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_segmenter_is_scored_on_its_labelled_tests(
    i2i: Call, segmenter: Path, data: Path, tmp_path: Path
) -> None:
    code, out, err = i2i(segmenter, "--seg", "--json", "--keep", tmp_path / "kept")
    assert code == 0, err
    document = json.loads(out)
    total = np.zeros((4, 4), np.int64)
    translator = load_translator(segmenter, device="cpu")
    for path in sorted((data / "val").iterdir()):
        labels = translate_pictures(translator.method, [read_picture(path)])[0].labels
        assert labels is not None
        truth = read_labels(data / "valannot" / path.name)
        kept = read_labels(tmp_path / "kept" / "outputs" / path.name)
        total += confusion_matrix(np.where(truth == IGNORED, 4, truth), kept, 4)
        assert np.mean(kept != labels) <= SHARE
    accuracy = total.trace() / total.sum()
    assert document["metrics"]["pixel_accuracy"]["value"] == pytest.approx(accuracy)
    union = total.sum(axis=0) + total.sum(axis=1) - np.diag(total)
    iou = document["metrics"]["mean_iou"]
    assert iou["value"] == pytest.approx(float((np.diag(total) / union).mean()))
    assert list(iou["parts"]) == ["road", "sky", "class 2", "class 3"]
    assert iou["counts"] == {"pairs": 3}
    assert iou["about"]["truth"] == str(data / "valannot")
    assert iou["about"]["step"] == 7
    assert iou["protocol"]["classes"] == 4


def test_segmenter_is_scored_without_any_flag(i2i: Call, segmenter: Path) -> None:
    code, out, _ = i2i(segmenter)
    assert code == 0
    assert "MEAN_IOU" in out
    assert "FID" not in out


def test_all_checkpoints_mark_the_highest_score(i2i: Call, segmenter: Path, data: Path) -> None:
    labels = ("labels.classes=4", f"labels.ignore={IGNORED}", "train.seed=3")
    path = segmenter / "checkpoints" / "step-0000005.pt"
    save(path, "danet", "method.backbone=resnet18", f"data.root={data}", *labels, step=5)
    code, out, err = i2i(segmenter, "--seg", "--all-checkpoints", "--json")
    assert code == 0, err
    document = json.loads(out)
    for name in ("mean_iou", "pixel_accuracy"):
        values = {
            entry["about"]["step"]: entry["metrics"][name]["value"]
            for entry in document["checkpoints"]
        }
        assert len(values) == 2
        assert values[document["best"][name]["step"]] == max(values.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fid",), "its label maps are scored by --seg alone"),
        (("--seg", "--classes", "4"), "--classes 4: a segmenter's checkpoint says it"),
        (("--seg", "--ignore", "4"), "--ignore 4: a segmenter's checkpoint says it"),
        (("--segmenter", "x.pt"), "--segmenter x.pt segments the photos"),
        (
            ("--seg", "--segmenter", "SEGMENTER"),
            "--protocol and --segmenter are about translations",
        ),
    ],
)
def test_what_a_segmenter_is_not_measured_by_is_refused(
    i2i: Call, segmenter: Path, words: tuple[str, ...], said: str
) -> None:
    named = [str(segmenter) if word == "SEGMENTER" else word for word in words]
    code, _, err = i2i(segmenter, *named)
    assert code == 2
    assert said in err


def test_data_without_labelled_tests_is_named(i2i: Call, segmenter: Path, data: Path) -> None:
    (data / "val").rename(data / "later")
    (data / "valannot").rename(data / "laterannot")
    code, _, err = i2i(segmenter, "--seg")
    assert code == 3
    assert "has no labelled test pictures: put some into val/" in err


def test_a_true_map_with_other_ids_is_named_before_anything_is_computed(
    i2i: Call, segmenter: Path, data: Path
) -> None:
    Image.fromarray(np.full((32, 40), 77, np.uint8)).save(data / "valannot" / "val_1.png")
    code, _, err = i2i(segmenter, "--seg")
    assert code == 3
    assert "val_1.png has the id 77 at 1280 pixels" in err


@pytest.fixture
def pictures(tmp_path: Path, data: Path) -> Path:
    """Keep a data set whose testA holds the label maps in colours, testB the photos."""
    root = tmp_path / "city"
    table = np.array([list(bytes.fromhex(c[1:])) for c in COLOURS.split()], np.uint8)
    for part in ("testA", "testB"):
        (root / part).mkdir(parents=True)
    for path in (data / "valannot").iterdir():
        ids = np.asarray(Image.open(path)).copy()
        ids[ids == IGNORED] = 0
        Image.fromarray(table[ids]).save(root / "testA" / path.name)
        (root / "testB" / path.name).write_bytes((data / "val" / path.name).read_bytes())
    return root


@pytest.fixture
def translator(tmp_path: Path, pictures: Path) -> Path:
    return save(tmp_path / "translator" / "last.pt", "cut", *SMALL, f"data.root={pictures}")


def test_segmenter_scores_photos_by_the_labels_they_were_made_from(
    i2i: Call, segmenter: Path, translator: Path, pictures: Path, tmp_path: Path
) -> None:
    keep = tmp_path / "kept"
    words = ("--seg", "--segmenter", segmenter, "--palette", COLOURS, "--keep", keep, "--json")
    code, out, err = i2i(translator, *words)
    assert code == 0, err
    metrics = json.loads(out)["metrics"]
    network = load_translator(segmenter, device="cpu")
    for path in sorted((keep / "outputs").iterdir()):
        labels = translate_pictures(network.method, [read_picture(path)])[0].labels
        assert labels is not None
        assert np.mean(read_labels(keep / "labels" / path.name) != labels) <= SHARE
    table = np.array([list(bytes.fromhex(c[1:])) for c in COLOURS.split()], np.uint8)
    scores = score_label_maps(pictures / "testA", keep / "labels", LabelScheme(4, IGNORED, table))
    for measured in scores:
        assert metrics[measured.name]["value"] == measured.value
    assert metrics["mean_iou"]["about"]["segmenter"] == str(segmenter)
    assert metrics["mean_iou"]["about"]["judge"] == str(segmenter)  # its key in 0.1.0
    assert metrics["mean_iou"]["protocol"]["direction"] == "a2b"
    assert "fid" not in metrics


def test_real_photos_are_scored_as_the_segmenter_itself_is_scored(
    i2i: Call, segmenter: Path, pictures: Path, data: Path, tmp_path: Path
) -> None:
    code, out, err = i2i(segmenter, "--seg", "--json")
    assert code == 0, err
    own = json.loads(out)["metrics"]
    table = np.array([list(bytes.fromhex(c[1:])) for c in COLOURS.split()] + [[0, 0, 0]], np.uint8)
    for path in (data / "valannot").iterdir():
        ids = np.asarray(Image.open(path))
        Image.fromarray(table[np.where(ids == IGNORED, 4, ids)]).save(
            pictures / "testA" / path.name
        )
    scorer = Scorer(segmenter, palette=f"{COLOURS} #000000")
    photos = Translated(pictures / "testA", pictures / "testB")
    scored = score_by_segmenter(scorer.load(device="cpu"), scorer, photos, tmp_path)
    assert {name: one.value for name, one in scored.items()} == {
        name: one["value"] for name, one in own.items()
    }


def test_segmenter_may_be_given_by_the_old_flag(
    i2i: Call, segmenter: Path, translator: Path
) -> None:
    answers = [
        i2i(translator, "--seg", flag, segmenter, "--palette", COLOURS, "--json")
        for flag in ("--segmenter", "--judge")
    ]
    assert answers[0][0] == 0
    assert answers[0] == answers[1]


def test_scores_by_a_segmenter_go_with_other_metrics(
    i2i: Call, segmenter: Path, translator: Path
) -> None:
    words = ("--seg", "--segmenter", segmenter, "--palette", COLOURS, "--kid")
    code, _, err = i2i(translator, *words)
    assert code == 4  # the weights of Inception are asked for, so --kid was heard
    assert "inception" in err


def test_colours_without_a_palette_are_named(i2i: Call, segmenter: Path, translator: Path) -> None:
    code, _, err = i2i(translator, "--seg", "--segmenter", segmenter)
    assert code == 3
    assert "holds colours, not ids: add --palette" in err


def test_a_translator_needs_a_segmenter(i2i: Call, translator: Path, segmenter: Path) -> None:
    code, _, err = i2i(translator, "--seg")
    assert code == 2
    assert "--seg of a translator needs a segmenter that scores its photos: add --segmenter" in err
    code, _, err = i2i(translator, "--seg", "--segmenter", translator)
    assert code == 2
    assert "is a checkpoint of cut, which does not segment" in err
    code, _, err = i2i(translator, "--seg", "--segmenter", segmenter, "--palette", "none.txt")
    assert code == 2
    assert "none.txt is neither a known palette" in err
