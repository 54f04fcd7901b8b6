"""Errors against the truth: by hand on small pictures, and over folders."""

import numpy as np
import pytest

from i2icli.data.held_out import folders_beside
from i2icli.errors import DataError
from i2icli.metrics.truth import TruthScore, score_folder, score_pixels
from i2icli.pictures.images import write_picture


def flat(value, size=(4, 4)):
    return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def root(tmp_path):
    """Keep two pictures whose left half is 51 too dark in A."""
    mask = np.zeros((4, 4, 1), np.uint8)
    mask[:, :2] = 255
    truth = np.where(mask > 0, flat(151), flat(20)).astype(np.uint8)
    source = np.where(mask > 0, flat(100), flat(20)).astype(np.uint8)
    for name in ("one.png", "two.png"):
        write_picture(tmp_path / "set/testA" / name, source)
        write_picture(tmp_path / "set/testA_truth" / name, truth)
        write_picture(tmp_path / "set/testA_mask" / name, mask)
    return tmp_path / "set"


def test_error_is_split_by_the_mask():
    output = flat(0)
    output[:, :1] = 255
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 255
    assert score_pixels(output, flat(0), mask) == TruthScore(0.5, 0.0, 0.25)


def test_error_without_a_mask_is_the_total_alone():
    assert score_pixels(flat(51), flat(0)) == TruthScore(None, None, pytest.approx(0.2))


def test_bits_are_brought_to_one_scale():
    deep = flat(255).astype(np.uint16) * 257
    assert score_pixels(deep, flat(255)).total == 0.0


def test_an_empty_mask_has_no_inside():
    score = score_pixels(flat(51), flat(0), np.zeros((4, 4, 1), np.uint8))
    assert score.inside is None
    assert score.outside == score.total == pytest.approx(0.2)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        score_pixels(flat(0), flat(0, (4, 5)))
    with pytest.raises(ValueError, match="the mask is"):
        score_pixels(flat(0), flat(0), np.zeros((3, 3), np.uint8))


def test_identity_scores_as_the_identity(root):
    score = score_folder(root / "testA", folders_beside(root / "testA"))
    assert score.translation == score.identity
    assert score.identity.inside == pytest.approx(0.2)
    assert (score.identity.outside, score.count, score.missing) == (0.0, 2, ())


def test_truth_scores_nothing_whatever_its_suffix(root, tmp_path):
    for path in (root / "testA_truth").iterdir():
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / f"{path.stem}.bmp").write_bytes(path.read_bytes())
    score = score_folder(tmp_path / "out", folders_beside(root / "testA"))
    assert score.translation == TruthScore(0.0, 0.0, 0.0)
    assert score.identity.inside == pytest.approx(0.2)


def test_pictures_without_a_translation_are_named(root, tmp_path):
    write_picture(tmp_path / "out" / "two.png", flat(151))
    score = score_folder(tmp_path / "out", folders_beside(root / "testA"))
    assert (score.count, score.missing) == (1, ("one.png",))


def test_a_set_without_truth_says_so(tmp_path):
    with pytest.raises(DataError, match="has no testA_truth folder"):
        score_folder(tmp_path, folders_beside(tmp_path / "testA"))


def test_a_folder_without_translations_says_which_names_are_expected(root, tmp_path):
    with pytest.raises(DataError, match="no file is called one"):
        score_folder(tmp_path / "nothing", folders_beside(root / "testA"))


def test_a_translation_of_another_size_is_named(root, tmp_path):
    write_picture(tmp_path / "out" / "one.png", flat(0, (4, 8)))
    with pytest.raises(DataError, match=r"one\.png is 8x4 and its truth 4x4"):
        score_folder(tmp_path / "out", folders_beside(root / "testA"))
