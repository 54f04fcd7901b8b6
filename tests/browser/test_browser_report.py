"""The report of a run in a real Chromium, from a file, with the network cut off."""

import io
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from run_kit import make_run

from i2icli.reports.build import report_run
from i2icli.reports.page import render_report

CHROMIUM = os.environ.get("I2I_CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: install it, or set I2I_CHROMIUM"),
]
playwright_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("run") / "qs-001", names=("a2b one", "b2a two"))
    file = folder.path / "report.html"
    file.write_text(render_report(report_run(folder.path)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page_file):
    """Open the page; at the end, it must have asked for nothing and complained of nothing."""
    faults = []
    contexts = []

    def note_request(request):
        if not request.url.startswith("data:") and request.url != page_file.as_uri():
            faults.append(request.url)

    def open_page(**settings):
        settings = {"viewport": {"width": 1200, "height": 900}, **settings}
        context = browser.new_context(offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", note_request)
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def test_all_pictures_of_the_page_show(opened):
    page = opened()
    loaded = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(loaded) == 6  # two samples before and after, one entropy map beside its picture
    assert all(loaded)


def test_the_step_slider_changes_all_translations_at_once(opened):
    page = opened()
    after = page.locator(".after")
    last = [after.nth(i).get_attribute("src") for i in range(2)]
    slider = page.get_by_label("Training step")
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator("#step-text").inner_text() == "2 steps"
    first = [after.nth(i).get_attribute("src") for i in range(2)]
    assert all(one != other for one, other in zip(first, last, strict=True))
    assert after.nth(0).get_attribute("alt") == "a2b one, translation after 2 steps"
    assert slider.get_attribute("aria-valuetext") == "after 2 steps"
    page.keyboard.press("End")
    assert [after.nth(i).get_attribute("src") for i in range(2)] == last


def test_playing_goes_through_the_steps_and_ends_at_the_last(opened):
    page = opened()
    page.get_by_role("button", name="Play").click()
    assert page.locator("#step-text").inner_text() == "2 steps"
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Play").wait_for(timeout=60_000)
    assert page.locator("#step-text").inner_text() == "8 steps"


def test_the_handle_of_a_picture_cuts_it_where_the_pointer_is(opened):
    page = opened()
    knob = page.get_by_label("Before and after of a2b one")
    pair = page.locator(".pair").first
    box = pair.bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    assert abs(int(knob.input_value()) - 25) <= 2
    cut = page.locator(".after").first.evaluate("e => getComputedStyle(e).clipPath")
    percent = float(re.search(r"([\d.]+)%\)", cut)[1])
    assert percent == int(knob.input_value())


def test_at_its_ends_the_handle_shows_one_picture_whole(opened):
    page = opened()
    page.add_style_tag(content=".knob { opacity: 0 } .live .pair::after { display: none }")
    knob, pair = page.locator(".knob").first, page.locator(".pair").first
    before, after = (pair.locator("img").nth(i) for i in (0, 1))
    knob.fill("100")
    shown_at_100 = inner_pixels(pair)
    after.evaluate("e => e.style.visibility = 'hidden'")
    assert np.array_equal(inner_pixels(pair), shown_at_100)
    after.evaluate("e => e.style.visibility = ''")
    knob.fill("0")
    shown_at_0 = inner_pixels(pair)
    before.evaluate("e => e.style.visibility = 'hidden'")
    assert np.array_equal(inner_pixels(pair), shown_at_0)
    assert not np.array_equal(shown_at_0, shown_at_100)


def inner_pixels(element):
    """Return what an element shows, without its edge: round corners let the ground through."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))[8:-8, 8:-8]


def test_the_handle_works_with_the_keyboard_and_says_where_it_is(opened):
    page = opened()
    knob = page.get_by_label("Before and after of b2a two")
    knob.focus()
    page.keyboard.press("ArrowRight")
    assert knob.input_value() == "51"
    assert knob.get_attribute("aria-valuetext") == (
        "source left of 51 percent, translation right of it"
    )


def test_a_chart_reads_values_under_the_pointer_and_with_arrow_keys(opened):
    page = opened()
    chart = page.locator(".chart", has=page.get_by_role("heading", name="generator terms"))
    plot = chart.locator(".plot")
    plot.scroll_into_view_if_needed()
    box = plot.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    tip = plot.locator(".tip")
    assert tip.is_visible()
    assert "step 8" in tip.inner_text()
    assert "nce 0.75" in tip.inner_text()
    plot.focus()
    page.keyboard.press("ArrowLeft")
    assert "step 6" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_the_values_of_a_chart_unfold(opened):
    page = opened()
    details = page.locator("details", has_text="Values").first
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("table").is_visible()


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_is_wider_than_the_window(opened, width):
    page = opened(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_light_and_dark_follow_the_system(opened):
    colours = [
        opened(color_scheme=scheme).evaluate(
            "['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])"
        )
        for scheme in ("light", "dark")
    ]
    sums = [[sum(map(int, re.findall(r"\d+", c)[:3])) for c in pair] for pair in colours]
    assert sums[0][0] < 200 < 600 < sums[0][1]
    assert sums[1][1] < 200 < 600 < sums[1][0]


def test_printed_pictures_stand_side_by_side_without_controls(opened):
    page = opened()
    page.emulate_media(media="print")
    before, after = (
        page.locator(".pair").first.locator("img").nth(i).bounding_box() for i in (0, 1)
    )
    assert after["x"] >= before["x"] + before["width"]
    assert not page.locator(".knob").first.is_visible()
    assert not page.locator("#step-bar").is_visible()
    assert not page.locator("nav").is_visible()


def test_without_scripts_pictures_stand_side_by_side(opened):
    page = opened(java_script_enabled=False)
    before, after = (
        page.locator(".pair").first.locator("img").nth(i).bounding_box() for i in (0, 1)
    )
    assert after["x"] >= before["x"] + before["width"]
    assert not page.locator(".knob").first.is_visible()
    assert not page.locator("#step-bar").is_visible()
