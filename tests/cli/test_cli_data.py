"""`i2i data` as typed: results on stdout, exit codes, JSON."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from picture_folders import write_noise
from typer.testing import CliRunner

from i2icli.cli.data import data_app
from i2icli.cli.progress import progress_bar
from i2icli.errors import ConfigError, DataError, WeightsError


def run(*arguments, code=0):
    """Run `i2i data ...` and return what it printed on stdout."""
    result = CliRunner().invoke(data_app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def run_json(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code))


@pytest.fixture
def folders(tmp_path):
    for number in range(10):
        write_noise(tmp_path / "ab"[number % 2] / f"{number // 2}.png", seed=number)
    return tmp_path / "a", tmp_path / "b"


def test_demo_is_made_and_scored(tmp_path):
    made = run_json("demo", tmp_path / "set", "--size", 32, "--count", 5)
    assert made["counts"] == {"trainA": 5, "trainB": 5, "testA": 1, "testB": 1}
    score = run_json("demo", tmp_path / "set", "--score", tmp_path / "set/testA_truth")
    assert score["translation"] == {"inside": 0.0, "outside": 0.0, "total": 0.0}
    assert score["identity"]["inside"] > 0.1
    text = run("demo", tmp_path / "set", "--score", tmp_path / "set/testA").splitlines()
    assert [line.split()[0] for line in text[2:]] == ["translations", "untranslated"]
    assert text[2].split()[1:] == text[3].split()[1:]


def test_demo_prints_its_folder_alone_on_stdout(tmp_path):
    printed = run("demo", tmp_path / "set", "--size", 32, "--count", 1)
    assert printed == f"{tmp_path / 'set'}\n"


def test_demo_options_need_a_folder_of_their_own():
    with pytest.raises(ConfigError, match="i2i data demo OUT"):
        run("demo", "--size", 64)


def test_prepare_check_and_stats_go_together(folders, tmp_path):
    out = tmp_path / "out"
    made = run_json("prepare", *folders, "--out", out, "--test-count", 1)
    assert made["counts"] == {"testA": 1, "testB": 1, "trainA": 4, "trainB": 4}
    assert run("check", out, "--crop", 16).splitlines()[-1] == "Ready to train."
    stats = run_json("stats", out, "--preset", "cut", "--seconds-per-step", 0.5)
    assert stats["plan"]["steps"] == 1600
    assert stats["plan"]["hours"] == pytest.approx(1600 * 0.5 / 3600)
    assert stats["parts"]["trainA"]["width"] == 16
    assert "hours: unknown" in run("stats", out)


def test_a_cache_is_made_with_the_set_or_later(folders, tmp_path):
    out = tmp_path / "out"
    made = run_json("prepare", *folders, "--out", out, "--test-count", 1, "--cache", 20)
    assert made["counts"]["trainA"] == 4
    arguments = ("cache", out, "--preset", "cut", "--set", "data.crop=16", "--set")
    again = run_json(*arguments, "data.resize=20")
    # With jitter it is there; the half without it resizes to the crop.
    assert [(one["step"].split(",")[0], one["was_there"]) for one in again] == [
        ("20 x 20", True),
        ("16 x 16", False),
        ("20 x 20", True),
        ("16 x 16", False),
    ]
    assert again[0]["pictures"] == 4
    text = run(*arguments, "data.resize=24").splitlines()
    assert "4 pictures, 24 x 24, bicubic, colour, 0 MB, written" in text[0]
    assert text[-1] == "Training on this folder uses it by itself where the settings agree."


def test_a_cache_of_unreadable_pictures_ends_with_3(folders, tmp_path):
    out = tmp_path / "out"
    run("prepare", *folders, "--out", out, "--copy")
    (out / "trainA/1.png").write_bytes(b"x")
    made = run_json("cache", out, "--preset", "cyclegan", code=3)
    assert "1.png" in made[0]["failed"][0]


def test_check_of_plain_folders_ends_with_3_on_unreadable_files(folders):
    (folders[0] / "0.png").write_bytes(b"x")
    arguments = ("check", "--domain-a", folders[0], "--domain-b", folders[1], "--crop", 16)
    report = run_json(*arguments, code=3)
    assert report["verdict"] == "unusable"
    assert report["corrupt"] == [str(folders[0] / "0.png")]
    assert "Not ready" in run(*arguments, code=3).splitlines()[-1]


def test_long_lists_are_cut_in_text_and_whole_in_json(tmp_path):
    for number in range(12):
        write_noise(tmp_path / "a" / f"{number}.png", 8, 8, seed=number)
        write_noise(tmp_path / "b" / f"{number}.png", 8, 8, seed=20 + number)
    arguments = ("check", "--domain-a", tmp_path / "a", "--domain-b", tmp_path / "b")
    assert "and 16 more (--json lists all)" in run(*arguments)
    (finding,) = run_json(*arguments)["findings"]
    assert len(finding["files"]) == 24


def test_prepare_with_unreadable_pictures_ends_with_3(folders, tmp_path):
    (folders[1] / "3.png").write_bytes(b"x")
    arguments = ("prepare", *folders, "--out", tmp_path / "out", "--resize", 8, "--exact")
    made = run_json(*arguments, code=3)
    assert made["written"] == 9
    assert "3.png" in made["failed"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare"], "Give A_DIR and B_DIR, or --paired DIR, or --video FILE"),
        (["prepare", "a", "b"], "--out is missing"),
        (["prepare", "a", "--out", "x"], "B_DIR is missing"),
        (["prepare", "a", "b", "--out", "x", "--exact"], "--exact needs --resize"),
        (["prepare", "a", "b", "--out", "x", "--cache", "2"], "--cache takes 4 to 16384 pixels"),
        (["prepare", "--video", "v", "--out", "x", "--cache", "9"], "and a set with trainA"),
        (["cache", ".", "--preset", "danet"], "trains on labelled data"),
        (["prepare", "a", "b", "--out", "x", "--paired", "c"], "Give A_DIR and B_DIR"),
        (["prepare", "--paired", "c", "--out", "x", "--layout", "ab"], "--layout is 'ab'"),
        (["check"], "Give a folder with trainA and trainB"),
        (["check", "x", "--domain-a", "y"], "Give a folder with trainA and trainB"),
        (["check", "--domain-a", "y"], "are given together"),
        (["get"], "i2i data get --list"),
    ],
)
def test_wrong_calls_say_what_to_give(arguments, words):
    with pytest.raises(ConfigError, match=words):
        run(*arguments)


def test_pairs_are_prepared(tmp_path):
    for number in range(3):
        write_noise(tmp_path / "pairs" / f"{number}.png", 8, 16, seed=number)
    out = tmp_path / "out"
    made = run_json("prepare", "--paired", tmp_path / "pairs", "--test-count", 1, "--out", out)
    assert made["counts"]["testA_truth"] == 1


def test_a_video_without_its_file_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        run("prepare", "--video", tmp_path / "none.mp4", "--out", tmp_path / "frames")
    assert not list(tmp_path.iterdir())


def test_get_lists_what_is_registered():
    sets = {entry["name"]: entry for entry in run_json("get", "--list")}
    assert sets["horse2zebra"]["counts"] == [1067, 1334, 120, 140]
    assert sets["grumpifycat"]["size"] is None
    assert "cityscapes" in run("get", "--list")


def test_get_unpacks_an_archive_and_warns_of_other_counts(tmp_path, folders):
    with zipfile.ZipFile(tmp_path / "h.zip", "w") as archive:
        for part, folder in zip(("trainA", "trainB"), folders, strict=True):
            archive.write(folder / "0.png", f"horse2zebra/{part}/0.png")
    arguments = ("get", "horse2zebra", "--from", tmp_path / "h.zip", "--out", tmp_path / "out")
    got = run_json(*arguments)
    assert got["counts"] == {"trainA": 1, "trainB": 1, "testA": 0, "testB": 0}
    assert "1067 are registered" in got["differences"][0]
    assert run(*arguments).startswith("horse2zebra was here already")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["get", "horse2zebra", "--offline", "--out", "nowhere"], WeightsError),
        (["get", "zebra2hors"], ConfigError),
        (["get", "maps", "--from", "none.zip", "--out", "nowhere"], DataError),
        (["check", "nowhere"], DataError),
    ],
)
def test_failures_have_their_exit_codes(arguments, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        run(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_progress_bar_shows_on_a_terminal_only(monkeypatch, capsys):
    with progress_bar("working") as report:
        assert report is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for is_bytes in (False, True):
        with progress_bar("working", is_bytes=is_bytes) as report:
            report(1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "working" in captured.err


def test_help_needs_neither_torch_nor_numpy_nor_pillow():
    code = (
        "import sys; import i2icli.cli.data;"
        "print([m for m in ('torch', 'numpy', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def files_of(folder):
    """Return the contents of all files below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_two_processes_check_as_one_does(folders):
    first, second = folders
    (first / "bad.jpg").write_bytes(b"bad")
    words = ("check", "--domain-a", first, "--domain-b", second)
    found = [run_json(*words, *more, code=3) for more in ((), ("--nproc", 2), ("--workers", 2))]
    assert found[0] == found[1] == found[2]


def test_two_processes_make_the_cache_of_one(folders, tmp_path):
    out = tmp_path / "out"
    run("prepare", *folders, "--out", out, "--copy")
    (out / "trainA/1.png").write_bytes(b"x")
    made = []
    for count in (1, 2):
        words = ("cache", out, "--preset", "cyclegan", "--nproc", count)
        caches = [Path(cache["folder"]) for cache in run_json(*words, code=3)]
        made.append([files_of(cache) for cache in caches])
        for cache in caches:
            shutil.rmtree(cache)
    assert made[0] == made[1]
    assert all(made[0])


def test_two_processes_pack_the_shards_of_one(folders, tmp_path):
    for count in (1, 2):
        run("shard", folders[0], tmp_path / f"out{count}", "--size", 2, "--nproc", count)
    assert files_of(tmp_path / "out1") == files_of(tmp_path / "out2")
