import pytest
import torch
from echo import SMALL, Echo
from torch.nn import functional as F

from i2icli.methods import build_method, configure_run
from i2icli.methods.shared.base import Translation
from i2icli.translation.full_size import Resized, at_full_size, way_back


def pictures(height, width, *, seed=0, batch=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def small(images, height, width):
    return F.interpolate(images, size=(height, width), mode="bicubic", antialias=True)


@pytest.mark.parametrize("size", [(40, 60), (41, 23), (7, 60), (10, 15), (20, 30), (500, 33)])
def test_resized_rows_are_those_of_a_bicubic_resize_of_the_whole(size):
    maps = pictures(20, 30, batch=2)
    wanted = F.interpolate(maps, size=size, mode="bicubic", antialias=True)
    resized = Resized(maps, size)
    cuts = sorted({0, 1, size[0] // 3, size[0]})
    rows = [resized.rows(first, last) for first, last in zip(cuts, cuts[1:], strict=False)]
    torch.testing.assert_close(torch.cat(rows, dim=2), wanted, rtol=0, atol=1e-12)


def test_maps_of_one_row_and_column_are_spread_out():
    assert torch.equal(
        Resized(torch.full((1, 1, 1, 1), 0.5), (5, 4)).rows(0, 5), torch.full((1, 1, 5, 4), 0.5)
    )


def test_an_enlarged_change_is_added_to_the_full_picture_before_the_tanh():
    picture, change = pictures(600, 10), 2 * pictures(300, 5, seed=1)
    enlarged = F.interpolate(change, size=(600, 10), mode="bicubic", antialias=True)
    x = 0.97 * picture
    wanted = torch.tanh(0.5 * torch.log((1 + x) / (1 - x)) + enlarged)
    made = at_full_size(Translation(change), picture, small(picture, 300, 5), way="change").images
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-9)


def windows(values, row, column, radius=2):
    height, width = values.shape
    rows = slice(max(0, row - radius), min(height, row + radius + 1))
    return values[rows, max(0, column - radius) : min(width, column + radius + 1)]


def slope_of(source, change, *, ridge=0.01):
    """Fit change = slope * source + offset in each window, then average the slopes of windows."""
    slopes = torch.empty_like(source)
    for row in range(source.shape[0]):
        for column in range(source.shape[1]):
            x, y = (windows(values, row, column) for values in (source, change))
            covariance = ((x - x.mean()) * (y - y.mean())).mean()
            slopes[row, column] = covariance / (((x - x.mean()) ** 2).mean() + ridge)
    means = torch.empty_like(source)
    for row in range(source.shape[0]):
        for column in range(source.shape[1]):
            means[row, column] = windows(slopes, row, column).mean()
    return means


def test_the_guided_filter_is_a_local_line_from_small_source_to_small_translation():
    picture = pictures(18, 27)
    source = small(picture, 6, 9).clamp(-1, 1)
    made = (0.5 * pictures(6, 9, seed=1) + 0.2 * source).clamp(-1, 1)
    change = made - source
    slope = torch.stack([slope_of(x, y) for x, y in zip(source[0], change[0], strict=True)])[None]
    up = [small(part, 18, 27) for part in (slope, change - slope * source)]
    wanted = (picture + up[0] * picture + up[1]).clamp(-1, 1)
    result = at_full_size(Translation(made), picture, source, way="guided").images
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-12)


def test_the_guided_filter_keeps_every_pixel_where_nothing_changed():
    picture = pictures(64, 48).float()
    source = small(picture, 32, 24).clamp(-1, 1)
    made = at_full_size(Translation(source), picture, source, way="guided").images
    assert torch.equal(made, picture)


def test_the_guided_filter_keeps_edges_of_a_source_whose_contrast_is_turned_round():
    picture = torch.full((1, 3, 64, 64), -0.8, dtype=torch.float64)
    picture[..., 30:] = 0.8  # an edge that lies within a pixel of the small picture
    source = small(picture, 16, 16).clamp(-1, 1)
    translation = Translation(-source)
    guided, plain = (
        at_full_size(translation, picture, source, way=way).images for way in ("guided", "plain")
    )
    assert (guided + picture).abs().mean() < 0.3 * (plain + picture).abs().mean()


@pytest.mark.parametrize("way", ["plain", "guided"])
def test_a_translation_that_was_made_larger_is_reduced(way):
    picture = pictures(10, 12)
    made = pictures(20, 24, seed=1)
    result = at_full_size(Translation(made), picture, small(picture, 20, 24), way=way).images
    torch.testing.assert_close(result, small(made, 10, 12).clamp(-1, 1), rtol=0, atol=1e-12)


def test_label_maps_take_the_nearest_position_and_masks_stay_in_range():
    labels = torch.tensor([[[1, 2], [3, 4]]])
    images = labels[:, None].expand(1, 3, 2, 2) / 4.0
    picture = torch.zeros(1, 3, 4, 5)
    segmented = at_full_size(
        Translation(images, labels), picture, picture[..., :2, :2], way="plain"
    )
    assert segmented.labels is not None
    assert segmented.labels[0, :, 0].tolist() == [1, 1, 3, 3]
    assert segmented.labels[0, 0].tolist() == [1, 1, 2, 2, 2]
    assert torch.equal(segmented.images[:, 0], segmented.labels / 4.0)
    mask = torch.tensor([0.0, 1.0]).repeat(1, 1, 2, 1)
    masked = at_full_size(
        Translation(images, masks={"mask": mask}), picture, picture[..., :2, :2], way="plain"
    )
    assert masked.masks["mask"].shape == (1, 1, 4, 5)
    assert masked.masks["mask"].min() == 0
    assert masked.masks["mask"].max() == 1


@pytest.mark.parametrize(
    ("preset", "overrides", "way"),
    [
        ("cut", ["method.generator.residual=true"], "change"),
        ("cyclegan", ["method.generator.residual=true"], "change"),
        ("cut", [], "guided"),
        ("cyclegan", ["data.channels_b=1", "method.lambda_identity=0"], "plain"),
    ],
)
def test_the_way_back_follows_from_the_method(preset, overrides, way):
    method = build_method(configure_run(preset, [*SMALL, *overrides]))
    assert [way_back(method, direction) for direction in method.directions] == [way] * len(
        method.directions
    )
    assert way_back(Echo(), "a2b") == "guided"
