import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from run_kit import draw, make_run, smooth

from i2icli.reports.curves import Chart, Curve, build_charts, draw_chart, thin
from i2icli.reports.page import (
    AlarmLine,
    ConfigChange,
    Fact,
    RunReport,
    Score,
    Status,
    describe_chart,
    format_number,
    render_report,
    value_rows,
)
from i2icli.runs.folder import RunFolder
from i2icli.viz.tiles import SampleRow, Samples, collect_samples, cut_out, encode, read_rows


def report(**parts):
    given = {
        "name": "qs-001",
        "method": "qs-attn",
        "preset": "demo",
        "data": "horses",
        "status": Status("Finished", "good", "All 8 steps are done."),
        "facts": (Fact("Steps", "8"),),
        "changes": (),
    }
    return RunReport(**{**given, **parts})


def curve(name="nce", steps=(1, 2, 3), values=(3.0, 2.0, 1.0)):
    return Curve(name, tuple(steps), tuple(values))


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


class Page(HTMLParser):
    """Collects what a page asks for, and what it shows without words."""

    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.links += [
            value for key, value in named.items() if key in ("src", "href", "xlink:href")
        ]
        if tag == "img":
            self.images.append(named)
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# Curves


def test_a_curve_is_thinned_to_means_and_keeps_its_last_step():
    long = curve(steps=range(1, 1001), values=[float(i) for i in range(1, 1001)])
    short = thin(long, count=100)
    assert len(short.steps) == 100
    assert (short.steps[-1], short.values[-1]) == (1000, np.mean(range(991, 1001)))
    assert short.steps[0] == 10


def test_a_short_curve_is_not_thinned():
    assert thin(curve(), count=3) == curve()


@pytest.mark.parametrize(
    ("values", "from_zero", "is_log"),
    [
        ((10.0, 1.0), False, True),
        ((9.0, 1.0), False, False),
        ((10.0, 0.0), False, False),
        ((10.0, -1.0), False, False),
        ((10.0, 1.0), True, False),
        ((math.nan, math.inf), False, False),
    ],
)
def test_an_axis_is_logarithmic_where_positive_values_span_a_decade(values, from_zero, is_log):
    assert Chart("t", (curve(steps=(1, 2), values=values),), from_zero=from_zero).is_log is is_log


def test_more_curves_than_colours_take_more_charts():
    charts = build_charts("terms", [curve(str(i)) for i in range(9)])
    assert [(c.title, len(c.curves)) for c in charts] == [("terms", 8), ("terms (2)", 1)]


def test_a_chart_is_a_picture_without_colours_or_links_of_its_own():
    drawn = draw_chart(Chart("generator", (curve(), curve("gan", values=(1, 2, 3)))))
    assert drawn.svg.startswith("<svg")
    assert drawn.svg.endswith("</svg>")
    assert "var(--c0)" in drawn.svg
    assert "var(--c1)" in drawn.svg
    assert not re.search(r"#[0-9a-f]{6}|<style|font-family|<metadata", drawn.svg)
    ids = re.findall(r'id="([^"]*)"', drawn.svg)
    assert len(ids) == len(set(ids))


def test_two_charts_of_a_page_share_no_id():
    ids = [
        set(re.findall(r'id="([^"]*)"', draw_chart(Chart(title, (curve(),))).svg))
        for title in ("generator", "discriminator")
    ]
    assert not ids[0] & ids[1]


def test_a_chart_reads_its_values_where_it_draws_them():
    drawn = draw_chart(Chart("t", (curve(steps=(0, 100), values=(1.0, 2.0)),)))
    found = r'd="M ([\d.]+) [\d.]+\s+L ([\d.]+) [\d.]+\s+"[^>]*var\(--c0\)'
    path = re.search(found, drawn.svg)
    assert path is not None
    read = drawn.readout
    scale = (read["right"] - read["left"]) / (read["last"] - read["first"])
    for step, x in zip((0, 100), map(float, path.groups()), strict=True):
        assert read["left"] + (step - read["first"]) * scale == pytest.approx(x, abs=0.05)


def test_values_that_are_no_numbers_are_null_to_the_page_and_leave_a_gap():
    drawn = draw_chart(Chart("t", (curve(values=(1.0, math.nan, math.inf)),)))
    assert drawn.readout["curves"] == [{"name": "nce", "values": [1.0, None, None]}]


@pytest.mark.parametrize("count", [0, 9])
def test_a_chart_of_no_curve_or_too_many_is_refused(count):
    with pytest.raises(ValueError, match=f"takes 1 to 8 curves, not {count}"):
        draw_chart(Chart("t", tuple(curve(str(i)) for i in range(count))))


def test_a_chart_says_in_words_what_it_shows():
    drawn = draw_chart(Chart("generator", (curve(values=(30.0, 2.0, 1.0)),)))
    assert describe_chart(drawn) == (
        "generator over steps 1 to 3, logarithmic scale: nce from 30 to 1."
    )


def test_the_table_of_a_long_curve_is_short_and_ends_at_its_end():
    drawn = draw_chart(Chart("t", (curve(steps=range(1, 501), values=[1.0] * 500),)))
    rows = value_rows(drawn)
    assert len(rows) == 40
    assert (rows[0][0], rows[-1][0]) == (1, 500)


def test_curves_of_different_steps_share_a_table():
    drawn = draw_chart(Chart("t", (curve(), curve("gan", (2,), (5.0,)))))
    assert value_rows(drawn) == [(1, (3.0, None)), (2, (2.0, 5.0)), (3, (1.0, None))]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.123456, "0.1235"), (12345.6, "12,346"), (2e-4, "0.0002"), (math.nan, "nan")],
)
def test_numbers_have_four_digits(value, text):
    assert format_number(value) == text


# Pictures


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (0, 10, 20):
        draw(folder, step, names=("a2b one", "a2b two"))
    return folder


def grids_of(folder, steps=(0, 10, 20)):
    return {step: folder.sample(step) for step in steps}


def rows_of_grids(folder, steps=(0, 10, 20)):
    return {step: read_rows(folder.sample(step)) for step in steps}


def test_a_grid_tells_where_its_pictures_are(run):
    rows = read_rows(run.sample(10))
    assert [row.title for row in rows] == ["a2b one", "a2b two"]
    for i, row in enumerate(rows):
        assert np.array_equal(cut_out(run.sample(10), row.boxes[0]), smooth(32, 32 + 4 * i, seed=i))
        assert np.array_equal(
            cut_out(run.sample(10), row.boxes[1]), smooth(32, 32 + 4 * i, seed=200 + i)
        )


@pytest.mark.parametrize("text", ["", "{", "[1]", '[["a", [[0, 0, 9999, 5], [0, 0, 1, 1]]]]'])
def test_a_grid_that_tells_nonsense_tells_nothing(tmp_path, text):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("i2i-grid", text)
    Image.new("RGB", (20, 20)).save(tmp_path / "grid.png", pnginfo=info)
    assert read_rows(tmp_path / "grid.png") == ()


def test_samples_are_the_pictures_of_every_step(run):
    samples = collect_samples(grids_of(run), rows_of_grids(run), budget=10**6)
    assert (samples.steps, samples.left_out) == ((0, 10, 20), ())
    assert [row.title for row in samples.rows] == ["one", "two"]
    assert [row.size for row in samples.rows] == [(32, 32), (36, 32)]
    for index, step in enumerate(samples.steps):
        shown = np.asarray(opened(samples.rows[1].steps[index]).convert("RGB")).astype(float)
        assert np.abs(shown - smooth(32, 36, seed=101 + 10 * step)).mean() < 4  # WebP, quality 88


def test_the_direction_is_said_where_there_are_two(tmp_path):
    folder = RunFolder(tmp_path)
    draw(folder, 0, names=("a2b one", "b2a one"))
    samples = collect_samples(grids_of(folder, (0,)), rows_of_grids(folder, (0,)), budget=10**6)
    assert [row.title for row in samples.rows] == ["a2b one", "b2a one"]


def test_steps_are_left_out_where_pictures_are_too_many_bytes(run):
    whole = collect_samples(grids_of(run), rows_of_grids(run), budget=10**6)
    size = sum(len(uri) for row in whole.rows for uri in row.steps)
    samples = collect_samples(grids_of(run), rows_of_grids(run), budget=size - 100)
    assert (samples.steps, samples.left_out) == ((0, 20), (10,))


def test_large_pictures_are_scaled_down_where_even_two_steps_are_too_many_bytes(tmp_path):
    rows = {0: read_rows_of_noise(tmp_path / "0.png"), 1: read_rows_of_noise(tmp_path / "1.png")}
    grids = {step: tmp_path / f"{step}.png" for step in rows}
    samples = collect_samples(grids, rows, budget=30_000)
    assert max(opened(samples.rows[0].steps[0]).size) == 128
    assert samples.steps == (0, 1)


def read_rows_of_noise(path):
    from i2icli.viz.grid import draw_grid, lay_out
    from i2icli.viz.tiles import describe_rows

    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    titles = {"column_titles": ("source", "translation"), "row_titles": ["a2b x"]}
    info = describe_rows(lay_out([(pixels, pixels)], **titles), ["a2b x"])
    draw_grid([(pixels, pixels)], **titles).save(path, pnginfo=info)
    return read_rows(path)


def test_grids_of_other_pictures_than_the_newest_are_left_out(run):
    draw(run, 30, names=("a2b one", "a2b three"))
    steps = (0, 10, 20, 30)
    samples = collect_samples(grids_of(run, steps), rows_of_grids(run, steps), budget=10**6)
    assert (samples.steps, samples.left_out) == ((30,), (0, 10, 20))


def test_grids_that_tell_nothing_are_shown_whole(run):
    samples = collect_samples(grids_of(run), {}, budget=10**6)
    (row,) = samples.rows
    assert row.source is None
    with Image.open(run.sample(20)) as grid:
        assert opened(row.steps[-1]).size == row.size == grid.size


def test_a_grid_cut_short_by_a_kill_is_left_out(run):
    run.sample(20).write_bytes(run.sample(20).read_bytes()[:200])
    rows = rows_of_grids(run, (0, 10))
    assert collect_samples(grids_of(run), rows, budget=10**6).steps == (0, 10)


def test_no_grids_are_no_samples():
    assert collect_samples({}, {}, budget=10**6) is None


# The page


def full_report():
    uri = encode(Image.fromarray(smooth(32, 32, seed=0)))
    chart = draw_chart(Chart("generator terms", (curve(), curve("gan"))))
    return report(
        samples=Samples((1, 3), (SampleRow("one", uri, (uri, uri), (32, 32)),), left_out=(2,)),
        losses=(chart,),
        measured=(draw_chart(Chart("FID", (curve("fid"),))),),
        measured_protocol="clean, 12 pictures",
        scores=(Score("FID", "72.5", "66 to 79", (Fact("mode", "clean"),), ("few",), "eval.json"),),
        alarms=(AlarmLine(2, "collapse", "a2b", "all alike", "start anew"),),
        about=(Fact("paper", "Hu et al."),),
        changes=(ConfigChange("train.steps", "not set", "8"),),
        config_text="preset = 'demo'",
        environment=(Fact("torch", "2.15"),),
        command="i2i train",
        missing=("Entropy maps: none.",),
    )


def test_a_page_asks_for_nothing_but_what_it_holds():
    page = Page(render_report(full_report()))
    assert page.open == []
    assert page.links
    assert [link for link in page.links if not link.startswith(("#", "data:"))] == []


def test_every_picture_of_a_page_has_words():
    page = Page(render_report(full_report()))
    assert len(page.images) == 2
    assert all(image["alt"].strip() for image in page.images)


def test_a_page_says_all_it_is_given():
    text = render_report(full_report())
    for said in (
        "All 8 steps are done.",
        "Not shown, to keep this file small: 1 more",
        "66 to 79",
        "on held-out pictures: clean, 12 pictures.",
        "<b>collapse</b> (a2b) from step 2, still up: all alike",
        "start anew",
        "<code>train.steps</code>",
        "Entropy maps: none.",
        "Hu et al.",
        "i2i train",
    ):
        assert said in text


def test_a_page_of_an_empty_run_stands():
    text = render_report(report(facts=(), changes=None, missing=("Loss curves: none yet.",)))
    assert Page(text).open == []
    assert "Unknown, since the configuration could not be understood." in text
    assert 'id="samples"' not in text


def test_names_cannot_break_out_of_the_page():
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    chart = draw_chart(Chart(evil, (curve(evil), curve(evil))))
    uri = encode(Image.fromarray(smooth(16, 16, seed=0)))
    samples = Samples((1, 2), (SampleRow(evil, uri, (uri, uri), (16, 16)),))
    text = render_report(
        report(name=evil, data=evil, losses=(chart,), samples=samples, command=evil)
    )
    page = Page(text)
    assert page.open == []
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert all(image["src"].startswith("data:") for image in page.images)


def test_made_up_runs_are_what_the_tests_think(tmp_path):
    folder = make_run(tmp_path / "run")
    assert len(folder.read_metrics()) == 8
    assert folder.last.is_file()
