"""The interactive page of `viz-attention` in a real browser."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_kit import make_look, make_view

from i2icli.methods.shared.views import SIDES, AttentionView
from i2icli.viz.looks import ranks
from i2icli.viz.page import build_page, build_part

# The page's rows are computed from features in 16 bits. Weights of the made-up views are within
# this of the exact ones; what a page of real features reaches stands at its foot.
TOLERANCE = 2e-3
KINDS = [
    ("global", "paper"),
    ("local", "paper"),
    ("local", "released"),
    ("local-global", "paper"),
    ("local-global", "released"),
]


@dataclass
class Opened:
    """A page in the browser, and all that it complained about or asked for."""

    page: Any
    views: tuple[AttentionView, ...]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def readout(self):
        return str(self.page.locator("#readout").inner_text())

    def pixels(self, canvas):
        self.settle()
        return str(self.page.evaluate(f"document.getElementById('{canvas}').toDataURL()"))

    def settle(self):
        """Wait until the page has drawn."""
        self.page.evaluate(
            "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
        )

    def hover(self, place, canvas="source"):
        """Move over the middle of a place of the 6 x 8 map."""
        box = self.page.locator(f"#{canvas}").bounding_box()
        row, column = divmod(place, 8)
        # the map covers 24 x 32 pixels of the picture's 22 x 30
        x = box["x"] + box["width"] * (4 * column + 2) / 30
        y = box["y"] + box["height"] * (4 * row + 2) / 22
        self.page.mouse.move(x, y)
        self.settle()

    def press(self, key):
        self.page.keyboard.press(key)
        self.settle()


@pytest.fixture
def open_page(browser, tmp_path):
    contexts = []

    def call(selection="global", layout="paper", **options):
        views = tuple(make_view(selection, layout=layout, layer=layer) for layer in (12, 16))
        # another picture of features at the second layer
        object.__setattr__(views[1], "source", views[1].source.flip(1) * 0.5)
        look = make_look(*views)
        parts = [build_part(look, step=step) for step in (100, 200)]
        file = tmp_path / "attention.html"
        file.write_text(build_page(parts, title="run", method="qs-attn"), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        opened = Opened(context.new_page(), views)
        opened.page.on(
            "console",
            lambda m: opened.complaints.append(m.text) if m.type in ("error", "warning") else None,
        )
        opened.page.on("pageerror", lambda fault: opened.complaints.append(str(fault)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(file.as_uri())
        opened.settle()
        return opened

    yield call
    for context in contexts:
        context.close()


def test_the_page_asks_for_nothing_and_complains_of_nothing(open_page):
    opened = open_page()
    for place in (0, 21, 47):
        opened.hover(place)
    outside = [url for url in opened.requests if not url.startswith(("file:", "data:"))]
    assert outside == []
    assert sum(url.startswith("file:") for url in opened.requests) == 1
    assert opened.complaints == []


def test_it_begins_at_the_place_of_rank_one_of_the_last_checkpoint(open_page):
    opened = open_page()
    assert "rank 1 of 48 (selected)" in opened.readout()
    assert opened.page.locator("#step-name").inner_text() == "step 200"


def test_hovering_shows_that_places_entropy_and_rank_and_changes_the_maps(open_page):
    opened = open_page()
    opened.hover(3)
    before = {canvas: opened.pixels(canvas) for canvas in ("source", "translation", "map")}
    opened.hover(29)
    entropy, rank = opened.views[0].entropy.flatten()[29], ranks(opened.views[0].entropy)[29]
    assert f"Entropy {float(entropy):.2f} nats, rank {int(rank)} of 48" in opened.readout()
    assert "column 6, row 4 of 8 x 6" in opened.readout()
    for canvas, pixels in before.items():
        assert opened.pixels(canvas) != pixels, canvas


@pytest.mark.parametrize("canvas", ["translation", "map"])
def test_every_picture_can_be_pointed_at(open_page, canvas):
    opened = open_page()
    opened.hover(18, canvas)
    assert opened.page.evaluate("attention.state.place") == 18


@pytest.mark.parametrize(("selection", "layout"), KINDS)
def test_rows_of_the_page_equal_the_exact_ones(open_page, selection, layout):
    opened = open_page(selection, layout)
    view = opened.views[0]
    places = [0, 7, 20, 29, 47]  # corners and the inside
    for side in SIDES:
        for kind, exact in (
            ("mapRow", view.map_rows if view.has_map else None),
            ("windowRow", view.window_rows if view.has_window else None),
        ):
            if exact is None:
                continue
            ours = opened.page.evaluate(f"{places}.map(p => attention.{kind}('{side}', p))")
            wanted = exact(side, torch.tensor(places)).flatten(1).numpy()
            assert np.abs(np.array(ours) - wanted).max() < TOLERANCE, (side, kind)


def test_ranks_of_the_page_are_those_of_the_method(open_page):
    opened = open_page()
    found = opened.page.evaluate("[...Array(48).keys()].map(p => attention.rank(p))")
    assert found == ranks(opened.views[0].entropy).tolist()


def test_the_heaviest_place_is_the_brightest(open_page):
    opened = open_page()
    view = opened.views[0]
    inside = [k for k in range(40) if k % 8 < 7]
    rows = view.map_rows("source", torch.arange(48)).flatten(1)
    others = rows * (1 - torch.eye(48))  # a place itself lies under the circle
    others = others[:, inside] / rows.amax(dim=1, keepdim=True)
    place = int(others.amax(dim=1).argmax())
    heavy, light = (inside[int(k)] for k in (others[place].argmax(), others[place].argmin()))
    opened.hover(place)
    script = """([x, y]) => {
        const canvas = document.getElementById("source"), scale = canvas.width / 30;
        const data = canvas.getContext("2d").getImageData(x * scale, y * scale, 1, 1).data;
        return data[0] + data[1] + data[2];
    }"""
    bright, dark = (
        opened.page.evaluate(script, [4 * (k % 8) + 2, 4 * (k // 8) + 2]) for k in (heavy, light)
    )
    assert bright > dark


def test_the_layer_slider_changes_the_layer(open_page):
    opened = open_page()
    opened.hover(20)
    before = opened.page.evaluate("attention.mapRow('source', 20)")
    opened.page.locator("#layer").focus()
    opened.press("ArrowRight")
    assert opened.page.locator("#layer-name").inner_text() == "16"
    after = opened.page.evaluate("attention.mapRow('source', 20)")
    wanted = opened.views[1].map_rows("source", torch.tensor([20])).flatten().numpy()
    assert np.abs(np.array(after) - wanted).max() < TOLERANCE
    assert np.abs(np.array(after) - np.array(before)).max() > 0.01


def test_the_checkpoint_slider_changes_the_checkpoint(open_page):
    opened = open_page()
    opened.page.locator("#step").focus()
    opened.press("ArrowLeft")
    assert opened.page.locator("#step-name").inner_text() == "step 100"
    assert opened.page.evaluate("attention.state.step") == 0


def test_keys_move_hold_and_change_the_layer(open_page):
    opened = open_page()
    opened.hover(20)
    opened.page.locator("#source").focus()
    opened.press("ArrowRight")
    opened.press("ArrowDown")
    assert opened.page.evaluate("attention.state.place") == 29
    opened.press("Shift+ArrowLeft")
    assert opened.page.evaluate("attention.state.place") == 25
    opened.press("Home")
    assert "rank 1 of 48" in opened.readout()
    opened.press("Enter")
    held = opened.page.evaluate("attention.state.place")
    opened.hover((held + 10) % 48)
    assert opened.page.evaluate("attention.state.place") == held
    assert "held" in opened.readout()
    opened.press("Escape")
    opened.hover(3)
    assert opened.page.evaluate("attention.state.place") == 3
    opened.press("PageUp")
    assert opened.page.locator("#layer-name").inner_text() == "16"


def test_a_touch_chooses_a_place_and_scrolling_stays_possible(open_page):
    opened = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    canvas = opened.page.locator("#source")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    opened.page.touchscreen.tap(
        box["x"] + box["width"] * 22 / 30, box["y"] + box["height"] * 14 / 22
    )
    opened.settle()
    assert opened.page.evaluate("attention.state.place") == 3 * 8 + 5
    action = opened.page.evaluate("getComputedStyle(document.getElementById('source')).touchAction")
    assert "pan-y" in action
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_translation_can_show_the_sources_attention(open_page):
    opened = open_page()
    opened.hover(20)
    own = opened.page.locator("#translation-facts").inner_text()
    opened.page.select_option("#routing", "source")
    opened.settle()
    routed = opened.page.locator("#translation-facts").inner_text()
    assert routed != own
    assert routed == opened.page.locator("#source-facts").inner_text()


def test_windows_are_shown_where_there_are_some(open_page):
    assert open_page("local").page.locator("#source-window").is_visible()
    assert not open_page("global").page.locator("#source-window").is_visible()


def test_released_windows_are_said_to_be_no_places(open_page):
    opened = open_page("local", "released")
    assert "are no places" in opened.page.locator("#legend").inner_text()
    assert opened.page.locator("#source-facts").inner_text() == ""


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_readers_colours(open_page, scheme, is_dark):
    opened = open_page(color_scheme=scheme)
    colour = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (brightness < 200) == is_dark


@pytest.mark.skipif(not os.environ.get("I2I_SCREENSHOTS"), reason="set I2I_SCREENSHOTS=FOLDER")
def test_screenshots_are_taken_for_looking_at(open_page):
    folder = Path(os.environ["I2I_SCREENSHOTS"])
    for selection, layout in KINDS:
        opened = open_page(selection, layout)
        path = folder / f"attention-{selection}-{layout}.png"
        opened.page.screenshot(path=path, full_page=True)
        assert path.stat().st_size > 10_000
