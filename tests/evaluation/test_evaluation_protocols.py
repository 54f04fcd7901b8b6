"""The papers' protocols, and the counts that they measure with."""

import numpy as np
import pytest
from PIL import Image

from i2icli.errors import ConfigError
from i2icli.evaluation.protocols import find_protocol, protocols, unexpected_counts, write_resized


def test_every_protocol_says_how_it_measures():
    assert {"cut", "qs-attn", "cyclegan"} <= set(protocols())
    for protocol in protocols().values():
        assert protocol.size == 256
        assert protocol.reals in ("files", "resized")
        assert protocol.filter in ("bicubic", "bilinear")
        assert all((protocol.paper, protocol.choice))
    assert find_protocol("cut").mode == "legacy_pytorch"
    assert find_protocol("clean").mode == "clean"


def test_unknown_protocol_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean qs-attn"):
        find_protocol("qsattn")
    with pytest.raises(ConfigError, match="use cut, qs-attn"):
        find_protocol("zzz")


def test_inputs_are_resized_as_the_released_test_code_does(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    write_resized(tmp_path / "in.png", tmp_path / "out" / "in.png", find_protocol("cut"))
    expected = Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC)
    with Image.open(tmp_path / "out" / "in.png") as written:
        assert np.array_equal(np.asarray(written), np.asarray(expected))


def test_pictures_of_the_right_size_are_left_as_they_are(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    write_resized(tmp_path / "in.png", tmp_path / "out.png", find_protocol("cut"))
    with Image.open(tmp_path / "out.png") as written:
        assert np.array_equal(np.asarray(written), pixels)


def test_counts_other_than_those_of_the_papers_are_said():
    right = {"testA": 120, "testB": 140}
    assert unexpected_counts("horse2zebra", inputs="testA", found=right) == ()
    wrong = {"testA": 119, "testB": 140}
    (said,) = unexpected_counts("horse2zebra", inputs="testA", found=wrong)
    assert said.startswith("testA of horse2zebra has 119 pictures (translated)")
    assert "measure with 120" in said
    assert unexpected_counts("my-photos", inputs="testA", found=wrong) == ()
