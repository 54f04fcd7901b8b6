"""The scale of training in every verb that sends pictures through a checkpoint."""

import json

import numpy as np
import pytest
from echo import SMALL
from picture_folders import write_noise
from PIL import Image
from run_kit import LAYERS, save_untrained
from stand_in import use_stand_in

from i2icli.methods import configure_run
from i2icli.pictures.images import read_picture
from i2icli.reports.pictures import show_entropy
from i2icli.translation.translator import load_translator
from i2icli.viz.grid import draw_grid, lay_out
from i2icli.viz.tiles import describe_rows, read_rows

SEEN = {domain: {"count": 3, "names": "", "side": 72} for domain in "ab"}
SAID = "training showed whole pictures of 72 at 36 pixels (geometric mean of the sides)"


@pytest.fixture
def data(tmp_path):
    """Return a data set of pictures twice as large as training showed them."""
    for folder, first in (("testA", 0), ("testB", 10)):
        for number in range(3):
            path = tmp_path / "data" / folder / f"{number}.png"
            write_noise(path, 72, 72, seed=first + number)
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path, data):
    sizes = ("data.resize=36", "data.crop=32", f"data.root={data}")
    config = configure_run("qs-attn-global", [*SMALL, *LAYERS, *sizes])
    folder = tmp_path / "run-001"
    save_untrained(folder / "checkpoints" / "last.pt", config, step=5, epoch=1, data=SEEN)
    (folder / "config.toml").write_text("")
    return folder


@pytest.fixture
def wanted(run, data):
    """Return the translations by the scale of training and without, one a picture."""
    translator = load_translator(run, device="cpu")
    pictures = [read_picture(path) for path in sorted((data / "testA").iterdir())]
    auto, none = (
        [made.pixels for made in translator.translate(pictures, scale=scale)]
        for scale in (0.5, "none")
    )
    assert not any(np.array_equal(one, other) for one, other in zip(auto, none, strict=True))
    return auto, none


def pixels_of(folder):
    return [read_picture(path).pixels for path in sorted(folder.glob("*.png"))]


def assert_all_equal(made, wanted):
    assert len(made) == len(wanted)
    assert all(np.array_equal(one, other) for one, other in zip(made, wanted, strict=True))


@pytest.mark.parametrize(
    ("words", "is_auto"),
    [((), True), (("--scale", "none"), False), (("--scale", "0.5"), True)],
)
def test_translate_works_at_the_training_scale_unless_told(
    i2i, run, data, tmp_path, wanted, words, is_auto
):
    code, _, err = i2i("translate", run, data / "testA", tmp_path / "out", "--device=cpu", *words)
    assert code == 0, err
    assert_all_equal(pixels_of(tmp_path / "out"), wanted[not is_auto])
    assert err.count("training showed") == (0 if words else 1)
    assert words or SAID in err


def test_a_scale_that_is_none_is_refused(i2i, run, data, tmp_path):
    code, _, err = i2i("translate", run, data / "testA", tmp_path / "out", "--scale", "half")
    assert code == 2
    assert "--scale 'half' is not known: use auto, none, a factor" in err


def test_eval_says_the_scale_and_a_protocol_rescales_nothing(
    i2i, run, tmp_path, wanted, monkeypatch
):
    use_stand_in(monkeypatch)
    words = ("eval", run, "--fid", "--json", "--device=cpu", "--keep")
    code, out, err = i2i(*words, tmp_path / "kept")
    assert code == 0, err
    fid = json.loads(out)["metrics"]["fid"]
    assert fid["protocol"]["scale"] == "auto"
    assert fid["about"]["worked_at"] == "36 pixels (geometric mean of the sides)"
    assert_all_equal(pixels_of(tmp_path / "kept" / "outputs"), wanted[0])
    code, out, err = i2i(*words, tmp_path / "fixed", "--protocol", "cut")
    assert code == 0, err
    fid = json.loads(out)["metrics"]["fid"]
    assert fid["protocol"]["scale"] == fid["about"]["worked_at"] == "none"
    assert "training showed" not in err
    source = read_picture(tmp_path / "fixed" / "inputs" / "0.png")
    made = load_translator(run, device="cpu").translate(source, scale="none")
    assert_all_equal(pixels_of(tmp_path / "fixed" / "outputs")[:1], [made.pixels])


def test_compare_shows_translations_at_the_training_scale(i2i, run, data, tmp_path, wanted):
    out = tmp_path / "out"
    other = tmp_path / "run-002" / "checkpoints" / "last.pt"
    other.parent.mkdir(parents=True)
    other.write_bytes((run / "checkpoints" / "last.pt").read_bytes())
    code, _, err = i2i("compare", run, other, data / "testA", "--out", out, "--device=cpu")
    assert code == 0, err
    assert SAID in err
    with Image.open(out / "compare.png") as sheet:
        windows = np.asarray(sheet.convert("RGB"))
    height, width = wanted[0][0].shape[:2]
    places = np.lib.stride_tricks.sliding_window_view(windows[..., 0], (height, width))
    assert (places == wanted[0][0][..., 0]).all(axis=(2, 3)).sum() == 2


def test_entropy_of_a_report_is_that_of_the_training_scale(run, data, tmp_path):
    rows = [(read_picture(data / "testA/0.png").pixels[:, :68],) * 2]
    names = {"column_titles": ("source", "translation"), "row_titles": ["a2b 0"]}
    info = describe_rows(lay_out(rows, **names), ["a2b 0"])
    draw_grid(rows, **names).save(tmp_path / "grid.png", pnginfo=info)
    translator = load_translator(run, device="cpu")
    (layer, *_) = show_entropy(translator, tmp_path / "grid.png", read_rows(tmp_path / "grid.png"))
    assert layer.size == (9, 8)  # of 37 x 35 pixels, a quarter of each side
