"""`i2i eval` of shards, in several processes, with features in a named folder."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from picture_folders import write_pictures

from i2icli.pictures.listing import list_pictures
from i2icli.pictures.tar_shards import pack_folder

# The processes that --nproc starts are to compute with the same small network.
_SITE = """
import sys
if "eval" in sys.orig_argv or "work_queue" in " ".join(sys.orig_argv):
    import pytest
    from stand_in import use_stand_in
    use_stand_in(pytest.MonkeyPatch())
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    for seed, (name, count) in enumerate({"real": 9, "fake": 7}.items()):
        write_pictures(tmp_path / name, seed=seed, count=count)
        out = tmp_path / f"{name}-shards"
        out.mkdir()
        pack_folder(list_pictures(tmp_path / name), tmp_path / name, out, size=3)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_SITE)
    return tmp_path


def measure(place, *words):
    search = [str(place / "site"), os.environ["PYTHONPATH"]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "i2icli", "eval", "--fid", "--kid", "--json"]
    done = subprocess.run(
        [*command, "--device", "cpu", *words],
        env=environment,
        cwd=place,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_shards_in_two_processes_give_the_numbers_of_folders_in_one(place):
    alone = measure(place, "--real", "real", "--fake", "fake")
    shards = ("--real", "real-shards", "--fake", "fake-shards/shard-{000000..000002}.tar")
    found = measure(place, *shards, "--nproc", "2", "--work", "work")
    for name in ("fid", "kid"):
        ours, theirs = found["metrics"][name], alone["metrics"][name]
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-9)
        assert ours["counts"] == theirs["counts"] == {"real": 9, "fake": 7}
        assert ours["protocol"] == theirs["protocol"]
    assert len(list((place / "work").glob("*.npz"))) == 2
    assert not list((place / "work").glob("*.parts"))


def test_features_of_two_processes_are_those_of_one_to_the_bit(place):
    kept = []
    for count in ("1", "2"):
        words = ("--real", "real", "--fake", "fake", "--batch", "2", "--work", f"work{count}")
        numbers = measure(place, *words, "--nproc", count)["metrics"]
        files = sorted((place / f"work{count}").glob("*.npz"))
        rows = [(file.name, np.load(file)["features"].tobytes()) for file in files]
        kept.append((rows, numbers["fid"]["value"], numbers["kid"]["value"]))
    assert kept[0] == kept[1]
    assert len(kept[0][0]) == 2
