import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from engine_kit import Watcher, pair_config, send
from PIL import Image
from plain_data import assert_same

from i2icli.config.sections import DataConfig
from i2icli.data.folders import Domains
from i2icli.data.pixel_cache import FOLDER
from i2icli.datasets.pixel_cache import build_caches
from i2icli.errors import Interrupted
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.training.data import fingerprint, scale_note
from i2icli.training.run import resume_run, start_run


def names_digest(paths):
    """Return the digest by its definition, with paths resolved the slow way."""
    base = os.path.commonpath([path.parent for path in paths])
    names = sorted(Path(os.path.relpath(path, base)).as_posix() for path in paths)
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()


@pytest.mark.parametrize(
    "names",
    [
        ["/set/trainA/b.png", "/set/trainA/a.png"],
        ["/set/trainA/x/b.png", "/set/trainA/y/z/a.png", "/set/trainA/c.png"],
        ["/set/trainA/x/b.png"],
        ["/a.png", "/x/b.png"],
        ["x/b.png", "a.png"],
        ["../set/b.png", "../set/y/a.png"],
        ["/set/x/../b.png", "/set/y/a..png"],
        ["/set/\udcff.png", "/set/\u00e4.png"],
    ],
)
def test_the_fingerprint_hashes_the_names_below_their_common_folder(names):
    paths = [Path(name) for name in names]
    found = fingerprint(Domains(tuple(paths), tuple(paths)))
    assert found["a"] == found["b"] == {"count": len(names), "names": names_digest(paths)}


@pytest.mark.usefixtures("pair")
def test_a_run_goes_on_alike_when_its_cache_goes(picture_root, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(picture_root, root)
    config = pair_config(root, steps=5)
    start_run(config, run_dir=tmp_path / "files")
    build_caches(config.data)
    watcher = Watcher(at=2, act=send(15))
    with pytest.raises(Interrupted):
        start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    assert f"note: training pictures come from the cache in {root / FOLDER}" in watcher.notes
    shutil.rmtree(root / FOLDER)
    resume_run(tmp_path / "run")
    ends = [
        load_checkpoint(tmp_path / name / "checkpoints/last.pt").weights
        for name in ("files", "run")
    ]
    assert_same(*ends)


@pytest.fixture
def pictures(tmp_path):
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
        {"resize": 50, "crop": 32, "preprocess": "scale-shorter-and-crop"},  # of a height of 60
    ],
)
def test_nothing_is_said_where_the_scales_agree(pictures, values):
    assert scale_note(DataConfig(**values), pictures) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"resize": 36, "crop": 32}, r"at 0\.58 of their size \(36 of 62 pixels\)"),
        ({"resize": 128, "crop": 64}, r"at 2\.1 of their size \(128 of 62 pixels\)"),
        (
            {"resize": 72, "crop": 32, "jitter_in_decay": False},
            r"at 0\.52 of their size \(32 of 62 pixels\) while the learning rate decays",
        ),
        (
            {"resize": 45, "crop": 32, "preprocess": "scale-shorter-and-crop"},
            r"at 0\.75 of their size \(45 of 60 pixels\)",
        ),
    ],
)
def test_another_scale_is_named_with_both_sizes(pictures, values, words):
    note = scale_note(DataConfig(**values), pictures)
    assert note is not None
    assert re.search(words, note)


def test_unreadable_pictures_are_left_out(tmp_path):
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no picture")
    assert scale_note(DataConfig(resize=16, crop=16), [broken]) is None
