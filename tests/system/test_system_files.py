"""Files and folders that are there whole, or as they were before."""

import os
from pathlib import Path

import pytest

from i2icli.errors import ConfigError
from i2icli.system.files import WholeFile, link_whole, remove_leftovers, whole_folder, write_whole

BOTH = pytest.mark.parametrize("is_shared", [False, True])


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@BOTH
@pytest.mark.parametrize("content", ["sch\u00f6n", "sch\u00f6n".encode()], ids=["text", "bytes"])
def test_a_file_is_replaced_by_what_is_written(tmp_path, content, is_shared):
    (tmp_path / "a").write_text("before")
    write_whole(tmp_path / "a", content, is_shared=is_shared, is_synced=True)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "sch\u00f6n"
    assert names(tmp_path) == ["a"]


@BOTH
@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, fault, is_shared):
    def fail():
        with WholeFile(tmp_path / "a", is_shared=is_shared) as stream:
            stream.write(b"half")
            raise fault

    (tmp_path / "a").write_text("before")
    with pytest.raises(fault):
        fail()
    assert (tmp_path / "a").read_text() == "before"
    assert names(tmp_path) == ["a"]


def test_two_processes_may_write_one_shared_file(tmp_path):
    with WholeFile(tmp_path / "a", is_shared=True) as one:
        one.write(b"one")
        write_whole(tmp_path / "a", b"other", is_shared=True)
    assert (tmp_path / "a").read_bytes() == b"one"


@BOTH
def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path, is_shared):
    path = tmp_path / ("\u00fc" * 127)
    write_whole(path, "x", is_shared=is_shared)
    assert path.read_text() == "x"


def test_leftovers_of_one_file_or_of_all_are_removed(tmp_path):
    for name in (".a.1-ab.partial", ".b.1-ab.partial", ".b.partial", "c.partial"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "a")
    assert names(tmp_path) == [".b.1-ab.partial", ".b.partial", "c.partial"]
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["c.partial"]


def test_a_link_replaces_a_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    link_whole(tmp_path / "a", tmp_path / "b")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["a", "b"]


def test_a_folder_appears_at_the_end(tmp_path):
    with whole_folder(tmp_path / "deep" / "out") as fresh:
        (fresh / "x").touch()
        assert not (tmp_path / "deep/out").exists()
    assert names(tmp_path / "deep") == ["out"]
    assert names(tmp_path / "deep/out") == ["x"]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_folder_that_fails_leaves_what_was_there(tmp_path, is_replaced):
    (tmp_path / "out").mkdir()
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", is_replaced=is_replaced):
        raise ZeroDivisionError
    assert names(tmp_path) == ["out"]


def test_a_folder_is_replaced_unless_another_process_was_faster(tmp_path):
    for name in ("one", "other"):
        with whole_folder(tmp_path / "out", is_replaced=True) as fresh:
            (fresh / name).touch()
    with whole_folder(tmp_path / "out", is_replaced=True, is_current=lambda: True) as fresh:
        (fresh / "late").touch()
    assert names(tmp_path / "out") == ["other"]
    assert names(tmp_path) == ["out"]


def test_a_folder_that_cannot_make_way_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(13, "denied")

    with (
        pytest.raises(ConfigError, match="out cannot be replaced; remove it"),
        whole_folder(tmp_path / "out", is_replaced=True),
    ):
        monkeypatch.setattr(Path, "rename", refuse)


def test_a_part_of_a_folder_can_take_its_name(tmp_path):
    with whole_folder(tmp_path / "out", top=lambda fresh: fresh / "top") as fresh:
        (fresh / "top").mkdir()
        (fresh / "top" / "x").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["x"]
