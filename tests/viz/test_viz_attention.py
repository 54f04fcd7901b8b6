import io
import math

import numpy as np
import pytest
import torch
from attention_kit import drawn, make_look, make_view, texts
from matplotlib.axes import Axes
from PIL import Image

from i2icli.viz.attention import DRAWER, bound, explain, nats
from i2icli.viz.looks import Moment, ranks, spread, window_map
from i2icli.viz.strip import draw_film, draw_strip, film_bytes


@pytest.mark.parametrize(
    ("selection", "layout", "maps", "windows"),
    [
        ("global", "paper", 4, 0),
        ("local", "paper", 4, 4),
        ("local-global", "paper", 4, 4),
        ("local", "released", 4, 4),
    ],
)
def test_a_sheet_shows_every_query_in_source_and_translation(selection, layout, maps, windows):
    view = make_view(selection, layout=layout)
    figure = DRAWER.draw(make_look(view), view, [0, 20])
    shapes = [array.shape for array in drawn(figure)]
    # two maps of entropy, and one of weights for each query and side
    assert shapes.count((6, 8)) == 2 + maps
    assert shapes.count((7, 7)) == windows
    words = texts(figure)
    assert all(f"query {number}: source" in words for number in (1, 2))
    assert "deep/a_$x$.png" in words
    assert f"rank {int(ranks(view.entropy)[20])}" in words


def test_a_sheet_without_queries_has_the_overview_alone():
    view = make_view()
    figure = DRAWER.draw(make_look(view), view, [])
    assert "entropy, source" in texts(figure)
    assert "query" not in texts(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert Image.open(file).width == 1320


def test_the_heat_map_is_the_attention_row_under_a_square_root():
    view = make_view()
    figure = DRAWER.draw(make_look(view), view, [11])
    row = view.map_rows("source", torch.tensor([11]))[0]
    wanted = (row / row.max()).sqrt().numpy()
    arrays = drawn(figure)
    assert any(a.shape == wanted.shape and np.allclose(a, wanted, atol=1e-6) for a in arrays)


def test_selected_places_are_drawn_at_their_pixels():
    view = make_view()
    look = make_look(view)
    figure = DRAWER.draw(look, view, [])
    (dots,) = [
        c for ax in figure.findobj(Axes) for c in ax.collections if len(c.get_offsets()) == 9
    ]
    best = int(view.places[0])
    row, column = divmod(best, 8)
    # drawn last, so that it lies on top; a place is 4 x 4 pixels of the padded picture
    assert dots.get_offsets()[-1].tolist() == [4 * column + 2, 4 * row + 2]
    assert dots.get_array()[-1] == 1


def test_ranks_begin_at_one_and_break_ties_by_position():
    assert ranks(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).tolist() == [4, 1, 2, 3]


def test_queries_are_the_first_places_that_lie_apart():
    # on a map 10 wide: the corner, two near it, the middle, and two other corners
    places = [0, 1, 12, 55, 99, 90]
    assert spread(places, width=10, count=3) == [0, 55, 99]
    assert spread(places, width=10, count=5) == [0, 12, 55, 99, 90]
    assert spread([7, 8], width=10, count=4) == [7, 8]
    assert spread([7, 8], width=10, count=0) == []
    assert spread([], width=10, count=4) == []


def test_a_pixel_has_the_place_that_covers_it():
    view = make_view()
    look = make_look(view)
    assert look.place_at(view, 0, 0) == 0
    assert look.place_at(view, 29.9, 21.9) == 5 * 8 + 7
    assert look.place_at(view, 5, 9) == 2 * 8 + 1
    assert look.centre_of(view, 2 * 8 + 1) == (6.0, 10.0)


def test_a_window_lies_around_its_place_and_is_cut_at_the_edge():
    view = make_view("local")
    weights = torch.arange(49.0).view(7, 7)
    placed = window_map(view, 0, weights)
    assert torch.equal(placed[:4, :4], weights[3:, 3:])
    assert placed[4:].sum() == placed[:, 4:].sum() == 0
    inside = window_map(view, 3 * 8 + 4, weights)
    assert torch.equal(inside[:, 1:8], weights[:6])


def test_cells_of_the_released_layout_are_put_at_no_place():
    view = make_view("local", layout="released")
    assert window_map(view, 0, torch.ones(7, 7)).sum() == 0
    assert "are no places" in explain(view)


def test_the_bound_is_the_entropy_of_equal_weights():
    assert bound(make_view()) == pytest.approx(math.log(48))
    assert bound(make_view("local")) == pytest.approx(math.log(49))
    assert bound(make_view("local-global")) == pytest.approx(math.log(49))


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0, "0.00"), (0.0, "0.00"), (2e-17, "2e-17"), (3.456, "3.46")]
)
def test_tiny_entropies_are_told_from_none(value, text):
    assert nats(torch.tensor(value)) == text


def moments(count):
    random = np.random.default_rng(1)
    return [
        Moment(
            100 * number,
            random.integers(0, 256, (22, 30, 3), dtype=np.uint8),
            tuple(torch.tensor(random.random((2, 6, 8)), dtype=torch.float32)),
        )
        for number in range(count)
    ]


def test_a_strip_has_a_column_a_checkpoint_and_says_its_step():
    view = make_view()
    figure = draw_strip(make_look(view), view, moments(3), query=5)
    words = texts(figure)
    assert all(f"step {step}" in words for step in (0, 100, 200))
    figure.savefig(io.BytesIO(), format="png")


def test_a_strip_of_many_checkpoints_keeps_the_first_and_the_last():
    view = make_view()
    words = texts(draw_strip(make_look(view), view, moments(20), query=5)).split("\n")
    steps = sorted(int(word.removeprefix("step ")) for word in words if word.startswith("step "))
    assert len(steps) == 8
    assert (steps[0], steps[-1]) == (0, 1900)


def test_a_film_has_a_frame_a_checkpoint_and_rests_on_the_last():
    view = make_view()
    frames = draw_film(make_look(view), view, moments(3), query=5)
    film = Image.open(io.BytesIO(film_bytes(frames)))
    assert (film.n_frames, film.info["loop"]) == (3, 0)
    times = []
    for number in range(3):
        film.seek(number)
        times.append(film.info["duration"])
        shown = np.asarray(film.convert("RGB"), np.int64)
        assert np.abs(shown - np.asarray(frames[number], np.int64)).mean() < 6
    assert times[2] > times[0]
