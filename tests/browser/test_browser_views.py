"""The interactive page for every kind of view besides query-selected attention."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_kit import make_look, make_view
from views_kit import make_all, make_mask, make_position, make_similarity

from i2icli.methods.shared.views import SIDES
from i2icli.viz.page import build_page, build_part
from i2icli.viz.quantise import GOOD_ENOUGH
from i2icli.viz.similarity import agreement

VIEWS = make_all()
NUMBERS = {str(view.layer): number for number, view in enumerate(VIEWS)}
PLACES = [0, 7, 20, 29, 47]  # corners and the inside


@dataclass
class Opened:
    """A page in the browser, and all that it complained about or asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def text(self, name):
        return str(self.page.locator(f"#{name}").inner_text())

    def show(self, layer):
        self.page.evaluate(f"attention.show({{ layer: {NUMBERS[layer]} }})")
        return self.settle()

    def settle(self):
        """Wait until the page has drawn."""
        self.page.evaluate(
            "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
        )
        return self

    def pixels(self, canvas):
        self.settle()
        return str(self.page.evaluate(f"document.getElementById('{canvas}').toDataURL()"))

    def at(self, canvas, x, y):
        """Return a point of the screen, by its parts of a canvas."""
        box = self.page.locator(f"#{canvas}").bounding_box()
        return box["x"] + box["width"] * x, box["y"] + box["height"] * y

    def hover(self, place, canvas="source"):
        """Move over the middle of a place; the map covers 24 x 32 of 22 x 30 pixels."""
        row, column = divmod(place, 8)
        self.page.mouse.move(*self.at(canvas, (4 * column + 2) / 30, (4 * row + 2) / 22))
        self.settle()

    def rows(self, side):
        return np.array(self.page.evaluate(f"{PLACES}.map(p => attention.mapRow('{side}', p))"))


@pytest.fixture
def opened(browser, tmp_path):
    contexts, pages = [], []

    def call(*, made="translation", **options):
        look = make_look(*VIEWS)
        object.__setattr__(look, "made", made)
        file = tmp_path / "attention.html"
        page = build_page([build_part(look, step=9)], title="run", method="m")
        file.write_text(page, encoding="utf-8")
        context = browser.new_context(
            **{"viewport": {"width": 1300, "height": 900}, "offline": True, **options}
        )
        contexts.append(context)
        one = Opened(context.new_page())
        pages.append(one)
        one.page.on("console", lambda message: one.complaints.append(message.text))
        one.page.on("pageerror", lambda fault: one.complaints.append(str(fault)))
        one.page.goto(file.as_uri())
        return one.settle()

    yield call
    complaints = [text for page in pages for text in page.complaints]
    for context in contexts:
        context.close()
    assert complaints == []


def test_every_layer_is_named_and_shown(opened):
    page = opened()
    for layer in NUMBERS:
        page.show(layer)
        assert page.text("layer-name") == layer
        assert page.text("readout")
        assert page.text("legend")
        assert page.text("map-title")


def test_controls_are_those_of_the_kind(opened):
    page = opened()
    boxes = ("selected-box", "routing-box", "opacity-box", "choice-box")
    seen = {}
    for layer in NUMBERS:
        page.show(layer)
        seen[layer] = [box for box in boxes if page.page.locator(f"#{box}").is_visible()]
    assert seen["12"] == ["selected-box", "routing-box"]
    assert seen["mask"] == ["opacity-box"]
    assert seen["relu tanh"] == seen["position"] == []
    assert seen["channel"] == seen["scales"] == ["opacity-box", "choice-box"]


def test_a_mask_says_its_value_and_what_it_means(opened):
    page = opened().show("mask")
    page.hover(29)
    value = float(make_mask().mask.flatten()[29])
    assert page.text("readout").startswith(f"Attention mask {value:.2f} (mostly made anew) at ")
    page.hover(3)
    assert "(mostly kept)" in page.text("readout")
    assert "0: kept" in page.text("scales")
    assert "1: made anew" in page.text("scales")


def test_the_slider_lays_the_mask_over_both_pictures(opened):
    page = opened().show("mask")
    page.hover(20)
    before = {name: page.pixels(name) for name in ("source", "translation", "map")}
    page.page.locator("#opacity").fill("0")
    assert page.pixels("source") != before["source"]
    assert page.pixels("translation") != before["translation"]
    assert page.pixels("map") == before["map"]


@pytest.mark.parametrize("form", ["tanh", "cosine"])
def test_similarities_of_the_page_are_the_exact_ones(opened, form):
    page = opened().show(f"relu {form}")
    view = make_similarity(form)
    for side in SIDES:
        exact = view.map_rows(side, torch.tensor(PLACES)).flatten(1).numpy()
        assert np.abs(page.rows(side) - exact).max() < GOOD_ENOUGH


def test_hovering_shows_the_row_of_that_place_and_its_agreement(opened):
    page = opened().show("relu tanh")
    page.hover(3)
    before = {name: page.pixels(name) for name in ("source", "translation", "map")}
    page.hover(29, "translation")
    assert page.page.evaluate("attention.state.place") == 29
    assert all(page.pixels(name) != pixels for name, pixels in before.items())
    said = float(page.text("readout").split()[1])
    assert said == pytest.approx(float(agreement(make_similarity(), torch.tensor([29]))), abs=0.02)
    assert "column 6, row 4 of 8 x 6" in page.text("readout")


def test_position_attention_of_the_page_is_the_exact_one(opened):
    page = opened().show("position")
    exact = make_position().map_rows(torch.tensor(PLACES)).flatten(1).numpy()
    assert np.abs(page.rows("source") - exact).max() < 1e-3
    page.hover(20)
    top = float(make_position().map_rows(torch.tensor([20])).max())
    assert f"{100 * top:.1f} %" in page.text("readout")


def test_a_click_holds_a_place(opened):
    page = opened().show("position")
    page.page.mouse.click(*page.at("source", 18 / 30, 10 / 22))
    page.settle()
    page.hover(3)
    assert page.page.evaluate("attention.state.place") == 2 * 8 + 4
    assert "held" in page.text("readout")


def test_the_matrix_of_channels_can_be_read_and_chooses_a_channel(opened):
    page = opened().show("channel")
    assert "channel 1" in page.text("readout")
    page.page.mouse.move(*page.at("map", 0.75, 0.25))  # by channel 2, from channel 7, of ten
    page.settle()
    weight = float(VIEWS[NUMBERS["channel"]].weights[2, 7])
    said = page.text("readout").split("Weight ")[1].split(": ")
    assert float(said[0]) == pytest.approx(weight, abs=0.01)
    assert said[1] == "channel 2 from channel 7"
    before = page.pixels("source")
    page.page.mouse.click(*page.at("map", 0.75, 0.25))
    page.settle()
    assert page.page.evaluate("attention.state.choice") == 2
    assert "of channel 7" in page.text("readout")
    assert page.pixels("source") != before


def test_scales_are_chosen_from_a_list_and_read_at_a_pixel(opened):
    page = opened().show("scales")
    page.hover(20)
    weights = VIEWS[NUMBERS["scales"]].weights[:, 2, 4]
    wanted = [f"scale {s}: {float(w):.2f}" for s, w in zip((1, 0.75, 0.5), weights, strict=True)]
    assert ", ".join(wanted) in page.text("readout")
    before = page.pixels("source")
    page.page.select_option("#choice", "2")
    assert page.pixels("source") != before
    assert "weight of scale 0.5" in page.text("scales")


def test_the_second_picture_is_called_what_it_is(opened):
    assert opened().text("made") == "Translation"
    assert opened(made="segmentation").text("made") == "Segmentation"


def test_a_phone_shows_everything_without_scrolling_sideways(opened):
    page = opened(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    for layer in NUMBERS:
        page.show(layer)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_pictures_lie_side_by_side_in_one_row(opened):
    page = opened()
    for layer in NUMBERS:
        page.show(layer)
        tops = [
            page.page.locator(f"#{name}").bounding_box()["y"]
            for name in ("source", "translation", "map")
        ]
        assert max(tops) - min(tops) < 1, layer


def test_a_page_of_one_kind_keeps_its_words(browser, tmp_path):
    text = build_page([build_part(make_look(make_view()), step=1)], title="run", method="m")
    (tmp_path / "a.html").write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "a.html").as_uri())
    assert "Weights differ from the exact ones by at most" in page.locator("#notes").inner_text()
    page.close()


@pytest.mark.skipif(not os.environ.get("I2I_SCREENSHOTS"), reason="set I2I_SCREENSHOTS=FOLDER")
def test_screenshots_of_every_kind_are_taken_for_looking_at(opened):
    folder = Path(os.environ["I2I_SCREENSHOTS"])
    page = opened()
    for layer in NUMBERS:
        page.show(layer).hover(20)
        path = folder / f"page-{layer.replace(' ', '-')}.png"
        page.page.screenshot(path=path, full_page=True)
        assert path.stat().st_size > 10_000
