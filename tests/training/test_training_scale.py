"""The note about training at another scale than translating."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2icli.config.sections import DataConfig
from i2icli.training.data import scale_note


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(np.zeros((60, 64, 3), np.uint8)).save(path)
    return paths


@pytest.mark.parametrize(
    "values",
    [
        {"resize": 72, "crop": 64},
        {"resize": 72, "crop": 64, "jitter_in_decay": False},
        {"resize": 72, "crop": 32},
        {"resize": 32, "crop": 16, "preprocess": "crop"},
        {"resize": 45, "crop": 32, "preprocess": "scale-shorter-and-crop"},  # of a height of 60
    ],
)
def test_nothing_is_said_where_the_scales_agree(pictures: list[Path], values: dict) -> None:
    assert scale_note(DataConfig(**values), pictures) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"resize": 36, "crop": 32}, r"at 0\.56 of their size \(36 of 64 pixels\)"),
        ({"resize": 128, "crop": 64}, r"at 2 of their size \(128 of 64 pixels\)"),
        ({"resize": 72, "crop": 32, "jitter_in_decay": False}, r"at 0\.5 of their size"),
    ],
)
def test_another_scale_is_named_with_both_sizes(
    pictures: list[Path], values: dict, words: str
) -> None:
    note = scale_note(DataConfig(**values), pictures)
    assert note is not None
    assert re.search(words, note)


def test_unreadable_pictures_are_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no picture")
    assert scale_note(DataConfig(resize=16, crop=16), [broken]) is None
