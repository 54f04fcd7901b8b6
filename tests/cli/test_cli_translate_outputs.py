"""`i2i translate` with methods that give more than one picture."""

import json

import numpy as np
import pytest
from many_sided import configure_tiny, many_sided, names_in
from picture_folders import write_noise
from PIL import Image
from plain_data import assert_same_picture
from run_kit import save_untrained

from i2icli.pictures.images import read_picture
from i2icli.translation.translator import load_translator


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the working folder: checkpoints of small methods, pictures to translate, styles."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("in/a.jpg", "in/b.png", "looks/red.png", "looks/blue.jpg")):
        write_noise(tmp_path / name, 20, 24, seed=seed)
    with many_sided():
        for name in ("tiny-styled", "tiny-masked", "tiny-segmenter"):
            config = configure_tiny(name, labels={"classes": 4})
            save_untrained(tmp_path / f"{name[5:]}.pt", config)
        yield tmp_path


@pytest.fixture
def i2i(i2i, place):
    return lambda *words: i2i("translate", *words, "--device", "cpu")


def test_the_same_random_styles_for_every_picture(i2i, place):
    code, _, err = i2i("styled.pt", "in", "out", "--styles", 2, "--seed", 7)
    assert (code, err.splitlines()[-1]) == (0, "found 2, written 2, skipped 0, failed 0")
    names = ["a_style1.png", "a_style2.png", "b_style1.png", "b_style2.png"]
    assert names_in(place / "out") == names
    translator = load_translator(place / "styled.pt", device="cpu")
    for stem, source in (("a", "in/a.jpg"), ("b", "in/b.png")):
        for number, style in enumerate(translator.styles(2, 7), start=1):
            wanted = np.asarray(translator.translate(source, style=style))
            made = read_picture(place / "out" / f"{stem}_style{number}.png").pixels
            assert_same_picture(made, wanted)


def test_another_seed_gives_other_styles_and_none_is_seed_0(i2i, place):
    for out, options in {"none": (), "0": ("--seed", 0), "1": ("--seed", 1)}.items():
        assert i2i("styled.pt", "in", out, "--styles", 1, *options)[0] == 0
        assert names_in(place / out) == ["a_style1.png", "b_style1.png"]
    none, zero, one = ((place / n / "a_style1.png").read_bytes() for n in ("none", "0", "1"))
    assert none == zero != one


def test_ten_styles_are_numbered_so_that_they_sort(i2i, place):
    assert i2i("styled.pt", "in/a.jpg", "out", "--styles", 10)[0] == 0
    assert names_in(place / "out") == [f"a_style{number:02d}.png" for number in range(1, 11)]


def test_without_options_there_is_one_output_in_the_default_style(i2i, place):
    assert i2i("styled.pt", "in", "out")[0] == 0
    assert names_in(place / "out") == ["a.png", "b.png"]
    plain = read_picture(place / "in" / "b.png").pixels  # the default adds nothing
    assert np.array_equal(read_picture(place / "out" / "b.png").pixels, plain)


def test_styles_of_pictures_and_of_folders_of_them(i2i, place):
    assert i2i("styled.pt", "in/b.png", "one", "--style-from", "looks/red.png")[0] == 0
    assert names_in(place / "one") == ["b_red.png"]
    both = ("--style-from", "looks/red.png", "--style-from", "looks/blue.jpg")
    assert i2i("styled.pt", "in", "two", *both)[0] == 0
    assert i2i("styled.pt", "in", "folder", "--style-from", "looks")[0] == 0
    names = ["a_blue.png", "a_red.png", "b_blue.png", "b_red.png"]
    assert names_in(place / "two") == names_in(place / "folder") == names
    translator = load_translator(place / "styled.pt", device="cpu")
    style = translator.encode_style(place / "looks" / "red.png")
    wanted = np.asarray(translator.translate(place / "in" / "b.png", style=style))
    for out in ("one", "two", "folder"):
        assert_same_picture(read_picture(place / out / "b_red.png").pixels, wanted)


def test_one_picture_goes_to_files_called_after_the_one_that_is_named(i2i, place):
    assert i2i("styled.pt", "in/a.jpg", "new/x.webp", "--styles", 2)[0] == 0
    assert names_in(place / "new") == ["x_style1.webp", "x_style2.webp"]
    assert i2i("masked.pt", "in/a.jpg", "masks/x.jpg", "--masks", "--suffix", "")[0] == 0
    assert names_in(place / "masks") == ["x.jpg", "x_bright.png", "x_dark.png"]


def test_json_has_an_entry_an_output_and_counts_pictures(i2i, place):
    (place / "in" / "c.png").write_bytes(b"nothing")
    code, out, _ = i2i("styled.pt", "in", "out", "--styles", 2, "--json", "--grid")
    document = json.loads(out)
    assert code == 3
    assert [document[key] for key in ("found", "written", "failed")] == [3, 2, 1]
    assert document["outputs"][:3] == [
        {"path": "in/a.jpg", "output": "out/a_style1.png"},
        {"path": "in/a.jpg", "output": "out/a_style2.png"},
        {"path": "in/b.png", "output": "out/b_style1.png"},
    ]
    assert document["grids"] == ["out/grid-001.png"]
    (place / "in" / "c.png").unlink()
    document = json.loads(i2i("masked.pt", "in/b.png", "masks", "--masks", "--json")[1])
    assert document["outputs"] == [
        {
            "path": "in/b.png",
            "output": "masks/b.png",
            "masks": ["masks/b_bright.png", "masks/b_dark.png"],
        }
    ]


def test_existing_sets_are_left_and_partly_written_ones_made_anew(i2i, place):
    options = ("styled.pt", "in", "out", "--styles", 2, "--skip-existing")
    assert "written 2, skipped 0" in i2i(*options)[2]
    assert "written 0, skipped 2" in i2i(*options)[2]
    (place / "out" / "a_style2.png").unlink()
    assert "written 1, skipped 1" in i2i(*options)[2]
    assert len(names_in(place / "out")) == 4


def test_masks_are_written_only_when_they_are_asked_for(i2i, place):
    assert i2i("masked.pt", "in", "plain")[0] == 0
    assert names_in(place / "plain") == ["a.png", "b.png"]
    assert i2i("masked.pt", "in", "out", "--masks", "--format", "jpg", "--suffix", "_x")[0] == 0
    names = ["a_x.jpg", "a_x_bright.png", "a_x_dark.png"]
    assert names_in(place / "out") == names + [f"b{name[1:]}" for name in names]


def test_label_maps_are_palette_png_with_the_colours_of_the_run(i2i, place):
    assert i2i("segmenter.pt", "in", "out", "--grid")[0] == 0
    assert names_in(place / "out") == ["a.png", "b.png", "grid-001.png"]
    made = load_translator(place / "segmenter.pt", device="cpu").translate_full("in/a.jpg")
    with Image.open(place / "out" / "a.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), made.labels)
        assert np.array_equal(np.asarray(image.convert("RGB")), made.pixels)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("masked.pt", "in", "out", "--styles", 2), 2, "method has no styles, it makes one"),
        (("masked.pt", "in", "out", "--style-from", "looks"), 2, "method has no styles"),
        (
            ("styled.pt", "in", "out", "--styles", 2, "--style-from", "looks"),
            2,
            "leave one of them out",
        ),
        (("styled.pt", "in", "out", "--seed", 3), 2, "--seed 3 is of random styles: add --styles"),
        (("styled.pt", "in", "out", "--styles", 0), 2, "should be greater than or equal to 1"),
        (("styled.pt", "in", "out", "--style-from", "gone.png"), 2, "gone.png does not exist"),
        (("styled.pt", "in", "out", "--style-from", "styled.pt"), 3, "styled.pt is not a"),
        (
            ("styled.pt", "in", "out", "--style-from", "looks", "--style-from", "looks/red.png"),
            2,
            "two outputs of a.jpg would be called a_red.png: rename a picture of --style-from",
        ),
        (("styled.pt", "in", "out", "--masks"), 2, "tiny-styled makes no masks: leave --masks out"),
        (("segmenter.pt", "in", "out", "--format", "jpg"), 2, "written as png, which keeps the"),
        (("segmenter.pt", "in/a.jpg", "out/x.webp"), 2, "ids: webp is not possible"),
    ],
)
def test_what_a_method_does_not_make_is_refused_before_anything_is_written(
    i2i, place, arguments, code, message
):
    ended, out, err = i2i(*arguments)
    assert (ended, out) == (code, "")
    assert message in " ".join(err.split())
    assert not (place / "out").exists()
