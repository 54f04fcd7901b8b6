"""A run recognises its pictures by their names, and may gain or lose a cache on its way."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from engine_kit import Watcher, pair_config, send
from plain_data import assert_same

from i2icli.data.folders import Domains
from i2icli.data.pixel_cache import FOLDER
from i2icli.datasets.pixel_cache import build_caches
from i2icli.errors import Interrupted
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.training.data import fingerprint
from i2icli.training.run import resume_run, start_run


def names_digest(paths: list[Path]) -> str:
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
def test_the_fingerprint_hashes_the_names_below_their_common_folder(names: list[str]) -> None:
    paths = [Path(name) for name in names]
    found = fingerprint(Domains(tuple(paths), tuple(paths)))
    assert found["a"] == found["b"] == {"count": len(names), "names": names_digest(paths)}


@pytest.mark.usefixtures("pair")
def test_a_run_goes_on_alike_when_its_cache_goes(picture_root: Path, tmp_path: Path) -> None:
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
