"""Listings of large folders are kept, and never trusted after a change."""

import pytest

from i2icli.pictures import listing
from i2icli.pictures.listing import list_names


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small tree that counts as large and long unchanged."""
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(listing, "_WORTH_KEEPING", 1)
    monkeypatch.setattr(listing, "_YOUNG_SECONDS", float("-inf"))
    for name in ("a.png", "x/b.jpg", "x/y/\udcff.png"):
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "set"


def kept(tree):
    return sorted((tree.parent / "home").rglob("*.json"))


def scans(monkeypatch):
    """Record the folders that are walked through."""
    walked = []
    real = listing._scan

    def scan(top):
        walked.append(top)
        return real(top)

    monkeypatch.setattr(listing, "_scan", scan)
    return walked


def test_an_unchanged_tree_is_not_walked_again(tree, monkeypatch):
    walked = scans(monkeypatch)
    first = list_names(tree)
    assert first == ["a.png", "x/b.jpg", "x/y/\udcff.png"]
    assert list_names(tree) == first
    assert walked == [str(tree)]


def test_a_file_that_comes_goes_or_changes_its_name_is_noticed(tree):
    list_names(tree)
    (tree / "x/y/new.png").touch()
    assert "x/y/new.png" in list_names(tree)
    (tree / "x/b.jpg").unlink()
    assert "x/b.jpg" not in list_names(tree)
    (tree / "a.png").rename(tree / "c.png")
    assert list_names(tree)[0] == "c.png"


def test_a_folder_that_is_replaced_by_another_is_noticed(tree):
    list_names(tree)
    (tree / "x").rename(tree.parent / "old")
    (tree / "x").mkdir()
    assert list_names(tree) == ["a.png"]


def test_a_file_replaced_in_place_keeps_the_listing(tree):
    before = list_names(tree)
    (tree / "a.png").write_bytes(b"other")
    assert list_names(tree) == before


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "other folder"])
def test_a_broken_listing_is_ignored(tree, harm):
    before = list_names(tree)
    (file,) = kept(tree)
    content = file.read_bytes()
    broken = {
        "cut": content[:-3],
        "changed": content.replace(b"a.png", b"b.png"),
        "empty": b"",
        "other folder": content.replace(str(tree).encode(), b"/elsewhere"),
    }
    file.write_bytes(broken[harm])
    assert list_names(tree) == before
    assert file.read_bytes() == content  # and written anew


def test_a_folder_that_changed_just_now_is_not_kept(tree, monkeypatch):
    monkeypatch.setattr(listing, "_YOUNG_SECONDS", 3600.0)
    list_names(tree)
    assert kept(tree) == []


def test_a_tree_with_links_is_not_kept_since_their_targets_change_alone(tree):
    (tree / "link.png").symlink_to(tree.parent / "later.png")
    assert list_names(tree)[1] == "link.png"
    assert kept(tree) == []


def test_small_folders_are_not_kept(tree, monkeypatch):
    monkeypatch.setattr(listing, "_WORTH_KEEPING", 4)
    list_names(tree)
    assert kept(tree) == []


def test_a_home_that_cannot_be_written_is_no_fault(tree, monkeypatch):
    (tree.parent / "file").touch()
    monkeypatch.setenv("I2I_HOME", str(tree.parent / "file"))
    assert len(list_names(tree)) == 3


@pytest.mark.parametrize(
    ("count", "kept"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (20, list(range(10)))]
)
def test_evenly_spaced_items_include_both_ends(count, kept):
    assert listing.evenly_spaced(range(10), count=count) == tuple(kept)
