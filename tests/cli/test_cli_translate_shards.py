"""`i2i translate` on shards and in several processes, `i2i data shard`."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from echo import save_fresh
from picture_folders import write_noise
from PIL import Image
from rank_processes import run_ranks

from i2icli.pictures.images import read_picture
from i2icli.pictures.tar_shards import ShardWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.pt"
    save_fresh(path)
    return path


def write_pictures(folder, count=6):
    for number in range(count):
        write_noise(folder / f"{number}.png", 16, 20, seed=number)
    return folder


def content(path):
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def test_a_folder_packed_and_translated_gives_what_the_folder_gives(i2i, i2i_json, run, tmp_path):
    pictures = write_pictures(tmp_path / "in")
    packed = i2i_json("data", "shard", pictures, tmp_path / "shards", "--size", 4)["shards"]
    assert packed == {"shard-000000.tar": 4, "shard-000001.tar": 2}
    assert i2i("translate", run, pictures, tmp_path / "files", "--device", "cpu")[0] == 0
    words = ("translate", run, tmp_path / "shards", tmp_path / "out", "--device", "cpu", "--json")
    code, out, err = i2i(*words)
    document = json.loads(out)
    assert (code, err.splitlines()[-1]) == (0, "found 6, written 6, skipped 0, failed 0")
    assert (document["shards"], document["failures"]) == (2, [])
    assert document["manifest"] == str(tmp_path / "out/manifest.jsonl")
    made = content(tmp_path / "out/shard-000000.tar") | content(tmp_path / "out/shard-000001.tar")
    assert sorted(made) == [f"{number}.png" for number in range(6)]
    for name, data in made.items():
        file = read_picture(tmp_path / "files" / name).pixels
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), file)
    assert i2i(*words)[2].splitlines()[-1] == "found 6, written 0, skipped 6, failed 0"


def test_damaged_pictures_in_shards_are_named_and_the_exit_code_is_3(i2i, run, tmp_path):
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.add({"1.png": b"\x89PNG"})
        writer.add({"2.png": (write_pictures(tmp_path / "p", 1) / "0.png").read_bytes()})
        writer.finish()
    code, _, err = i2i("translate", run, tmp_path / "s.tar", tmp_path / "out", "--device", "cpu")
    assert code == 3
    first, last = err.splitlines()[-2:]
    assert first.startswith(f"failed: {tmp_path}/s.tar/1.png is not a JPEG")
    assert last == "found 2, written 1, skipped 0, failed 1"


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--grid",), "leave --grid out"), (("--suffix", "_b"), "leave --suffix out")],
)
def test_what_shards_cannot_have_is_refused(i2i, run, tmp_path, options, words):
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.finish()
    code, _, err = i2i("translate", run, tmp_path / "s.tar", tmp_path / "out", *options)
    assert code == 2
    assert words in err


def test_an_empty_folder_is_not_packed(i2i, tmp_path):
    (tmp_path / "in").mkdir()
    code, _, err = i2i("data", "shard", tmp_path / "in", tmp_path / "out")
    assert (code, (tmp_path / "out").exists()) == (3, False)
    assert "no pictures in" in err


def test_each_of_several_processes_takes_its_share_and_the_manifest_holds_all(
    i2i, run, tmp_path, monkeypatch
):
    pictures = write_pictures(tmp_path / "in", count=5)
    monkeypatch.setenv("WORLD_SIZE", "2")
    counts = []
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        words = ("translate", run, pictures, tmp_path / "out", "--device", "cpu")
        counts.append(i2i(*words)[2].splitlines()[-1])
    assert counts == [
        "process 1: found 2, written 2, skipped 0, failed 0",
        "process 0: found 3, written 3, skipped 0, failed 0",
    ]
    names = [f"{number}.png" for number in range(5)]
    assert sorted(os.listdir(tmp_path / "out")) == [*names, "manifest.jsonl"]
    lines = (tmp_path / "out/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == names
    assert "skipped 3" in i2i(*words, "--skip-existing")[2]


@pytest.mark.parametrize(
    ("rank", "options", "words"),
    [
        ("0", ("--grid",), "contact sheets need all pictures in one process"),
        ("2", (), "RANK=2 and WORLD_SIZE=2"),
        ("0", ("--nproc", "2"), "leave it out under torchrun"),
    ],
)
def test_several_processes_refuse_what_they_cannot_share(
    i2i, run, tmp_path, monkeypatch, rank, options, words
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    pictures = write_pictures(tmp_path / "in", count=1)
    code, _, err = i2i("translate", run, pictures, tmp_path / "out", *options)
    assert code == 2
    assert words in err


def files_in(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.jsonl"}


def without_times(document):
    return {k: v for k, v in document.items() if k not in ("seconds", "images_per_s")}


def test_two_processes_give_what_one_gives_byte_for_byte(i2i, run, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=9)
    for name in ("3b.png", "x.png"):
        (pictures / name).write_bytes(b"bad")
    documents = []
    for count in (1, 2):
        words = ("translate", run, pictures, tmp_path / "out", "--device", "cpu", "--json")
        code, out, err = i2i(*words, "--nproc", count)
        assert code == 3
        assert err.splitlines()[-1] == "found 11, written 9, skipped 0, failed 2"
        assert err.count("failed: ") == 2
        documents.append(without_times(json.loads(out)))
        (tmp_path / "out").rename(tmp_path / f"out{count}")
    assert documents[0] == documents[1]
    assert files_in(tmp_path / "out1") == files_in(tmp_path / "out2")
    lines = (tmp_path / "out2/manifest.jsonl").read_text().splitlines()
    errors = {entry["path"]: entry["error"] for entry in map(json.loads, lines)}
    assert list(errors) == sorted(errors)
    assert [name for name, error in errors.items() if error] == ["3b.png", "x.png"]


def test_two_processes_give_the_shards_of_one_byte_for_byte(i2i, run, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=7)
    assert i2i("data", "shard", pictures, tmp_path / "shards", "--size", 2)[0] == 0
    (tmp_path / "shards/broken.tar").write_bytes(b"no archive" * 999)
    for count in (1, 2):
        words = ("translate", run, tmp_path / "shards", tmp_path / f"out{count}", "--device", "cpu")
        code, out, _ = i2i(*words, "--nproc", count, "--json")
        document = json.loads(out)
        assert (code, document["shards"], document["written"]) == (3, 4, 7)
        assert [failure["path"] for failure in document["failures"]] == ["broken.tar"]
    assert files_in(tmp_path / "out1") == files_in(tmp_path / "out2")
    again = i2i(*words, "--nproc", 2)
    assert (again[0], again[2].splitlines()[-1]) == (3, "found 8, written 0, skipped 7, failed 1")


def test_checkpoint_that_is_not_there_is_told_once(i2i, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=1)
    code, _, err = i2i("translate", tmp_path / "no.pt", pictures, tmp_path / "out", "--nproc", 2)
    assert code == 2
    assert err.count("no.pt") == 1


needs_signals = pytest.mark.skipif(sys.platform != "linux", reason="needs signals and /proc")
# Ends the process that writes bad.png, as often as OUT's neighbour `kills` says.
_SITE = """
import os, signal, sys
if "work_queue" in " ".join(sys.orig_argv):
    from i2icli.translation import folder
    write = folder.write_picture
    def deadly(path, *args, **options):
        if path.name == "4.png":
            kills = path.parents[1] / "kills"
            left = int(kills.read_text())
            kills.write_text(str(left - 1))
            if left > 0:
                os.kill(os.getpid(), signal.SIGKILL)
        write(path, *args, **options)
    folder.write_picture = deadly
"""


@needs_signals
@pytest.mark.parametrize(("kills", "code", "count"), [(1, 0, 9), (2, 1, 8)])
def test_pictures_of_a_killed_process_are_done_once_more(run, tmp_path, kills, code, count):
    pictures = write_pictures(tmp_path / "in", count=9)
    (tmp_path / "sitecustomize.py").write_text(_SITE)
    (tmp_path / "kills").write_text(str(kills))
    search = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    words = [sys.executable, "-m", "i2icli", "translate", run, pictures, tmp_path / "out"]
    done = subprocess.run(
        [*words, "--device", "cpu", "--nproc", "2"],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, done.stderr
    assert len(list(tmp_path.glob("out/*.png"))) >= count - 1
    if code:
        assert "two processes ended, one after the other, at " in done.stderr
        assert f"{pictures / '4.png'}" in done.stderr
        assert "--skip-existing" in done.stderr
    else:
        assert len(list(tmp_path.glob("out/*.png"))) == count


def start(run, tmp_path, *options):
    """Start a translation in two processes, and return it when the first picture is there."""
    pictures = write_pictures(tmp_path / "in", count=2000)
    words = [sys.executable, "-m", "i2icli", "translate", run, pictures, tmp_path / "out"]
    process = subprocess.Popen(
        [*words, "--device", "cpu", "--nproc", "2", *options], stderr=subprocess.DEVNULL
    )
    _wait(lambda: any(tmp_path.glob("out/*.png")))
    return process


# Makes every process of a test write one picture a thread, and wait then for what does not come.
HELD = """
import threading
from i2icli.translation import folder
write = folder.write_picture
def held(*args, **options):
    write(*args, **options)
    threading.Event().wait()
folder.write_picture = held
"""


@needs_signals
def test_processes_end_with_a_parent_that_is_killed(run, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=2)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(HELD)
    found = os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]])
    words = [sys.executable, "-m", "i2icli", "translate", run, pictures, tmp_path / "out"]
    parent = subprocess.Popen(
        [*words, "--nproc", "2"], stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": found}
    )
    _wait(lambda: len(list(tmp_path.glob("out/*.png"))) == 2)  # one of each process
    assert parent.poll() is None
    parent.kill()
    # The other end of this pipe is held by all of them: it closes when the last one has ended.
    parent.communicate(timeout=300)


@needs_signals
def test_signal_ends_a_translation_in_processes_with_whole_pictures(run, tmp_path):
    process = start(run, tmp_path)
    workers = children(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    made = sorted((tmp_path / "out").iterdir())
    assert 0 < len(made) < 2000
    for path in made:
        if path.suffix == ".png":
            read_picture(path)


def children(pid):
    """Return the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            found.append(int(path.parent.name))
    return found


def _wait(condition, seconds=300):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_processes_of_torchrun_all_finish_and_the_first_alone_tells_of_broken_pictures(
    run, tmp_path
):
    pictures = write_pictures(tmp_path / "in", count=5)
    (pictures / "1.png").write_bytes(b"bad")
    words = ("translate", run, pictures, tmp_path / "out", "--device", "cpu", "--skip-existing")
    for written in (4, 0):  # a restart names what failed again
        first, second = run_ranks([sys.executable, "-m", "i2icli", *words])
        assert (first.code, second.code) == (3, 0), (first, second)
        assert f"failed: {pictures / '1.png'}" in second.err
        total = f"all: found 5, written {written}, skipped {4 - written}, failed 1"
        assert first.err.splitlines()[-1] == total
        lines = (tmp_path / "out/manifest.jsonl").read_text().splitlines()
        entries = {entry["path"]: entry for entry in map(json.loads, lines)}
        assert sorted(entries) == [f"{number}.png" for number in range(5)]
        assert entries["1.png"]["error"] is not None
    assert len(list(tmp_path.glob("out/*.png"))) == 4
