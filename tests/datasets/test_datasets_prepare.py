"""`i2i data prepare`: the layout from folders, pairs and videos, whole or not at all."""

import builtins
import os

import numpy as np
import pytest
from PIL import Image

from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_domains
from i2icli.datasets.pairs import prepare_pairs
from i2icli.datasets.placing import Resize, resize_pixels, unique_names
from i2icli.datasets.prepare import SplitRule, prepare_folders
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.frames import extract_frames
from i2icli.pictures.images import read_picture, write_picture


def draw(path, value=0, size=(6, 4)):
    """Write a picture of one value with (width, height) `size`."""
    write_picture(path, np.full((size[1], size[0], 3), value, np.uint8))
    return path


def tree(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def value(path):
    return int(read_picture(path).pixels[0, 0, 0])


@pytest.fixture
def sources(tmp_path):
    for number in range(10):
        draw(tmp_path / "horses" / f"h{number}.png", number)
        draw(tmp_path / "zebras" / f"z{number}.png", 100 + number)
    return tmp_path / "horses", tmp_path / "zebras"


def test_folders_become_the_layout_that_training_reads(sources, tmp_path):
    result = prepare_folders(*sources, tmp_path / "out", rule=SplitRule(fraction=0.2))
    assert result.counts == {"testA": 2, "testB": 2, "trainA": 8, "trainB": 8}
    assert (result.linked, result.copied, result.written) == (20, 0, 0)
    domains = find_domains(DataConfig(root=str(tmp_path / "out")))
    assert len(domains.train_a) == 8
    everything = {path.name for path in (*domains.train_a, *domains.test_a)}
    assert everything == {f"h{number}.png" for number in range(10)}


def test_links_share_the_file_and_copies_do_not(sources, tmp_path):
    prepare_folders(*sources, tmp_path / "links")
    copied = prepare_folders(*sources, tmp_path / "copies", transfer="copy")
    assert copied.copied == 20
    for name, is_link in (("links", True), ("copies", False)):
        (made,) = (tmp_path / name).rglob("h1.png")
        assert os.path.samefile(made, sources[0] / "h1.png") is is_link
        assert made.read_bytes() == (sources[0] / "h1.png").read_bytes()


def test_copies_are_made_where_links_are_not_possible(sources, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert prepare_folders(*sources, tmp_path / "out").copied == 20


def test_split_depends_on_the_seed_and_the_names_alone(sources, tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        prepare_folders(*sources, tmp_path / name, rule=SplitRule(count=4, seed=seed))
    assert tree(tmp_path / "one") == tree(tmp_path / "again")
    assert tree(tmp_path / "one") != tree(tmp_path / "other")
    tests = {name for name in tree(tmp_path / "one") if name.startswith("testA")}
    # One more picture moves at most one other out of the test part.
    draw(sources[0] / "new.png")
    prepare_folders(*sources, tmp_path / "more", rule=SplitRule(count=4, seed=1))
    assert len(tests & tree(tmp_path / "more")) >= 3


@pytest.mark.parametrize(
    ("rule", "total", "number"),
    [
        (SplitRule(0.1), 100, 10),
        (SplitRule(0.1), 3, 1),
        (SplitRule(0.0), 10, 0),
        (SplitRule(0.1), 1, 0),
        (SplitRule(count=5), 3, 2),
        (SplitRule(count=0), 3, 0),
    ],
)
def test_number_of_test_pictures_leaves_one_for_training(rule, total, number):
    assert rule.number(total) == number


def test_nested_names_that_collide_stay_apart(tmp_path):
    paths = [tmp_path / name for name in ("a/1.png", "b/1.png", "b/2.png", "a_1.png", "c/1.PNG")]
    names = unique_names(paths, tmp_path)
    assert [names[path] for path in paths] == [
        "a_1-2.png", "b_1.png", "2.png", "a_1.png", "c_1.PNG",
    ]  # fmt: skip


def test_names_that_differ_in_their_suffix_alone_stay_apart_as_png(tmp_path):
    paths = [tmp_path / name for name in ("1.jpg", "1.png", "2.jpg")]
    assert sorted(unique_names(paths, tmp_path, suffix=".png").values()) == [
        "1-2.png", "1.png", "2.png",
    ]  # fmt: skip


def test_nested_pictures_all_arrive(tmp_path):
    for number, name in enumerate(("a/1.png", "b/1.png", "b/c/1.png")):
        draw(tmp_path / "src" / name, number)
    draw(tmp_path / "B" / "x.png")
    prepare_folders(tmp_path / "src", tmp_path / "B", tmp_path / "out", rule=SplitRule(0.0))
    arrived = (tmp_path / "out" / "trainA").iterdir()
    assert {path.name: value(path) for path in arrived} == {
        "a_1.png": 0, "b_1.png": 1, "b_c_1.png": 2,
    }  # fmt: skip


def test_resized_cache_trains_like_the_originals(tmp_path):
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (31, 47, 3), dtype=np.uint8)
    write_picture(tmp_path / "A" / "1.jpg", original)
    draw(tmp_path / "B" / "1.png")
    prepare_folders(
        tmp_path / "A", tmp_path / "B", tmp_path / "out", rule=SplitRule(0.0),
        resize=Resize(20, "exact"),
    )  # fmt: skip
    with Image.open(tmp_path / "A" / "1.jpg") as image:
        expected = np.asarray(image.resize((20, 20), Image.Resampling.BICUBIC))
    assert np.array_equal(read_picture(tmp_path / "out/trainA/1.png").pixels, expected)


@pytest.mark.parametrize(
    ("size", "result"), [((60, 40), (30, 20)), ((40, 61), (20, 30)), ((12, 18), (12, 18))]
)
def test_shorter_side_is_scaled_down_and_never_up(size, result):
    assert Resize(20).size(*size) == result


def test_resizing_keeps_sixteen_bits_and_transparency(tmp_path):
    deep = np.full((8, 8, 1), 40_000, np.uint16)
    assert resize_pixels(deep, (4, 4)).dtype == np.uint16
    assert set(resize_pixels(deep, (4, 4)).ravel()) == {40_000}
    alpha = np.full((8, 8), 128, np.uint8)
    write_picture(tmp_path / "A" / "1.png", np.zeros((8, 8, 3), np.uint8), alpha=alpha)
    draw(tmp_path / "B" / "1.png")
    prepare_folders(
        tmp_path / "A", tmp_path / "B", tmp_path / "out", rule=SplitRule(0.0), resize=Resize(4)
    )
    kept = read_picture(tmp_path / "out/trainA/1.png").alpha
    assert kept.shape == (4, 4)
    assert set(kept.ravel()) == {128}


def test_unreadable_pictures_are_left_out_of_a_cache_and_named(sources, tmp_path):
    (sources[0] / "h3.png").write_bytes(b"not a picture")
    result = prepare_folders(*sources, tmp_path / "out", resize=Resize(4))
    assert len(result.failed) == 1
    assert "h3.png" in result.failed[0]
    assert result.written == 19


def test_nothing_is_overwritten_and_nothing_is_left_of_a_failure(sources, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="is not empty and nothing is overwritten"):
        prepare_folders(*sources, tmp_path / "used")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="hold no pictures"):
        prepare_folders(sources[0], tmp_path / "empty", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "horses", "used", "zebras"]


def test_places_that_would_mix_are_refused(sources, tmp_path):
    with pytest.raises(ConfigError, match="lies inside"):
        prepare_folders(*sources, sources[0] / "out")
    with pytest.raises(ConfigError, match="given as both domains"):
        prepare_folders(sources[0], sources[0], tmp_path / "out")


@pytest.mark.parametrize(
    ("rule", "words"),
    [(SplitRule(1.0), "--test-fraction is 1"), (SplitRule(count=-1), "--test-count is -1")],
)
def test_impossible_splits_are_refused(rule, words, sources, tmp_path):
    with pytest.raises(ConfigError, match=words):
        prepare_folders(*sources, tmp_path / "out", rule=rule)


@pytest.fixture
def halves(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for number in range(count):
            pixels = np.zeros((4, 8, 3), np.uint8)
            pixels[:, :4], pixels[:, 4:] = 10 + number, 200 + number
            write_picture(tmp_path / "pairs" / part / f"{number}.png", pixels)
    return tmp_path / "pairs"


@pytest.mark.parametrize(
    ("layout", "first", "second"), [("side-by-side-ab", 10, 200), ("side-by-side-ba", 200, 10)]
)
def test_halves_become_domains_and_the_split_that_is_there_stays(
    layout, first, second, halves, tmp_path
):
    result = prepare_pairs(halves, tmp_path / "out", layout=layout)
    expected = {"trainA": 3, "trainB": 3, "testA": 2, "testB": 2, "testA_truth": 2}
    assert result.counts == expected
    for number in range(2):
        name = f"{number}.png"
        assert value(tmp_path / "out/testA" / name) == first + number
        assert value(tmp_path / "out/testA_truth" / name) == second + number
        assert read_picture(tmp_path / "out/testA" / name).size == (4, 4)


def test_pairs_without_a_split_get_one(halves, tmp_path):
    result = prepare_pairs(
        halves / "train", tmp_path / "out", layout="side-by-side-ab", rule=SplitRule(count=1)
    )
    assert (result.counts["trainA"], result.counts["testA_truth"]) == (2, 1)


def test_a_pair_without_equal_halves_is_named(halves, tmp_path):
    draw(halves / "train" / "odd.png", size=(7, 4))
    result = prepare_pairs(halves, tmp_path / "out", layout="side-by-side-ab")
    assert result.counts["trainA"] == 3
    assert "odd.png is 7 pixels wide" in result.failed[0]


def test_folders_of_pairs_match_by_name_and_say_who_is_alone(tmp_path):
    for number in range(4):
        draw(tmp_path / "pairs/A" / f"{number}.png", number)
        draw(tmp_path / "pairs/B" / f"{number}.bmp", 100 + number)
    draw(tmp_path / "pairs/A/alone.png")
    result = prepare_pairs(
        tmp_path / "pairs", tmp_path / "out", layout="folders", rule=SplitRule(count=1)
    )
    assert result.counts == {"trainA": 3, "trainB": 3, "testA": 1, "testB": 1, "testA_truth": 1}
    assert result.unmatched == (str(tmp_path / "pairs/A/alone.png"),)
    (test,) = (tmp_path / "out/testA").iterdir()
    assert value(tmp_path / "out/testA_truth" / test.name) == 100 + value(test)


def test_folders_of_pairs_keep_their_split(tmp_path):
    for letter in "AB":
        for part in ("train", "val"):
            draw(tmp_path / "pairs" / letter / part / "1.png")
    result = prepare_pairs(tmp_path / "pairs", tmp_path / "out", layout="folders")
    assert set(result.counts.values()) == {1}
    assert (tmp_path / "out/testA/1.png").exists()


@pytest.mark.parametrize(
    ("layout", "names", "words"),
    [
        ("folders", ["x/1.png"], "has no folder A"),
        ("folders", ["A/1.png", "B/2.png"], "pairs have equal names"),
        ("side-by-side-ab", ["1.png"], "No pair in .* could be used"),
    ],
)
def test_pairs_that_are_none_are_refused(layout, names, words, tmp_path):
    for name in names:
        draw(tmp_path / "pairs" / name, size=(7, 4))
    with pytest.raises(DataError, match=words):
        prepare_pairs(tmp_path / "pairs", tmp_path / "out", layout=layout)
    assert not (tmp_path / "out").exists()


def test_a_video_without_its_extra_names_it(tmp_path, monkeypatch):
    load = builtins.__import__

    def without_av(name, *rest, **options):
        if name == "av":
            raise ImportError(name)
        return load(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_av)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"pip install 'i2icli\[video\]'"):
        extract_frames(tmp_path / "a.mp4", tmp_path / "out")


@pytest.fixture
def video(tmp_path):
    """Film 12 frames that grow lighter."""
    av = pytest.importorskip("av", reason="needs the extra `video`")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for number in range(12):
            pixels = np.full((16, 32, 3), 20 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_every_nth_frame_is_written(video, tmp_path):
    assert extract_frames(video, tmp_path / "frames", every=5) == 3
    frames = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in frames] == [f"clip_{number:06d}.png" for number in (0, 5, 10)]
    assert [round(value(path) / 20) for path in frames] == [0, 5, 10]
    assert read_picture(frames[0]).size == (32, 16)


def test_a_video_is_a_domain_and_its_last_frames_are_for_testing(video, tmp_path):
    for number in range(4):
        draw(tmp_path / "B" / f"{number}.png")
    result = prepare_folders(
        video, tmp_path / "B", tmp_path / "out", rule=SplitRule(fraction=0.25), every=3
    )
    assert result.counts == {"testA": 1, "testB": 1, "trainA": 3, "trainB": 3}
    assert [path.name for path in (tmp_path / "out/testA").iterdir()] == ["clip_000009.png"]


def test_what_is_no_video_is_named(tmp_path):
    pytest.importorskip("av", reason="needs the extra `video`")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4 cannot be decoded"):
        extract_frames(tmp_path / "a.mp4", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        extract_frames(tmp_path / "b.mp4", tmp_path / "out")
    with pytest.raises(ConfigError, match="--every is 0"):
        extract_frames(tmp_path / "a.mp4", tmp_path / "out", every=0)
