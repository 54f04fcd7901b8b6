from pathlib import Path

import numpy as np
import pytest

from i2icli.config.sections import DataConfig, data_at, data_overrides
from i2icli.data.folders import find_domains
from i2icli.data.held_out import HeldOut, find_held_out, held_out_folders
from i2icli.errors import DataError
from i2icli.pictures.images import write_picture
from i2icli.pictures.listing import list_pictures


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path.with_suffix(".png"), np.zeros((4, 4, 3), np.uint8))
        path.with_suffix(".png").rename(path)


def names(folder):
    return [path.relative_to(folder).as_posix() for path in list_pictures(folder)]


@pytest.fixture
def layout(tmp_path):
    root = tmp_path / "set"
    for part in ("trainA", "trainB", "testA", "testB", "testA_truth", "testA_mask"):
        touch(root / part, f"{part}.png")
    return root


def test_pictures_are_found_by_suffix_in_any_case_and_depth(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "x/y/c.WebP", "x/d.tif", "e.jpeg", "f.bmp", "g.TIFF", "h.gif")
    (tmp_path / "notes.txt").write_text("no picture")
    assert names(tmp_path) == [
        "a.png", "b.JPG", "e.jpeg", "f.bmp", "g.TIFF", "h.gif", "x/d.tif", "x/y/c.WebP",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (("._a.jpg", ".cache/b.png", "c.png"), ["c.png"]),
        (("x.png/a.png",), ["x.png/a.png"]),
        (("a b.png", "\u00fc[1]*.png", "\u99ac.png"), ["a b.png", "\u00fc[1]*.png", "\u99ac.png"]),
    ],
    ids=["hidden files and folders are left out", "x.png is a folder", "beyond ASCII"],
)
def test_odd_names_are_listed_unless_hidden(tmp_path, files, found):
    touch(tmp_path, *files)
    assert names(tmp_path) == found


def test_looping_links_are_followed_once(tmp_path):
    touch(tmp_path / "in", "one/a.png", "two/b.png")
    (tmp_path / "in/one/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/two/again").symlink_to(tmp_path / "in/two")
    assert names(tmp_path / "in") == ["one/a.png", "two/b.png"]


def test_a_linked_folder_elsewhere_is_entered_and_real_folders_come_first(tmp_path):
    touch(tmp_path, "outside/a.png", "in/z/b.png")
    (tmp_path / "in/link").symlink_to(tmp_path / "outside")
    (tmp_path / "in/also").symlink_to(tmp_path / "in/z")
    assert names(tmp_path / "in") == ["link/a.png", "z/b.png"]


def test_the_given_folder_may_be_a_link(tmp_path):
    touch(tmp_path, "real/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_pictures(tmp_path / "link") == [tmp_path / "link/a.png"]


def test_broken_links_are_listed_so_that_reading_names_them(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    assert names(tmp_path) == ["a.png", "b.png"]


def test_a_missing_folder_suggests_the_nearest(tmp_path):
    (tmp_path / "horses").mkdir()
    with pytest.raises(DataError, match=r"hores does not exist; did you mean .*horses\?"):
        list_pictures(tmp_path / "hores")


def test_a_file_instead_of_a_folder_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(DataError, match="a is a file, not a folder"):
        list_pictures(tmp_path / "a")


@pytest.mark.parametrize(("direction", "order"), [("a2b", "AB"), ("b2a", "BA")])
def test_the_layout_gives_all_parts_in_either_direction(layout, direction, order):
    domains = find_domains(DataConfig(root=str(layout), direction=direction))
    for name, letter in zip("ab", order, strict=True):
        for kind in ("train", "test"):
            (path,) = getattr(domains, f"{kind}_{name}")
            assert path == layout / f"{kind}{letter}/{kind}{letter}.png"
    assert domains.root == layout


def test_what_belongs_to_test_pictures_lies_beside_them(layout):
    data = DataConfig(root=str(layout))
    folders = [layout / name for name in ("testA", "testB", "testA_truth", "testA_mask")]
    assert find_held_out(data) == HeldOut(*folders, root=layout)
    assert find_held_out(data, direction="b2a") == HeldOut(*folders[1::-1], root=layout)
    swapped = DataConfig(root=str(layout), direction="b2a")
    assert find_held_out(swapped) == HeldOut(*folders[1::-1], root=layout)
    assert find_held_out(swapped, direction="b2a") == HeldOut(*folders, root=layout)


def test_another_folder_takes_the_place_of_every_kind_of_data(layout):
    plain = DataConfig(domain_a="a", domain_b="b", test_a="c", test_b="d", crop=64)
    assert held_out_folders(plain, direction="b2a") == HeldOut(Path("d"), Path("c"))
    assert find_held_out(plain, root=layout).inputs == layout / "testA"
    moved = plain.model_copy(update=data_at(layout))
    assert moved == DataConfig(root=str(layout), crop=64)
    assert f"data.root={layout}" in data_overrides(layout)
    assert "data.test_a=null" in data_overrides(layout)


def test_test_pictures_are_optional(tmp_path):
    touch(tmp_path, "trainA/a.png", "trainB/b.png")
    domains = find_domains(DataConfig(root=str(tmp_path)))
    assert (domains.test_a, domains.test_b) == ((), ())


def test_plain_folders_are_all_training(tmp_path):
    touch(tmp_path, "cats/a.png", "dogs/b.png", "more/c.png")
    cats, dogs, more = (str(tmp_path / name) for name in ("cats", "dogs", "more"))
    domains = find_domains(DataConfig(domain_a=cats, domain_b=dogs, test_a=more))
    assert [path.name for path in domains.train_a + domains.train_b] == ["a.png", "b.png"]
    assert [path.name for path in domains.test_a] == ["c.png"]
    assert (domains.test_b, domains.root) == ((), None)


def test_a_wrong_layout_says_what_is_there_and_what_to_type(tmp_path):
    touch(tmp_path, "train_a/a.png", "trainB/b.png", "zebras/b.png")
    with pytest.raises(DataError) as caught:
        find_domains(DataConfig(root=str(tmp_path)))
    assert str(caught.value) == (
        f"{tmp_path} has no folder trainA (is it train_a?): expected trainA and trainB, and testA "
        "and testB for test pictures; found trainB, train_a, zebras. "
        "Rename, or build the layout with `i2i data prepare A/ B/ --out DIR`"
    )


def test_an_empty_root_is_said_to_hold_no_folders(tmp_path):
    with pytest.raises(DataError, match="has no folder trainA: .* found no folders"):
        find_domains(DataConfig(root=str(tmp_path)))


def test_a_missing_root_suggests_the_nearest(layout):
    with pytest.raises(DataError, match=r"seet does not exist; did you mean .*set\?"):
        find_domains(DataConfig(root=str(layout.parent / "seet")))


def test_an_empty_training_folder_names_the_suffixes(tmp_path):
    touch(tmp_path, "trainA/a.png")
    (tmp_path / "trainB").mkdir()
    (tmp_path / "trainB/readme.txt").write_text("soon")
    with pytest.raises(DataError, match=r"no pictures in .*trainB .* \.bmp, \.gif, \.jpeg, \.jpg"):
        find_domains(DataConfig(root=str(tmp_path)))


def test_a_configuration_without_data_is_the_callers_mistake():
    with pytest.raises(ValueError, match="resolve the demo set first"):
        find_domains(DataConfig())
