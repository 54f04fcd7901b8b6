"""Sheets, numbers, strips and page parts of every kind of view besides query-selected attention."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from attention_kit import drawn, make_look, texts
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from views_kit import make_all, make_channel, make_mask, make_position, make_scale, make_similarity

from i2icli.viz.channels import gathered, small_matrix
from i2icli.viz.drawer import slug
from i2icli.viz.drawers import DRAWERS, drawer_of
from i2icli.viz.looks import even_positions, smaller
from i2icli.viz.masks import edge_of, explain, share_above
from i2icli.viz.page import build_page, build_part
from i2icli.viz.panels import faded
from i2icli.viz.positions import received
from i2icli.viz.quantise import GOOD_ENOUGH, pack_own
from i2icli.viz.scales import dominant
from i2icli.viz.similarity import agreement, full_colour, grid_positions
from i2icli.viz.strip import draw_film, draw_strip

OTHERS = make_all()[1:]
by_kind = pytest.mark.parametrize("view", OTHERS, ids=lambda view: view.layer)


def unseen(figure):
    """Return the labels of ticks beyond the ends of their axes, which are not drawn."""
    return {
        label
        for axes in figure.findobj(Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        or not axes.axison
        for label in (tick.label1, tick.label2)
    }


def is_drawn(figure, wanted):
    return any(
        array.shape == tuple(wanted.shape) and np.allclose(array, wanted.numpy(), atol=1e-6)
        for array in drawn(figure)
    )


def sheet(view, queries=None):
    look, drawer = make_look(view), drawer_of(view)
    chosen = drawer.choose(look, view, 3) if queries is None else queries
    return drawer.draw(look, view, chosen)


def test_every_kind_of_view_has_a_drawer_with_a_name_of_its_own():
    kinds = [drawer.kind for drawer in DRAWERS.values()]
    assert {type(view) for view in make_all()} == set(DRAWERS)
    assert len(set(kinds)) == len(kinds)


@by_kind
def test_a_sheet_names_picture_and_layer_and_can_be_saved(view):
    figure = sheet(view)
    assert "deep/a_$x$.png" in texts(figure)
    assert view.layer in texts(figure) or "attention mask" in texts(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert Image.open(file).width == 1320


@pytest.mark.parametrize(("height", "width"), [(22, 30), (22, 9), (6, 30)])
@by_kind
def test_nothing_on_a_sheet_overlaps(view, height, width):
    look, drawer = make_look(view, height=height, width=width), drawer_of(view)
    if (height, width) != (22, 30):  # other shapes without padding
        look = replace(look, covered=(height, width))
    figure = drawer.draw(look, view, drawer.choose(look, view, 5))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    words = [
        text.get_window_extent(canvas.get_renderer())
        for text in set(figure.findobj(Text)) - unseen(figure)
        if text.get_text().strip() and text.get_visible()
    ]
    for number, one in enumerate(words):
        assert one.x0 >= 0
        assert one.y0 >= 0
        assert one.x1 <= figure.bbox.width
        assert not any(one.shrunk(0.9, 0.8).overlaps(other) for other in words[number + 1 :])


@by_kind
def test_the_summary_is_plain_and_the_arrays_are_finite(view):
    look, drawer = make_look(view), drawer_of(view)
    queries = drawer.choose(look, view, 2)
    assert json.loads(json.dumps(drawer.summary(look, view, queries)))["map"] == [6, 8]
    arrays = drawer.arrays(look, view, queries)
    assert arrays
    assert all(torch.isfinite(array.float()).all() for array in arrays.values())
    assert all(slug(name) == name for name in arrays)


@by_kind
def test_queries_are_places_of_the_picture_where_a_kind_has_rows(view):
    look, drawer = make_look(view), drawer_of(view)
    places = drawer.choose(look, view, 3)
    assert len(places) == (3 if drawer.takes_queries else 0)
    assert all(0 <= place < 48 for place in places)


def test_names_of_layers_become_names_of_files():
    assert slug("relu3_1") == "relu3_1"
    assert slug("../a b: c") == "a-b-c"
    assert slug("/") == "view"


# --- masks ---------------------------------------------------------------------------------------


def test_the_mask_is_drawn_as_it_is_with_its_legend_in_words():
    view = make_mask()
    figure = sheet(view)
    assert is_drawn(figure, view.mask)
    words = texts(figure)
    assert "0: kept\n1: made anew" in words
    assert "0 (dark) means kept, 1 (bright) means made anew" in words.replace("\n", " ")


def test_what_lies_above_a_half_is_measured_without_the_padding():
    mask = torch.zeros(24, 32)
    mask[22:] = mask[:, 30:] = 1
    assert share_above(make_look(), make_mask(mask=mask)) == 0
    mask[:11] = 1
    assert share_above(make_look(), make_mask(mask=mask)) == 0.5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.0, "1 everywhere (at least 1.000): all made anew"),
        (0.0, "0 everywhere (at most 0.000): all kept"),
        (0.4, "0.40 everywhere: it separates nothing"),
    ],
)
def test_a_mask_that_is_the_same_everywhere_is_said_to_be(value, said):
    view = make_mask(mask=torch.full((6, 8), value))
    assert said in explain(make_look(), view)
    assert said.split(":")[0] in texts(sheet(view)).replace("\n", " ")


def test_the_outline_runs_in_the_middle_where_all_values_lie_on_one_side():
    low = make_mask(mask=make_mask().mask * 0.4)
    assert edge_of(make_look(), low) == pytest.approx(0.2, abs=0.02)
    assert "all values lie below 0.5" in explain(make_look(), low)
    assert edge_of(make_look(), make_mask()) == 0.5


def test_a_mask_that_separates_is_not_said_to_be_the_same_everywhere():
    assert "everywhere" not in explain(make_look(), make_mask())


def test_an_inverted_mask_is_one_minus_it_with_its_words_exchanged():
    view = make_mask()
    turned = drawer_of(view).inverted(view)
    assert torch.equal(turned.mask, 1 - view.mask)
    assert (turned.low, turned.high) == (view.high, view.low)


@pytest.mark.parametrize("view", [OTHERS[1], *OTHERS[3:]], ids=lambda view: view.layer)
def test_only_masks_can_be_inverted(view):
    assert drawer_of(view).inverted(view) is None


# --- self-similarity -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tanh", "cosine"])
def test_the_rows_of_the_queries_are_drawn_for_both_pictures(form):
    view = make_similarity(form)
    figure = sheet(view, [11, 30])
    for side in ("source", "translation"):
        for row in view.map_rows(side, torch.tensor([11, 30])):
            assert is_drawn(figure, row / full_colour(row))
            assert f"full colour at {full_colour(row):.2g}" in texts(figure)
    alike = agreement(view, torch.tensor([11]))
    assert f"agreement {float(alike):.3f}" in texts(figure)


def test_agreement_is_the_cosine_of_both_rows():
    view = make_similarity()
    ours, theirs = (view.map_rows(side, torch.tensor([5]))[0] for side in ("source", "translation"))
    wanted = (ours * theirs).sum() / (ours.norm() * theirs.norm())
    assert float(agreement(view, torch.tensor([5]))) == pytest.approx(float(wanted), rel=1e-5)
    same = make_similarity(translation=view.source)
    assert agreement(same, torch.arange(48)).min() > 1 - 1e-5


def test_the_queries_begin_where_the_rows_changed_most():
    changed = make_similarity().source.clone()
    changed[:, 3, 4] = -changed[:, 3, 4]
    view = make_similarity(translation=changed)
    assert drawer_of(view).choose(make_look(), view, 1) == [3 * 8 + 4]


def test_no_query_lies_in_the_padding():
    view = make_similarity()
    look = replace(make_look(view), covered=(44, 60))
    chosen = drawer_of(view).choose(look, view, 48)
    assert sorted(chosen) == [row * 8 + column for row in range(3) for column in (1, 2, 3)]


def test_agreement_is_measured_on_an_even_grid():
    places, size = grid_positions(make_similarity(source=torch.zeros(1, 64, 96)))
    assert size == (32, 32)
    rows, columns = places // 96, places % 96
    assert rows.unique().tolist() == list(range(1, 64, 2))
    assert columns.unique().tolist() == list(range(1, 96, 3))
    assert grid_positions(make_similarity())[0].tolist() == list(range(48))


# --- attention of segmenting networks ------------------------------------------------------------


def test_position_attention_is_drawn_above_its_least_weight():
    view = make_position()
    row = view.map_rows(torch.tensor([20]))[0]
    share = ((row - row.min()) / (row.max() - row.min())).sqrt()
    assert is_drawn(sheet(view, [20]), share)


def test_what_places_receive_sums_to_their_number():
    view = make_position()
    assert float(received(view).sum()) == pytest.approx(48, rel=1e-5)
    wanted = view.map_rows(torch.arange(48)).sum(dim=0)
    assert torch.allclose(received(view), wanted, atol=1e-5)


def test_places_of_position_attention_lie_evenly_over_the_picture():
    view = make_position()
    # a picture of 30 x 22 pixels, a place 4 x 4
    assert even_positions(make_look(), view, 1) == [2 * 8 + 3]
    assert even_positions(make_look(), view, 4) == [8 + 1, 8 + 5, 4 * 8 + 1, 4 * 8 + 5]
    assert even_positions(make_look(), view, 0) == []


def test_a_large_matrix_of_channels_is_drawn_by_the_largest_weight_of_a_block():
    weights = torch.zeros(300, 300)
    weights[299, 4] = 0.7
    small = small_matrix(weights)
    assert small.shape == (100, 100)
    assert float(small[99, 1]) == pytest.approx(0.7)
    assert torch.equal(small_matrix(make_channel().weights), make_channel().weights)


def test_every_shown_channel_has_its_response_and_its_share():
    view = make_channel()
    figure = sheet(view)
    assert all(is_drawn(figure, response) for response in view.channels)
    assert f"channel 4\n{float(gathered(view)[4]):.2g} equal shares" in texts(figure)
    assert is_drawn(figure, view.weights)


@pytest.mark.parametrize("count", [2, 3])
def test_every_scale_has_a_map_and_its_part_of_the_picture(count):
    view = make_scale(count)
    figure = sheet(view)
    assert all(is_drawn(figure, weights) for weights in view.weights)
    _, shares = dominant(make_look(), view)
    assert sum(shares) == pytest.approx(1)
    assert f"scale 0.75: {shares[1]:.1%}" in texts(figure)


# --- through training ----------------------------------------------------------------------------


def moments_of(view, count=3):
    look, drawer = make_look(view), drawer_of(view)
    queries = drawer.choose(look, view, 1)
    made = [drawer.remember(look, view, queries, 100 * step) for step in range(count)]
    return [moment for moment in made if moment is not None]


@pytest.mark.parametrize("view", [v for v in OTHERS if v.layer != "channel"], ids=lambda v: v.layer)
def test_strip_and_film_show_the_maps_of_every_checkpoint(view):
    moments, look, drawer = moments_of(view), make_look(view), drawer_of(view)
    assert [moment.step for moment in moments] == [0, 100, 200]
    assert len(moments[0].maps) == len(drawer.film_rows(view))
    figure = draw_strip(look, view, moments, query=None)
    words = texts(figure)
    assert all(f"step {step}" in words for step in (0, 100, 200))
    assert all(row.title in words for row in drawer.film_rows(view))
    figure.savefig(io.BytesIO(), format="png")
    frames = draw_film(look, view, moments, query=None)
    assert len({frame.size for frame in frames}) == 1
    assert len(frames) == 3


def test_the_rows_of_both_pictures_lie_over_their_own():
    view = make_similarity()
    moment = moments_of(view)[0]
    look = make_look(view)
    strip = draw_strip(look, view, [moment], query=None)
    pale = [faded(picture, darkest=150, contrast=0.4) for picture in
            (look.source, moment.translation)]  # fmt: skip
    backdrops = [array for array in drawn(strip) if array.shape == (22, 30, 3)]
    assert np.array_equal(backdrops[1], pale[0])
    assert np.array_equal(backdrops[2], pale[1])


def test_channel_attention_has_no_film():
    assert moments_of(make_channel()) == []


def test_maps_of_a_film_are_small():
    assert smaller(torch.rand(2, 512, 300), 256).shape == (2, 256, 150)
    kept = torch.rand(2, 200, 256)
    assert smaller(kept, 256) is kept


# --- the page ------------------------------------------------------------------------------------


def array(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


@by_kind
def test_a_part_of_the_page_says_its_kind_and_is_json(view):
    look = make_look(view)
    part = build_part(look, step=1)
    (layer,) = json.loads(part.text)["layers"]
    assert (layer["layer"], layer["kind"]) == (view.layer, drawer_of(view).kind)
    assert 0 <= part.error <= GOOD_ENOUGH
    assert build_page([part], title="t", method="m").isascii()


def test_masks_and_weights_are_packed_within_half_a_step():
    look = make_look()
    mask, scale = make_mask(), make_scale()
    ours = array(drawer_of(mask).pack(look, mask, 1.0)[0]["mask"], "u1") / 255
    assert np.abs(ours - mask.mask.flatten().numpy()).max() <= 0.5 / 255 + 1e-7
    ours = array(drawer_of(scale).pack(look, scale, 1.0)[0]["weights"], "u1") / 255
    assert np.abs(ours - scale.weights.flatten().numpy()).max() <= 0.5 / 255 + 1e-7


@pytest.mark.parametrize("form", ["tanh", "cosine"])
def test_packed_features_give_the_similarities_within_the_error_they_state(form):
    view = make_similarity(form)
    document, error = drawer_of(view).pack(make_look(view), view, 1.0)
    for side in ("source", "translation"):
        packed = document["features"][side]
        values = array(packed["values"], f"<i{packed['bytes']}").reshape(48, packed["rank"])
        features = values * array(packed["scales"], "<f4").astype(np.float64)
        ours = features @ features.T
        ours = np.tanh(ours) if form == "tanh" else ours
        exact = view.map_rows(side, torch.arange(48)).flatten(1).numpy()
        assert np.abs(ours - exact).max() <= error + 1e-6 <= GOOD_ENOUGH + 1e-6


def test_features_take_fewer_axes_where_those_suffice():
    flat = torch.cat([make_similarity().factors("source")[:3], torch.zeros(9, 48)])
    document, error = pack_own(flat, torch.tanh, share=1.0)
    assert document["rank"] == 3
    assert error <= GOOD_ENOUGH


def test_a_smaller_share_keeps_fewer_axes_at_a_larger_error():
    flat = make_similarity().factors("source")
    whole, small = (pack_own(10 * flat, torch.tanh, share=share) for share in (1.0, 0.25))
    assert small[0]["rank"] == 3
    assert small[1] > whole[1]
