import os
from pathlib import Path

import pytest

from i2icli.errors import ConfigError, DataError
from i2icli.translation.sources import find_sources


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def relative(sources):
    return [source.relative.as_posix() for source in sources]


def test_a_folder_is_searched_at_any_depth_for_known_suffixes(tmp_path):
    touch(tmp_path, "b.PNG", "a/deep/c.jpeg", "a/c.tif", "notes.txt", ".hidden.png", "model.pt")
    sources = find_sources(str(tmp_path))
    assert relative(sources) == ["a/c.tif", "a/deep/c.jpeg", "b.PNG"]
    assert [source.path for source in sources] == [tmp_path / name for name in relative(sources)]


def test_links_that_loop_are_followed_once(tmp_path):
    touch(tmp_path, "in/a/x.png", "elsewhere/y.png")
    (tmp_path / "in/a/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "in")
    assert relative(find_sources(str(tmp_path / "in"))) == ["a/x.png", "other/y.png"]
    assert relative(find_sources(str(tmp_path / "in/**/*.png"))) == ["a/x.png", "other/y.png"]


def test_a_link_to_nowhere_is_named_and_not_missed(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert relative(find_sources(str(tmp_path))) == ["gone.png"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["x.png"]),
        ("**/*.png", ["a/b/z.png", "a/y.png", "x.png"]),
        ("**", ["a/b/z.png", "a/w.jpg", "a/y.png", "x.png"]),
        ("a/**/*", ["a/b/z.png", "a/w.jpg", "a/y.png"]),
        ("*/b/*.png", ["a/b/z.png"]),
        ("**/b/**", ["a/b/z.png"]),
        ("a/[wy].*", ["a/w.jpg", "a/y.png"]),
        ("?.png", ["x.png"]),
    ],
)
def test_a_pattern_finds_pictures_and_keeps_their_places(tmp_path, pattern, found):
    touch(tmp_path, "x.png", "a/y.png", "a/w.jpg", "a/b/z.png", "a/b/notes.md")
    sources = find_sources(f"{tmp_path}/{pattern}")
    assert [source.path.relative_to(tmp_path).as_posix() for source in sources] == found
    fixed = "a/" if pattern.startswith("a/") else ""
    assert relative(sources) == [name.removeprefix(fixed) for name in found]


def test_a_name_with_wildcards_that_exists_is_taken_literally(tmp_path):
    touch(tmp_path, "in[1]/x.png", "in1/y.png", "odd*.png")
    assert relative(find_sources(str(tmp_path / "in[1]"))) == ["x.png"]
    assert relative(find_sources(str(tmp_path / "odd*.png"))) == ["odd*.png"]


def test_a_list_places_files_below_the_folder_they_share(tmp_path):
    touch(tmp_path, "set/a/x.png", "set/b/y.png")
    names = tmp_path / "names.txt"
    paths = [tmp_path / "set/b/y.png", tmp_path / "set/a/x.png", tmp_path / "set/b/y.png"]
    names.write_text("\n".join(["", *map(str, paths), "  "]), encoding="utf-8")
    assert relative(find_sources(str(names))) == ["b/y.png", "a/x.png"]


def test_lines_of_standard_input_are_paths_from_the_working_folder(tmp_path, monkeypatch):
    touch(tmp_path, "a/x.png", "b/y.png")
    monkeypatch.chdir(tmp_path)
    sources = find_sources("-", lines=["a/x.png", "b/y.png", "./a/x.png"])
    assert [source.path for source in sources] == [Path("a/x.png"), Path("b/y.png")]
    assert relative(sources) == ["a/x.png", "b/y.png"]
    assert relative(find_sources("-", lines=["a/../b/y.png"])) == ["y.png"]


def test_a_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"names\.txt is not a list of paths"):
        find_sources(str(tmp_path / "names.txt"))


@pytest.mark.parametrize("pattern", ["", "/**/*.png", "/*/*.png", "/out/*.png"])
def test_results_inside_the_input_are_left_out(tmp_path, pattern):
    touch(tmp_path, "in/x.png", "in/a/y.png", "in/out/x.png", "in/out/a/y.png")
    named = f"{tmp_path}/in{pattern}"
    if pattern == "/out/*.png":
        with pytest.raises(DataError):
            find_sources(named, out=tmp_path / "in/out")
        return
    found = relative(find_sources(named, out=tmp_path / "in/out"))
    assert found == [
        name for name in ("a/y.png", "x.png") if name != "x.png" or pattern != "/*/*.png"
    ]


def test_a_results_folder_is_recognised_through_a_link(tmp_path):
    touch(tmp_path, "in/x.png", "in/out/x.png")
    (tmp_path / "alias").symlink_to(tmp_path / "in/out")
    assert relative(find_sources(str(tmp_path / "in"), out=tmp_path / "alias")) == ["x.png"]


@pytest.mark.parametrize("named", ["", "/*.png", "/**/*.jpg", "/missing/*.png", "/list.txt"])
def test_no_picture_at_all_is_an_error_that_says_what_was_expected(tmp_path, named):
    touch(tmp_path, "readme.md")
    (tmp_path / "list.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"no pictures in .*expected files ending in \.bmp, .*\.webp"
    ):
        find_sources(f"{tmp_path}{named}")


def test_a_missing_input_is_a_usage_error(tmp_path):
    with pytest.raises(ConfigError, match=r"gone does not exist"):
        find_sources(str(tmp_path / "gone"))


@pytest.mark.skipif(os.name != "posix", reason="needs file names of bytes")
def test_names_that_are_no_text_are_found(tmp_path):
    touch(tmp_path, os.fsdecode(b"bad\xff.png"))
    assert len(find_sources(str(tmp_path))) == 1


def test_brackets_are_names_before_they_are_patterns(tmp_path):
    touch(tmp_path, "holiday [2020]/a.png", "holiday [2020]/deep/b.png", "holiday 2/no.png")
    touch(tmp_path, "all/x [1]/c.png", "all/x 1/no.png", "all/y [2]1.png", "all/y 2.png")
    for pattern, found in {
        "holiday [2020]/*.png": ["a.png"],
        "holiday [2020]/**/*.png": ["a.png", "deep/b.png"],
        "holiday [2020]/[a-c].png": ["a.png"],
        "*/x [1]/*.png": ["all/x [1]/c.png"],
        "**/x [1]/*.png": ["all/x [1]/c.png"],
        "all/y [2]*.png": ["y [2]1.png"],
        "holiday [[]2020]/*.png": ["holiday [2020]/a.png"],
        "holiday [0-9]/*.png": ["holiday 2/no.png"],
    }.items():
        assert relative(find_sources(str(tmp_path / pattern))) == found, pattern


def test_a_list_with_a_byte_order_mark_is_read(tmp_path):
    touch(tmp_path, "x.png", "y.png")
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbf" + f"{tmp_path}/x.png\r\n{tmp_path}/y.png\r\n".encode())
    assert relative(find_sources(str(names))) == ["x.png", "y.png"]
    lines = names.read_text(encoding="utf-8").splitlines()
    assert relative(find_sources("-", lines=lines)) == ["x.png", "y.png"]
