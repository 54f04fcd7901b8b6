"""`i2i translate` on shards and in several processes, `i2i data shard`."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from command_line import run_i2i
from PIL import Image

from i2icli.cli.split_run import sum_documents, without_option
from i2icli.config.document import config_document
from i2icli.methods import build_method, configure_run
from i2icli.pictures.images import read_picture
from i2icli.pictures.tar_shards import ShardWriter
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint

SMALL = ("method.generator.width=4", "method.generator.blocks=1", "method.discriminator.width=4")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.pt"
    config = configure_run("cyclegan", SMALL)
    weights = build_method(config).state_dict()
    save_checkpoint(path, CheckpointState(config=config_document(config), weights=weights, step=0))
    return path


@pytest.fixture
def i2i(monkeypatch, capsys):
    def call(*words):
        code = run_i2i(monkeypatch, *words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def write_pictures(folder, count=6):
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def content(path):
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def test_a_folder_packed_and_translated_gives_what_the_folder_gives(i2i, run, tmp_path):
    pictures = write_pictures(tmp_path / "in")
    code, out, _ = i2i("data", "shard", pictures, tmp_path / "shards", "--size", 4, "--json")
    assert code == 0
    assert json.loads(out)["shards"] == {"shard-000000.tar": 4, "shard-000001.tar": 2}
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
    [
        (("--grid",), "leave --grid out"),
        (("--suffix", "_b"), "leave --suffix out"),
    ],
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


def test_nproc_runs_the_command_in_processes_and_adds_up(i2i, run, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=5)
    (pictures / "bad.png").write_bytes(b"bad")
    words = ("translate", run, pictures, tmp_path / "out", "--device", "cpu", "--nproc", 2)
    code, out, err = i2i(*words, "--json")
    document = json.loads(out)
    assert code == 3
    assert err.splitlines()[-1] == "found 6, written 5, skipped 0, failed 1"
    assert len(document["outputs"]) == 5
    assert [failure["path"] for failure in document["failures"]] == [str(pictures / "bad.png")]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [
        f"{n}.png" for n in range(5)
    ]


def test_a_process_that_fails_is_told_with_its_exit_code(i2i, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=1)
    code, _, err = i2i("translate", tmp_path / "no.pt", pictures, tmp_path / "out", "--nproc", 2)
    assert code == 2
    assert "process 0 ended with code 2. What is finished stays" in err


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


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_processes_end_with_a_launcher_that_is_killed(run, tmp_path):
    pictures = write_pictures(tmp_path / "in", count=2)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(HELD)
    found = os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]])
    words = [sys.executable, "-m", "i2icli", "translate", run, pictures, tmp_path / "out"]
    launcher = subprocess.Popen(
        [*words, "--nproc", "2"],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": found},
    )
    _wait(lambda: len(list(tmp_path.glob("out/*.png"))) == 2)  # one of each process
    assert launcher.poll() is None
    launcher.kill()
    # The other end of this pipe is held by all of them: it closes when the last one has ended.
    launcher.communicate(timeout=300)


def _wait(condition, seconds=300):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_results_are_added_up():
    one = {"found": 2, "written": 2, "failures": [], "manifest": "m", "seconds": 1.0}
    two = {"found": 3, "written": 1, "failures": ["f"], "manifest": "m", "seconds": 2.0}
    total = {"found": 5, "written": 3, "failures": ["f"], "manifest": "m", "seconds": 2.0}
    assert sum_documents([one, two]) == total | {"images_per_s": 1.5}


@pytest.mark.parametrize("given", [["--nproc", "2"], ["--nproc=2"]])
def test_an_option_is_taken_out_of_a_command(given):
    assert without_option(["translate", "a", *given, "b"], "--nproc") == ["translate", "a", "b"]
