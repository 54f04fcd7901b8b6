"""`i2i eval` on label maps and on styles: what it prints, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from i2icli.cli.app import app
from i2icli.errors import ConfigError, DataError, I2IError, WeightsError


@pytest.fixture
def maps(tmp_path):
    """Keep two label maps, one of two predictions wrong in a quarter; 9 is ignored."""
    truth = np.array([[0, 0, 1, 1], [0, 0, 1, 9]], np.uint8)
    wrong = truth.copy()
    wrong[:, 0] = 1
    for folder, name, ids in (
        ("truth", "a", truth),
        ("truth", "b", truth),
        ("out", "a", truth),
        ("out", "b", wrong),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(ids).save(tmp_path / folder / f"{name}.png")
    return str(tmp_path / "truth"), str(tmp_path / "out")


def evaluate(*words):
    result = CliRunner().invoke(app, ["eval", *words])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fault(*words):
    error = CliRunner().invoke(app, ["eval", *words]).exception
    assert isinstance(error, I2IError)
    return error


def test_label_maps_are_scored_in_both_conventions(maps):
    truth, out = maps
    words = ("--seg", "--real", truth, "--fake", out, "--classes", "3", "--ignore", "9")
    metrics = json.loads(evaluate(*words, "--json"))["metrics"]
    assert metrics["pixel_accuracy"]["value"] == pytest.approx(12 / 14)
    assert metrics["pixel_accuracy_released"]["value"] == pytest.approx(12 / 16)
    assert metrics["mean_iou"]["value"] == pytest.approx((6 / 8 + 6 / 8) / 2)
    assert metrics["mean_iou_released"]["value"] == pytest.approx((6 / 8 + 6 / 8) / 3)
    assert metrics["mean_iou"]["parts"] == {"class 0": 0.75, "class 1": 0.75, "class 2": None}
    assert metrics["mean_iou"]["counts"] == {"pairs": 2}
    assert metrics["mean_iou"]["about"] == {"truth": truth, "predicted": out}
    text = evaluate(*words)
    assert "MEAN_IOU 0.75" in text
    assert "PIXEL_ACCURACY_RELEASED 0.75" in text


def test_label_maps_are_scored_only_on_demand(maps):
    truth, out = maps
    error = fault("--real", truth, "--fake", out)
    assert isinstance(error, WeightsError)  # of the distances, which are all that is possible


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seg", "--real", "TRUTH", "--fake", "OUT"), "add --classes N"),
        (("--seg", "--fake", "OUT", "--classes", "3"), "add --real DIR"),
        (("--seg", "--classes", "3"), "--seg --real TRUE --fake PREDICTED"),
        (("--seg", "--real", "TRUTH", "--fake", "OUT", "--classes", "0"), "--classes is 0"),
        (("--fid", "--real", "TRUTH", "--fake", "OUT", "--ignore", "9"), "--ignore 9 .* add --seg"),
        (("--fid", "--real", "TRUTH", "--fake", "OUT", "--palette", "x"), "--palette x .* --seg"),
        (("--styles", "4"), "i2i eval RUN --diversity --styles N"),
        (("--diversity", "--styles", "4", "--fake", "FAKE"), "i2i eval RUN --diversity --styles N"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(maps, words, message):
    places = {"TRUTH": maps[0], "OUT": maps[1]}
    error = fault(*(places.get(word, word) for word in words))
    assert isinstance(error, ConfigError)
    with pytest.raises(ConfigError, match=message):
        raise error


def test_wrong_maps_are_an_error_of_data(maps):
    error = fault("--seg", "--real", maps[0], "--fake", maps[1], "--classes", "3")
    assert isinstance(error, DataError)
    assert "--ignore 255" in str(error)


def test_diversity_without_weights_says_which(maps):
    error = fault("--diversity", "--fake", maps[1], "--net", "vgg")
    assert isinstance(error, WeightsError)
    assert "i2i weights get vgg16" in str(error)
