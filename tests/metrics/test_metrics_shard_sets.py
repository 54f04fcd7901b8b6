"""Features of shards, and of sets of any kind: killed, restarted, shared out, always each once."""

from __future__ import annotations

import json
import signal
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_folders import write_pictures
from PIL import Image
from rank_processes import run_ranks
from stand_in import look, use_stand_in

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.metrics import cache
from i2icli.metrics.features import extract_features
from i2icli.metrics.picture_sets import describe_set, find_set
from i2icli.metrics.realism import Reading, measure_distances
from i2icli.pictures.tar_shards import pack_folder

CPU = torch.device("cpu")


class Network:
    """Stands for Inception; after `left` pictures it is interrupted."""

    def __init__(self, left=10**9):
        self.seen, self.left = 0, left

    def __call__(self, images):
        if self.seen + len(images) > self.left:
            raise KeyboardInterrupt
        self.seen += len(images)
        return look(images, 16)


@pytest.fixture
def use(monkeypatch, tmp_path):
    def take(left=10**9, home="home"):
        network = Network(left)
        monkeypatch.setenv("I2I_HOME", str(tmp_path / home))
        use_stand_in(monkeypatch, lambda *_: network)
        return network

    take()
    return take


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path / "pictures", seed=3, count=11, side=20)
    return tmp_path / "pictures"


def pack(folder, *, size=4):
    out = folder.with_name(f"{folder.name}-shards")
    out.mkdir()
    pack_folder(find_files(folder), folder, out, size=size)
    return out


def find_files(folder):
    return [path for path in find_set(folder) if isinstance(path, Path)]


def extract(named, **options):
    settings = {"mode": "clean", "device": CPU, "batch_size": 2, **options}
    return extract_features(find_set(named), **settings)


def parts(tmp_path):
    (found,) = (tmp_path / "home/features").glob("*.parts")
    return found


def test_shards_are_the_set_of_the_folder_that_they_came_from(tmp_path, folder):
    shards = pack(folder)
    wanted = describe_set(find_set(folder))
    named = ["", "shard-*.tar", "shard-{000000..000002}.tar"]
    for name in named:
        assert describe_set(find_set(shards / name)) == wanted
    assert describe_set(find_set(shards / "shard-000001.tar")).count == 4


def test_distances_of_shards_are_those_of_folders(tmp_path, use, folder):
    write_pictures(tmp_path / "made", seed=9, count=7, side=20)
    both = ["fid", "kid"]
    expected = measure_distances(folder, tmp_path / "made", both)
    network = use(home="other")
    found = measure_distances(pack(folder), pack(tmp_path / "made"), both)
    assert network.seen == 18
    for name in both:
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-9)
        assert found[name].interval == expected[name].interval
        assert found[name].protocol == expected[name].protocol
        assert found[name].counts == {"real": 11, "fake": 7}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut", "is damaged or incomplete|unexpected end of data"),
        ("header", "is damaged or incomplete at byte"),
        ("text", "is no tar archive"),
        ("link", "is a link, a device or sparse"),
        ("key", "the key 00 comes twice"),
        ("name", "the name 01.png comes twice"),
    ],
)
def test_a_shard_of_which_something_would_be_left_out_is_refused(folder, damage, reason):
    shard = pack(folder, size=2) / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    second = content.index(b"01.png")
    if damage == "cut":
        content = content[: second + 700]
    elif damage == "header":
        content[second] ^= 1
    elif damage == "text":
        content = bytearray(b"no archive" * 200)
    shard.write_bytes(content)
    if damage in ("link", "key", "name"):
        info = tarfile.TarInfo({"link": "9.png", "key": "00.jpg", "name": "01.png"}[damage])
        info.type = tarfile.SYMTYPE if damage == "link" else tarfile.REGTYPE
        with tarfile.open(shard, "a") as archive:
            archive.addfile(info)
    with pytest.raises(DataError, match=reason) as error:
        find_set(shard)
    assert "no number leaves pictures out" in str(error.value)


def test_damaged_pictures_in_shards_are_named(use, folder):
    broken = folder / "05.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"1 of 11 .*shard-000001\.tar/05\.png"):
        describe_set(find_set(pack(folder)))


def test_a_folder_of_shards_and_pictures_is_refused(folder):
    pack(folder).joinpath("shard-000000.tar").rename(folder / "x.tar")
    with pytest.raises(ConfigError, match="holds shards and pictures"):
        find_set(folder)


@pytest.mark.parametrize("is_packed", [True, False])
def test_what_is_interrupted_goes_on_and_computes_nothing_twice(tmp_path, use, folder, is_packed):
    expected = extract(folder, cache=False)
    named = pack(folder) if is_packed else folder
    counts = []
    for left in (4, 0, 2):
        network = use(left)
        with pytest.raises(KeyboardInterrupt):
            extract(named)
        counts.append(network.seen)
    network = use()
    seen = []
    found = extract(named, progress=lambda *told: seen.append(told))
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # batches of other sizes
    assert [*counts, network.seen] == [4, 0, 2, 5]
    assert seen == [(8, 11), (10, 11), (11, 11)]
    assert not list((tmp_path / "home/features").glob("*.parts"))
    assert np.array_equal(extract(named), found)
    assert network.seen == 5


@pytest.mark.parametrize("damage", ["one bit", "cut off", "half a line", "foreign"])
def test_only_parts_that_are_whole_count(tmp_path, use, folder, damage):
    expected = extract(folder, cache=False)
    use(8)
    with pytest.raises(KeyboardInterrupt):
        extract(folder)
    manifest = parts(tmp_path) / "manifest.jsonl"
    (rows,) = parts(tmp_path).glob("rows-*.f32")
    content = bytearray(rows.read_bytes())
    if damage == "one bit":
        content[5] ^= 1
        rows.write_bytes(content)
    elif damage == "cut off":
        rows.write_bytes(content[:-1])
    elif damage == "half a line":
        manifest.write_bytes(manifest.read_bytes()[:-30])
    else:
        entry = {"block": "x", "file": "/etc/passwd", "at": 0, "pictures": [99], "crc32": 0}
        manifest.write_text(json.dumps(entry) + "\nnull\n" + manifest.read_text())
    network = use()
    np.testing.assert_allclose(extract(folder), expected, rtol=1e-5)  # batches of other sizes
    assert network.seen == (3 if damage == "foreign" else 5)


def test_features_of_made_pictures_stay_until_they_are_measured(tmp_path, use, folder):
    write_pictures(tmp_path / "made", seed=9, count=6, side=20)
    reading = Reading(batch_size=2, keeps_fake=False)
    use(11 + 4)
    with pytest.raises(KeyboardInterrupt):
        measure_distances(folder, tmp_path / "made", ["fid"], reading)
    network = use()
    measure_distances(folder, tmp_path / "made", ["fid"], reading)
    assert network.seen == 2
    assert len(list((tmp_path / "home/features").iterdir())) == 1  # those of the real ones


def test_a_named_folder_keeps_all_features(tmp_path, use, folder):
    write_pictures(tmp_path / "made", seed=9, count=6, side=20)
    reading = Reading(batch_size=2, keeps_fake=False, work=tmp_path / "work")
    measure_distances(folder, tmp_path / "made", ["fid"], reading)
    assert len(list((tmp_path / "work").glob("*.npz"))) == 2
    assert not (tmp_path / "home").exists()
    network = use()
    measure_distances(folder, tmp_path / "made", ["fid"], reading)
    assert network.seen == 0


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path, use, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(I2IError, match="features cannot be kept in .*file.*--work"):
        extract(folder, work=tmp_path / "file")


def test_without_a_place_for_features_they_stay_in_memory(tmp_path, use, folder):
    (tmp_path / "home").write_text("")
    assert np.array_equal(extract(folder), extract(folder, cache=False))


def test_pictures_that_change_meanwhile_are_told(tmp_path, use, folder):
    def change(done, _):
        if done == 4:
            Image.new("RGB", (20, 20), "white").save(folder / "03.png")

    with pytest.raises(DataError, match="changed while they were looked at"):
        extract(folder, progress=change)
    assert not list((tmp_path / "home/features").iterdir())


def test_many_features_stay_on_disk_and_give_the_same_numbers(tmp_path, use, folder, monkeypatch):
    write_pictures(tmp_path / "made", seed=9, count=6, side=20)
    expected = measure_distances(folder, tmp_path / "made", ["fid", "kid"])
    monkeypatch.setattr(cache, "MAPPED_FROM", 1)
    assert isinstance(extract(folder), np.memmap)
    found = measure_distances(folder, tmp_path / "made", ["fid", "kid"])
    assert {name: replace(m, about={}) for name, m in found.items()} == {
        name: replace(m, about={}) for name, m in expected.items()
    }


_RANK = """
import os, signal, sys, torch
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
import numpy as np, pytest
from test_metrics_shard_sets import Network
from i2icli.metrics import features
from i2icli.metrics.picture_sets import find_set
from i2icli.system.shares import joined_processes
from stand_in import use_stand_in
network = Network()
def build(*_):
    def run(images):
        if os.environ.get("DIE_AT") == f"{os.environ['RANK']}:{network.seen}":
            os.kill(os.getpid(), signal.SIGKILL)
        return network(images)
    return run
use_stand_in(pytest.MonkeyPatch(), build)
with joined_processes() as process:
    rows = features.extract_features(
        find_set(Path(sys.argv[2])), mode="clean", device=torch.device("cpu"), batch_size=2,
        workers=1, process=process
    )
    np.savez(f"{sys.argv[3]}-{process.rank}.npz", rows=rows, seen=network.seen)
"""


def in_processes(named, result, *, count, die_at=""):
    command = [sys.executable, "-c", _RANK, Path(__file__).parent, named, result]
    return [one.code for one in run_ranks(command, count=count, timeout=120, DIE_AT=die_at)]


def test_killed_processes_are_continued_by_another_number_of_them(tmp_path, use, folder):
    expected = extract(folder, cache=False)
    named = pack(folder)
    codes = in_processes(named, tmp_path / "first", count=2, die_at="1:2")
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0
    done = sum(len(json.loads(line)["pictures"]) for line in _lines(parts(tmp_path)))
    assert done == 6 + 2  # all of the first process, one batch of the one that was killed
    assert in_processes(named, tmp_path / "last", count=1) == [0]
    found = np.load(tmp_path / "last-0.npz")
    assert int(found["seen"]) == 3
    np.testing.assert_allclose(found["rows"], expected, rtol=1e-5)  # batches of other sizes


def test_metrics_that_match_names_refuse_shards(use, folder):
    from i2icli.metrics.choose import Settings, Subject, choose_metrics
    from i2icli.pictures.label_maps import LabelScheme

    shards = pack(folder)
    subject = Subject(outputs=shards, reals=folder, inputs=folder, truth=folder)
    for name in ("lpips", "structure", "diversity", "seg"):
        with pytest.raises(DataError, match=r"stands for shards.*unpack them with tar"):
            choose_metrics([name], subject, Settings(labels=LabelScheme(3, 255, None)))


def _lines(folder):
    return [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
