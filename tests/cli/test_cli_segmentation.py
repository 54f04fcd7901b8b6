"""`i2i eval --seg` of segmenters, and of translators that a segmenter scores."""

import numpy as np
import pytest
from echo import SMALL
from labelled_folders import IGNORED, write_labelled
from PIL import Image
from run_kit import save_untrained

from i2icli.evaluation.segmenters import Scorer, score_by_segmenter
from i2icli.evaluation.translated import Translated
from i2icli.methods import configure_run
from i2icli.metrics.segmentation import confusion_matrix, score_label_maps
from i2icli.pictures.images import read_picture
from i2icli.pictures.label_maps import LabelScheme, read_labels
from i2icli.translation.pictures import translate_pictures
from i2icli.translation.translator import load_translator

SHARE = 0.01  # of two nearly equal scores of a pixel either may win where it is computed twice
COLOURS = "#ff0000 #00ff00 #0000ff #ffff00"


@pytest.fixture
def data(tmp_path):
    return write_labelled(tmp_path / "labelled", count=3, size=(40, 32))


def save(path, preset, *overrides, step=7):
    return save_untrained(path, configure_run(preset, overrides), step=step)


@pytest.fixture
def segmenter(tmp_path, data):
    path = tmp_path / "segmenter" / "checkpoints" / "last.pt"
    labels = ("labels.classes=4", f"labels.ignore={IGNORED}", 'labels.names=["road", "sky"]')
    save(path, "danet", "method.backbone=resnet18", f"data.root={data}", *labels)
    (path.parents[1] / "config.toml").write_text("")
    return path.parents[1]


@pytest.fixture
def i2i(i2i, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    return lambda *words: i2i("eval", *words, "--device", "cpu")


def test_segmenter_is_scored_on_its_labelled_tests(i2i_json, segmenter, data, tmp_path):
    document = i2i_json(segmenter, "--seg", "--keep", tmp_path / "kept")
    total = np.zeros((4, 4), np.int64)
    translator = load_translator(segmenter, device="cpu")
    for path in sorted((data / "val").iterdir()):
        labels = translate_pictures(translator.method, [read_picture(path)])[0].labels
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


def test_segmenter_is_scored_without_any_flag(i2i, segmenter):
    code, out, _ = i2i(segmenter)
    assert code == 0
    assert "MEAN_IOU" in out
    assert "FID" not in out


def test_all_checkpoints_mark_the_highest_score(i2i_json, segmenter, data):
    labels = ("labels.classes=4", f"labels.ignore={IGNORED}", "train.seed=3")
    path = segmenter / "checkpoints" / "step-0000005.pt"
    save(path, "danet", "method.backbone=resnet18", f"data.root={data}", *labels, step=5)
    document = i2i_json(segmenter, "--seg", "--all-checkpoints")
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
def test_what_a_segmenter_is_not_measured_by_is_refused(i2i, segmenter, words, said):
    named = [str(segmenter) if word == "SEGMENTER" else word for word in words]
    code, _, err = i2i(segmenter, *named)
    assert code == 2
    assert said in err


def test_data_without_labelled_tests_is_named(i2i, segmenter, data):
    (data / "val").rename(data / "later")
    (data / "valannot").rename(data / "laterannot")
    code, _, err = i2i(segmenter, "--seg")
    assert code == 3
    assert "has no labelled test pictures: put some into val/" in err


def test_a_true_map_with_other_ids_is_named_before_anything_is_computed(i2i, segmenter, data):
    Image.fromarray(np.full((32, 40), 77, np.uint8)).save(data / "valannot" / "val_1.png")
    code, _, err = i2i(segmenter, "--seg")
    assert code == 3
    assert "val_1.png has the id 77 at 1280 pixels" in err


@pytest.fixture
def pictures(tmp_path, data):
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
def translator(tmp_path, pictures):
    return save(tmp_path / "translator" / "last.pt", "cut", *SMALL, f"data.root={pictures}")


def test_segmenter_scores_photos_by_the_labels_they_were_made_from(
    i2i_json, segmenter, translator, pictures, tmp_path
):
    keep = tmp_path / "kept"
    words = ("--seg", "--segmenter", segmenter, "--palette", COLOURS, "--keep", keep)
    metrics = i2i_json(translator, *words)["metrics"]
    network = load_translator(segmenter, device="cpu")
    for path in sorted((keep / "outputs").iterdir()):
        labels = translate_pictures(network.method, [read_picture(path)])[0].labels
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
    i2i_json, segmenter, pictures, data, tmp_path
):
    own = i2i_json(segmenter, "--seg")["metrics"]
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


def test_segmenter_may_be_given_by_the_old_flag(i2i, segmenter, translator):
    answers = [
        i2i(translator, "--seg", flag, segmenter, "--palette", COLOURS, "--json")
        for flag in ("--segmenter", "--judge")
    ]
    assert answers[0][0] == 0
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        # The weights of Inception are asked for, so --kid was heard.
        (("--segmenter", "SEGMENTER", "--palette", COLOURS, "--kid"), 4, "inception"),
        (("--segmenter", "SEGMENTER"), 3, "holds colours, not ids: add --palette"),
        ((), 2, "--seg of a translator needs a segmenter that scores its photos: add --segmenter"),
        (("--segmenter", "translator"), 2, "is a checkpoint of cut, which does not segment"),
        (
            ("--segmenter", "SEGMENTER", "--palette", "none.txt"),
            2,
            "none.txt is neither a known palette",
        ),
    ],
    ids=["other metric", "no palette", "no segmenter", "a translator", "unknown palette"],
)
def test_what_a_score_by_a_segmenter_needs_is_named(i2i, segmenter, translator, words, code, said):
    named = {"SEGMENTER": segmenter, "translator": translator}
    ended, _, err = i2i(translator, "--seg", *(named.get(word, word) for word in words))
    assert ended == code
    assert said in err
