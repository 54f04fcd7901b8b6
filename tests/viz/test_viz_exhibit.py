import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from echo import Echo, noise
from PIL import Image
from views_kit import make_all, make_mask, make_similarity

from i2icli.errors import ConfigError
from i2icli.methods import METHODS, configure_run
from i2icli.pictures.images import Picture, write_picture
from i2icli.runs.paths import StepFile
from i2icli.translation.sources import find_sources
from i2icli.translation.targets import plan_outputs
from i2icli.translation.translator import Translator
from i2icli.viz import exhibit
from i2icli.viz.exhibit import ExhibitOptions, write_exhibits
from i2icli.viz.looking import look_at

KINDS = {
    "layer12": "attention",
    "mask": "mask",
    "relu-tanh": "similarity",
    "relu-cosine": "similarity",
    "position": "position",
    "channel": "channel",
    "scales": "scale",
}


class Shower(Echo):
    """Shows one view of every kind, another mask in the other direction."""

    def views(self, images, *, direction="a2b"):
        shown = make_all()
        if direction == "b2a":
            shown = (replace(make_mask(), layer="back"), *shown[2:])
        return [list(shown) for _ in images]


class Segmenter(Shower):
    data = "labelled"


def translator_of(method, monkeypatch):
    config = configure_run("cyclegan", [])
    monkeypatch.setitem(METHODS, "made-up", type(method))
    return Translator(method, config, precision=torch.float32)


@pytest.fixture
def translator(monkeypatch):
    return translator_of(Shower(), monkeypatch)


def show(folder, translator, *steps, **options):
    """Write the exhibits of one picture, of 24 x 32 pixels; return the report and the names."""
    write_picture(folder / "in" / "a.png", noise(24, 32))
    jobs = plan_outputs(find_sources(str(folder / "in")), folder / "out").jobs
    files = [StepFile(step, folder / f"{step}.pt") for step in steps or (5,)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhibit, "load_translator", lambda path, *, device: translator)
        options = ExhibitOptions(device="cpu", **options)
        report = write_exhibits(files, jobs, folder / "out", options)
    return report, sorted(path.name for path in (folder / "out").iterdir())


@pytest.fixture
def shown(translator, tmp_path):
    return partial(show, tmp_path, translator)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Write all that there is, with a page, once; return the report, the names and the arrays."""
    folder = tmp_path_factory.mktemp("everything")
    with pytest.MonkeyPatch.context() as patch:
        translator = translator_of(Shower(), patch)
        found = show(folder, translator, points=((9, 13),), with_page=True)
    return *found, np.load(folder / "out" / "a.npz")


def test_every_view_has_a_sheet_and_says_its_kind(everything):
    report, names, _ = everything
    assert names == sorted([*(f"a-{key}.png" for key in KINDS), "a.npz", "attention.html"])
    kinds = [layer["kind"] for layer in report.exhibits[0].layers]
    assert kinds == list(KINDS.values())
    assert json.dumps(report.exhibits[0].layers)


def test_the_arrays_are_named_by_layer(everything):
    arrays = everything[2]
    assert arrays["mask_mask"].shape == (24, 32)
    assert arrays["relu-tanh_source_rows"].shape == (1, 6, 8)
    assert arrays["relu-tanh_queries"].tolist() == [3 * 8 + 2]
    wanted = make_similarity("tanh").map_rows("translation", torch.tensor([26]))
    np.testing.assert_allclose(arrays["relu-tanh_translation_rows"], wanted, atol=1e-6)
    np.testing.assert_allclose(arrays["position_rows"].sum((1, 2)), 1, rtol=1e-5)
    assert arrays["channel_weights"].shape == (10, 10)
    assert arrays["scales_weights"].shape == (3, 24, 32)


def test_layers_are_chosen_by_number_or_name(shown):
    _, names = shown(layers=("12", "channel"))
    assert names == ["a-channel.png", "a-layer12.png", "a.npz"]


def test_a_layer_that_is_not_there_is_refused_with_those_that_are(shown):
    with pytest.raises(
        ConfigError,
        match="--layers names masks, but this checkpoint shows 12, mask, relu tanh, relu cosine, "
        "position, channel, scales",
    ):
        shown(layers=("masks",))


def test_an_inverted_mask_is_inverted_in_numbers_and_words(shown, tmp_path):
    report, _ = shown(layers=("mask", "scales"), invert_mask=True)
    mask = report.exhibits[0].layers[0]
    assert (mask["low"], mask["high"]) == ("made anew", "kept")
    arrays = np.load(tmp_path / "out" / "a.npz")
    assert float(arrays["mask_mask"][0, 0]) == 1


def test_there_must_be_a_mask_to_invert(shown):
    with pytest.raises(ConfigError, match="--invert-mask: this checkpoint shows no mask"):
        shown(layers=("position",), invert_mask=True)


def test_the_other_direction_shows_its_own_views(shown):
    _, names = shown(direction="b2a", layers=("back",))
    assert names == ["a-back.png", "a.npz"]
    with pytest.raises(ConfigError, match="--layers names 12, but this checkpoint shows back,"):
        shown(direction="b2a", layers=("12",))


def test_strips_and_films_are_made_of_all_that_can_change(shown, tmp_path):
    _, names = shown(5, 10, layers=("mask", "relu tanh", "position", "channel", "scales"))
    films = [name for name in names if name.endswith(".gif")]
    assert films == [f"a-{key}-training.gif" for key in ("mask", "position", "relu-tanh", "scales")]
    with Image.open(tmp_path / "out" / "a-mask-training.gif") as film:
        assert film.n_frames in (1, 2)  # equal frames are one


def test_the_page_holds_every_kind_and_stays_small(everything):
    report = everything[0]
    text = report.page.read_text()
    assert all(f'"kind":"{kind}"' in text for kind in KINDS.values())
    assert report.page_facts["bytes"] < 200_000


@pytest.mark.parametrize(("kind", "made"), [(Segmenter, "segmentation"), (Shower, "translation")])
def test_what_is_made_is_called_what_it_is(kind, made, monkeypatch):
    looking = translator_of(kind(), monkeypatch)
    assert look_at(looking, Picture(noise(24, 32)), name="a").made == made
