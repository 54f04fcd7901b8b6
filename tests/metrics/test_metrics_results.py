"""Numbers with their protocol, and which of them may stand side by side."""

import json

import pytest

from i2icli.errors import ConfigError
from i2icli.metrics.results import Interval, Measurement

FID = Measurement(
    "fid",
    45.5,
    Interval(40.0, 51.0, 0.95, "infinitesimal jackknife"),
    counts={"real": 140, "fake": 120},
    protocol={"mode": "clean", "fake_sizes": "256x256"},
    about={"checkpoint": "runs/a/checkpoints/last.pt", "weights_sha256": "f58c"},
    parts={"standard_error": 2.8},
    warnings=("few pictures",),
)


def test_document_holds_all_that_is_said_of_the_number():
    document = json.loads(json.dumps(FID.as_document()))
    interval = Interval(**document.pop("interval"))
    document["warnings"] = tuple(document["warnings"])
    assert Measurement("fid", interval=interval, **document) == FID


def test_numbers_of_other_checkpoints_are_comparable():
    FID.comparable_with(FID.with_facts(about={"checkpoint": "runs/b/checkpoints/best.pt"}))


def test_unlike_protocols_are_refused_and_every_difference_named():
    other = Measurement(
        "fid",
        50.0,
        counts={"real": 140, "fake": 100},
        protocol={"mode": "legacy_pytorch", "fake_sizes": "256x256", "protocol": "x"},
    )
    with pytest.raises(ConfigError) as error:
        FID.comparable_with(other)
    text = str(error.value)
    assert "mode is clean in one and legacy_pytorch in the other" in text
    assert "N fake is 120 in one and 100 in the other" in text
    assert "protocol is not said in one and x in the other" in text
    assert "fake_sizes" not in text


def test_different_metrics_are_refused():
    with pytest.raises(ConfigError, match="fid and kid are different metrics"):
        FID.comparable_with(Measurement("kid", 0.1))
