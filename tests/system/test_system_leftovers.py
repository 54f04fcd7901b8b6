"""What killed processes leave is removed by the next write beside it; what live ones have stays."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from i2icli.errors import ConfigError
from i2icli.system import files
from i2icli.system.files import (
    WholeFile,
    filled_folder,
    next_number,
    temporary_folder,
    whole_folder,
    write_whole,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from i2icli.system.files import {name}
with {call} as made:
    (Path({content!r}) if {content!r} else made).joinpath("half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
linux = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and folder locks")


@pytest.fixture(autouse=True)
def _not_swept(monkeypatch):
    monkeypatch.setattr(files, "_swept", set())


def kill_within(name, call, content=""):
    code = KILLED.format(name=name, call=call, content=content)
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -9


@linux
def test_a_folder_that_was_being_made_is_removed_and_said(tmp_path, said):
    kill_within("whole_folder", f"whole_folder(Path({str(tmp_path / 'out')!r}))")
    assert len(list(tmp_path.glob(".out.*.partial"))) == 1
    with whole_folder(tmp_path / "out") as fresh:
        (fresh / "a").touch()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert len(said) == 1
    assert said[0].startswith(f"removed from {tmp_path} what a command that was killed left: .out.")


@linux
def test_a_shared_file_that_was_being_written_is_removed(tmp_path):
    for number in range(3):
        name = tmp_path / f".{number}.png.4000000-0123456{number}.partial"
        name.write_bytes(b"half")
    write_whole(tmp_path / "new.png", b"whole", is_shared=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["new.png"]


@linux
def test_what_a_living_process_has_stays(tmp_path):
    with whole_folder(tmp_path / "out") as fresh:
        os.utime(fresh, (0, 0))
        with WholeFile(tmp_path / "a.png", is_shared=True):
            pass
        files._swept.clear()
        with WholeFile(tmp_path / "b.png", is_shared=True):
            pass
        assert fresh.is_dir()


def test_other_hidden_files_stay(tmp_path):
    for name in (".mine.partial", ".cache", ".a.1-ab.partial"):
        (tmp_path / name).touch()
    write_whole(tmp_path / "new.png", b"whole", is_shared=True)
    assert len(list(tmp_path.iterdir())) == 4


@linux
def test_a_folder_that_was_being_filled_is_emptied(tmp_path, said):
    out = tmp_path / "out"
    kill_within("filled_folder", f"filled_folder(Path({str(out)!r}))", str(out))
    assert (out / "half").exists()
    with filled_folder(out):
        assert not (out / "half").exists()
        (out / "whole").touch()
    assert [entry.name for entry in out.iterdir()] == ["whole"]
    assert said == [f"emptying {out}, which a command that was killed left unfinished"]
    with pytest.raises(ConfigError, match="is not empty"), filled_folder(out):
        pass


@linux
def test_a_temporary_folder_of_a_killed_process_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kill_within("temporary_folder", "temporary_folder('i2i-x')")
    assert len(list(tmp_path.iterdir())) == 1
    with temporary_folder("i2i-x") as folder:
        assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]
    assert not list(tmp_path.iterdir())


def test_numbers_go_on_and_count_what_is_being_written(tmp_path):
    assert next_number(tmp_path, "compare") == tmp_path / "compare-001"
    (tmp_path / "compare-007").mkdir()
    with whole_folder(tmp_path / "compare-008"):
        assert next_number(tmp_path, "compare") == Path(tmp_path / "compare-009")
