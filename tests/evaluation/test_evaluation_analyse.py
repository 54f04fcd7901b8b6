"""`i2i analyse-structure`: where pairs are found, and what comes out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from random_weights import random_convolutions

from i2icli.errors import ConfigError, DataError
from i2icli.evaluation import analyse as analysing
from i2icli.evaluation.analyse import analyse_structure, find_pairs
from i2icli.metrics import alignment
from i2icli.pictures.images import write_picture
from i2icli.pretrained.weights import FoundWeights


def scene(seed, size=40):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((size, size), Image.Resampling.NEAREST))


def partner(picture):
    """Return the same scene in other colours."""
    return 255 - np.roll(picture, 1, axis=2)


@pytest.fixture
def pairs(tmp_path):
    """Return a folder of pictures that each hold a pair."""
    folder = tmp_path / "pairs"
    for number in range(4):
        both = np.concatenate([scene(number), partner(scene(number))], axis=1)
        write_picture(folder / f"{number}.png", both)
    return folder


@pytest.fixture
def small(monkeypatch):
    """Make VGG16 of random weights, and compare small pictures."""
    tensors = random_convolutions("vgg16", 2**0.5)
    found = FoundWeights("vgg16", Path("vgg16.pth"), "0" * 64)
    monkeypatch.setattr(analysing, "load_weights", lambda _name: (tensors, found))
    for module in (alignment, analysing):
        monkeypatch.setattr(module, "SIDE", 64)


def folders(root, first, second):
    for number in range(3):
        write_picture(root / first / f"{number}.png", scene(number))
        write_picture(root / second / f"{number}.png", partner(scene(number)))


@pytest.mark.parametrize("names", [("A", "B"), ("testA", "testA_truth")])
def test_one_folder_may_hold_the_two(tmp_path, names):
    folders(tmp_path, *names)
    found = find_pairs([tmp_path])
    assert found == find_pairs([tmp_path / name for name in names])
    assert [pair.name for pair in found] == ["0", "1", "2"]
    first, second = found[1].read()
    assert np.array_equal(first.pixels, scene(1))
    assert np.array_equal(second.pixels, partner(scene(1)))


def test_halves_are_read_left_first(pairs):
    found = find_pairs([pairs])
    assert [pair.name for pair in found] == ["0.png", "1.png", "2.png", "3.png"]
    first, second = found[2].read()
    assert np.array_equal(first.pixels, scene(2))
    assert np.array_equal(second.pixels, partner(scene(2)))


def test_a_picture_that_holds_no_pair_is_named(pairs):
    write_picture(pairs / "4.png", scene(4))
    with pytest.raises(DataError, match=r"4\.png is 40x40, too narrow for two pictures side by"):
        find_pairs([pairs])


def test_one_pair_is_too_few(tmp_path):
    write_picture(tmp_path / "0.png", np.concatenate([scene(0), scene(0)], axis=1))
    with pytest.raises(DataError, match=r"holds 1 pair\(s\) of pictures; 2 or more are compared"):
        find_pairs([tmp_path])


def test_three_folders_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="takes one folder or two, got 3"):
        find_pairs([tmp_path] * 3)


@pytest.mark.usefixtures("small")
def test_the_document_says_who_met_whom_and_can_be_written(pairs):
    found = analyse_structure(find_pairs([pairs]), seed=2, device="cpu")
    document = json.loads(json.dumps(found.as_document(), allow_nan=False))
    assert document["pairs"] == [f"{number}.png" for number in range(4)]
    assert sorted(document["partners"]) == document["pairs"]
    assert all(a != b for a, b in zip(document["pairs"], document["partners"], strict=True))
    assert document["protocol"]["seed"] == 2
    cos = document["losses"]["fsesim-cos"]
    assert [len(values) for values in cos["values"].values()] == [4, 4, 4]
    assert cos["separation"]["same domain"]["auc"]["value"] == 1


@pytest.mark.usefixtures("small")
def test_count_takes_pairs_evenly_spaced(pairs):
    found = analyse_structure(find_pairs([pairs]), count=2, device="cpu")
    assert [pair.name for pair in found.pairs] == ["0.png", "3.png"]


@pytest.fixture
def i2i(i2i):
    return lambda *words: i2i("analyse-structure", *words)


@pytest.mark.usefixtures("small")
def test_the_command_prints_a_table_and_writes_figure_and_document(i2i, pairs, tmp_path):
    code, out, err = i2i(pairs, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == [
        *("loss", "aligned", "unaligned", "AUC", "d"),
        *("same", "domain", "AUC", "d"),
    ]
    assert [line.split()[0] for line in lines[1:7]] == list(alignment.LOSSES)
    assert lines[7] == "4 pairs; mean losses between a picture and"
    assert err == f"figure: {tmp_path / 'out' / 'analysis.png'}\n"
    with Image.open(tmp_path / "out" / "analysis.png") as figure:
        assert figure.width > 1000
    code, out, _ = i2i(pairs, "--out", tmp_path / "again", "--json", "--device", "cpu")
    assert json.loads(out) == json.loads((tmp_path / "again" / "analysis.json").read_text())


def test_missing_weights_are_a_sentence_and_exit_code_4(i2i, pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "nothing"))
    code, _, err = i2i(pairs, "--out", tmp_path / "out")
    assert code == 4
    assert "`i2i weights get vgg16`" in err
    assert not (tmp_path / "out").exists()
