import numpy as np
import pytest

from i2icli.viz.grid import draw_grid, lay_out, shrink


def random_pixels(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_pictures_stand_in_a_grid_pixel_for_pixel_whatever_their_sizes():
    rows = [
        [random_pixels(40, 60), random_pixels(20, 90, seed=1)],
        [random_pixels(3, 2, seed=2), random_pixels(33, 31, seed=3)],
    ]
    titles = {"column_titles": ("source", "translation"), "row_titles": ("a.png", "b.png")}
    image = draw_grid(rows, **titles)
    layout = lay_out(rows, **titles)
    for row, boxes in zip(rows, layout.boxes, strict=True):
        for pixels, box in zip(row, boxes, strict=True):
            assert np.array_equal(np.asarray(image.crop(box)), pixels)


def test_nothing_in_a_grid_overlaps_or_leaves_it():
    rows = [[random_pixels(10, 10)] * 3, [random_pixels(50, 7)] * 3]
    layout = lay_out(rows, row_titles=("a rather long name of a picture.png", "b"))
    boxes = [box for row in layout.boxes for box in row]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert layout.title_width < left < right < layout.size[0]
        assert 0 < top < bottom < layout.size[1]
        for other in boxes[:i]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_grid_without_titles_is_white_around_the_pictures():
    rows = [[np.zeros((10, 12, 3), np.uint8)]]
    image = np.asarray(draw_grid(rows))
    left, top, right, bottom = lay_out(rows).boxes[0][0]
    outside = np.ones(image.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert (image[outside] == 255).all()
    assert outside.sum() == image.shape[0] * image.shape[1] - 120


@pytest.mark.parametrize("place", ["column_titles", "row_titles"])
def test_titles_are_drawn_in_dark_ink_beside_the_pictures(place):
    rows = [[np.full((40, 60, 3), 255, np.uint8)]]
    image = np.asarray(draw_grid(rows, **{place: ("horse",)}))
    assert image.min() < 100


def test_grey_and_16_bit_pictures_are_shown_in_8_bit_colour():
    grey = random_pixels(9, 9, 1)
    deep = grey.astype(np.uint16) * 257
    rows = [[grey, deep, grey[..., 0]]]
    image = draw_grid(rows)
    for box in lay_out(rows).boxes[0]:
        assert np.array_equal(np.asarray(image.crop(box)), np.repeat(grey, 3, axis=2))


def test_titles_that_cannot_be_drawn_as_they_are_do_not_break_a_grid():
    rows = [[random_pixels(20, 20)]] * 3
    titles = ("line\nbreak.png", "undecodable\udcff.png", "x" * 4000)
    layout = lay_out(rows, row_titles=titles)
    assert draw_grid(rows, row_titles=titles).size == layout.size
    assert layout.size[0] < 400


def test_rows_may_be_of_different_length():
    rows = [[random_pixels(8, 8)], [random_pixels(8, 8), random_pixels(8, 30)]]
    assert [len(boxes) for boxes in lay_out(rows).boxes] == [1, 2]


@pytest.mark.parametrize(
    ("rows", "titles", "message"),
    [
        ([], {}, "at least one picture"),
        ([[]], {}, "at least one picture"),
        ([[0]], {"column_titles": ("a", "b")}, "2 column titles for 1 columns"),
        ([[0]], {"row_titles": ("a", "b")}, "2 row titles for 1 rows"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(rows, titles, message):
    with pytest.raises(ValueError, match=message):
        draw_grid(rows, **titles)


def test_shrink_scales_only_pictures_that_are_larger():
    small = random_pixels(30, 20)
    assert shrink(small, side=30) is small
    assert shrink(random_pixels(30, 20, 1), side=15).shape == (15, 10, 1)
    assert shrink(random_pixels(3000, 1), side=100).shape == (100, 1, 3)
