"""Segmentation scores: by hand, by brute force, and from folders of all kinds."""

import numpy as np
import pytest
from PIL import Image

from i2icli.errors import ConfigError, DataError
from i2icli.metrics.segmentation import score_label_maps, score_tally, tally_labels
from i2icli.pictures.label_maps import PALETTES, LabelScheme, load_palette, read_labels

CITY = PALETTES["cityscapes"]


def scores(truth, predicted, *, classes, ignore, convention):
    tally = tally_labels(
        np.array([truth]),
        np.array([predicted]),
        LabelScheme(classes, ignore),
        convention=convention,
    )
    return score_tally(tally, convention)


def write_ids(folder, **maps):
    folder.mkdir(exist_ok=True)
    for name, ids in maps.items():
        Image.fromarray(ids.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def named(scores):
    return {measurement.name: measurement for measurement in scores}


@pytest.fixture
def truth(tmp_path):
    random = np.random.default_rng(0)
    maps = {f"m{n}": random.integers(0, 4, (12, 10)) for n in range(4)}
    maps["m0"][:3] = 255
    return write_ids(tmp_path / "truth", **maps)


# Classes 0, 1, 2; 9 is ignored; class 2 occurs nowhere.
TRUTH, PREDICTED = [0, 0, 0, 1, 1, 9], [0, 0, 1, 1, 9, 1]


@pytest.mark.parametrize(
    ("convention", "pixel", "accuracy", "iou"),
    [
        ("standard", 3 / 5, (2 / 3 + 1 / 2) / 2, (2 / 3 + 1 / 3) / 2),
        ("released", 3 / 6, (2 / 3 + 1 / 1 + 0) / 3, (2 / 3 + 1 / 2 + 0) / 3),
    ],
)
def test_scores_by_hand(convention, pixel, accuracy, iou):
    score = scores(TRUTH, PREDICTED, classes=3, ignore=9, convention=convention)
    assert score.pixel_accuracy == pytest.approx(pixel)
    assert score.class_accuracy == pytest.approx(accuracy)
    assert score.mean_iou == pytest.approx(iou)
    assert np.isnan(score.iou[2]) or convention == "released"


def test_a_class_that_is_predicted_only_has_no_recall_but_an_iou_of_nothing():
    score = scores([0, 0], [0, 2], classes=3, ignore=9, convention="standard")
    assert score.class_accuracy == pytest.approx(1 / 2)
    assert score.mean_iou == pytest.approx((1 / 2 + 0) / 2)


def test_the_ignored_id_may_be_that_of_a_class():
    score = scores([0, 0, 1, 2], [1, 0, 1, 0], classes=3, ignore=0, convention="standard")
    assert score.pixel_accuracy == pytest.approx(1 / 2)
    assert np.isnan(score.recall[0])
    assert score.mean_iou == pytest.approx(1 / 2)


def test_scores_are_those_of_counting_pixel_by_pixel():
    random = np.random.default_rng(3)
    for _ in range(20):
        true, ours = random.integers(0, 6, (2, 40))  # 5 is ignored
        kept = [(t, p) for t, p in zip(true, ours, strict=True) if t != 5]
        iou = [
            sum(t == p == c for t, p in kept) / sum(c in (t, p) for t, p in kept)
            for c in range(5)
            if any(c in (t, p) for t, p in kept)
        ]
        score = scores(list(true), list(ours), classes=5, ignore=5, convention="standard")
        assert score.pixel_accuracy == pytest.approx(sum(t == p for t, p in kept) / len(kept))
        assert score.mean_iou == pytest.approx(sum(iou) / len(iou))


def test_truth_scores_one_against_itself_and_released_counts_the_ignored_as_errors(truth):
    found = named(score_label_maps(truth, truth, LabelScheme(5)))
    assert [found[name].value for name in ("pixel_accuracy", "class_accuracy", "mean_iou")] == [
        1
    ] * 3
    assert found["pixel_accuracy_released"].value == pytest.approx(1 - 30 / 480)
    assert found["mean_iou_released"].value == pytest.approx(4 / 5)
    assert found["mean_iou"].parts == {**{f"class {n}": 1.0 for n in range(4)}, "class 4": None}
    assert found["mean_iou_released"].parts["class 4"] is None


def test_swapped_classes_are_wrong_where_they_were(truth, tmp_path):
    swap = np.array([1, 0, 2, 3])
    maps = {path.stem: np.asarray(Image.open(path)) for path in truth.iterdir()}
    swapped = {name: np.where(m == 255, 255, swap[m % 255]) for name, m in maps.items()}
    predicted = write_ids(tmp_path / "out", **swapped)
    pixels = np.concatenate([m.ravel() for m in maps.values()])
    kept = pixels[pixels != 255]
    found = named(score_label_maps(truth, predicted, LabelScheme(4)))
    assert found["pixel_accuracy"].value == pytest.approx((kept >= 2).mean())
    assert found["class_accuracy"].value == found["mean_iou"].value == 0.5
    assert found["mean_iou"].parts["class 0"] == 0.0


def test_each_number_says_its_protocol_and_lies_in_its_interval(truth, tmp_path):
    random = np.random.default_rng(5)
    predicted = write_ids(
        tmp_path / "out", **{f"m{n}": random.integers(0, 4, (12, 10)) for n in range(4)}
    )
    for measurement in score_label_maps(truth, predicted, LabelScheme(4)):
        assert measurement.interval.low <= measurement.value <= measurement.interval.high
        assert measurement.counts == {"pairs": 4}
        assert (measurement.protocol["classes"], measurement.protocol["ignore"]) == (4, 255)
        assert measurement.protocol["read"] == "ids"
        is_released = measurement.name.endswith("_released")
        assert (measurement.protocol["convention"] == "released") == is_released


def test_progress_tells_every_pair(truth):
    told = []
    score_label_maps(truth, truth, LabelScheme(4), progress=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_palette_files_are_read_by_index_and_deep_ones_as_they_are(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    indexed = Image.fromarray(ids).convert("P")
    indexed.putdata(ids.ravel().tolist())
    indexed.putpalette(CITY.tobytes())
    indexed.save(tmp_path / "p.png")
    Image.fromarray(ids.astype(np.uint16) * 100).save(tmp_path / "deep.png")
    assert np.array_equal(read_labels(tmp_path / "p.png"), ids)
    assert np.array_equal(read_labels(tmp_path / "deep.png"), ids.astype(int) * 100)


def test_colours_are_matched_to_the_nearest_of_the_palette(tmp_path):
    ids = np.random.default_rng(2).integers(0, 20, (8, 8))
    ids[0, :4] = [0, 19, 7, 18]
    colours = CITY[ids].astype(int) + np.random.default_rng(4).integers(-3, 4, (8, 8, 3))
    (tmp_path / "rgb").mkdir()
    Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(tmp_path / "rgb" / "one.png")
    truth = write_ids(tmp_path / "ids", one=np.where(ids == 19, 255, ids))
    found = named(score_label_maps(truth, tmp_path / "rgb", LabelScheme(19, palette=CITY)))
    assert found["pixel_accuracy"].value == found["mean_iou"].value == 1.0
    read = found["mean_iou"].protocol["read"]
    assert read == "nearest colour in RGB (20 colours, SHA-256 84e2103ade40)"


def test_released_reads_colours_in_the_swapped_order_on_both_sides(tmp_path):
    ids = np.array([[7, 7], [3, 13]])  # (220, 220, 0) swapped is nearest to another colour
    (tmp_path / "rgb").mkdir()
    Image.fromarray(CITY[ids]).save(tmp_path / "rgb" / "one.png")
    found = named(
        score_label_maps(tmp_path / "rgb", tmp_path / "rgb", LabelScheme(19, palette=CITY))
    )
    standard = {name for name, v in found["mean_iou"].parts.items() if v is not None}
    released = {name for name, v in found["mean_iou_released"].parts.items() if v is not None}
    assert standard == {"class 3", "class 7", "class 13"}
    assert released != standard
    assert "BGR" in str(found["mean_iou_released"].protocol["read"])


def test_released_reads_colours_as_they_are_where_the_other_side_has_ids(tmp_path):
    palette = np.array([[200, 10, 0], [0, 10, 200]], dtype=np.uint8)
    ids = np.array([[0, 1, 1]], dtype=np.uint8)
    predicted = write_ids(tmp_path / "ids", a=ids)
    truth = tmp_path / "colours"
    truth.mkdir()
    Image.fromarray(palette[ids]).save(truth / "a.png")
    found = named(score_label_maps(truth, predicted, LabelScheme(2, 255, palette)))
    assert found["pixel_accuracy_released"].value == 1.0
    assert "BGR" not in str(found["pixel_accuracy_released"].protocol["read"])


def test_colours_without_a_palette_say_which_flag_is_missing(tmp_path):
    (tmp_path / "rgb").mkdir()
    Image.fromarray(CITY[:4].reshape(2, 2, 3)).save(tmp_path / "rgb" / "one.png")
    with pytest.raises(DataError, match=r"one\.png holds colours, not ids: add --palette"):
        score_label_maps(tmp_path / "rgb", tmp_path / "rgb", LabelScheme(4))


def test_a_palette_file_has_a_line_a_class(tmp_path):
    file = tmp_path / "palette.txt"
    file.write_text("# colours\n128 64 128 road\n\n244, 35, 232\n", encoding="utf-8")
    assert load_palette(str(file)).tolist() == [[128, 64, 128], [244, 35, 232]]
    file.write_text("128 64 128 road\n", encoding="utf-8-sig")  # as editors on Windows save it
    assert load_palette(str(file)).tolist() == [[128, 64, 128]]
    assert load_palette("cityscapes").shape == (20, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n", r"line 1 is '1 2': expected three numbers"),
        ("0 0 0\n1 2 300\n", r"line 2 is '1 2 300'"),
        ("# nothing\n", "holds no colours"),
    ],
)
def test_a_wrong_palette_file_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "palette.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_palette(str(tmp_path / "palette.txt"))


def test_an_unknown_palette_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"neither a known palette \(cityscapes\) nor"):
        load_palette("citiscapes")


@pytest.mark.parametrize("classes", [0, 30])
def test_classes_must_fit_the_palette(truth, classes):
    with pytest.raises(ConfigError, match=f"--classes.*{classes}"):
        score_label_maps(truth, truth, LabelScheme(classes, palette=CITY))


def test_an_id_out_of_range_is_named_with_the_two_flags(truth):
    with pytest.raises(DataError, match=r"m0\.png has the id 3 at .* --classes 3 allows 0 to 2"):
        score_label_maps(truth, truth, LabelScheme(3))
    with pytest.raises(DataError, match=r"m0\.png has the id 255 at 30 pixels.*--ignore 7"):
        score_label_maps(truth, truth, LabelScheme(4, 7))


def test_other_sizes_are_refused(truth, tmp_path):
    small = write_ids(tmp_path / "out", **{f"m{n}": np.zeros((6, 5)) for n in range(4)})
    with pytest.raises(DataError, match=r"out.m0\.png is 5x6 and its truth .*m0\.png 10x12"):
        score_label_maps(truth, small, LabelScheme(4))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("one.jpg", np.uint8, r"one\.jpg is a grey JPEG"),
        ("one.tif", np.float32, "pixels of mode F, which hold no ids"),
    ],
)
def test_a_picture_that_holds_no_ids_is_refused(tmp_path, name, kind, words):
    Image.fromarray(np.zeros((8, 8), kind)).save(tmp_path / name)
    with pytest.raises(DataError, match=words):
        score_label_maps(tmp_path, tmp_path, LabelScheme(4))


def test_nothing_but_ignored_pixels_is_nothing_to_score(tmp_path):
    blank = write_ids(tmp_path / "blank", a=np.full((4, 4), 255), b=np.full((4, 4), 255))
    with pytest.raises(DataError, match=r"every pixel of the 2 label maps .* is 255"):
        score_label_maps(blank, blank, LabelScheme(4))
