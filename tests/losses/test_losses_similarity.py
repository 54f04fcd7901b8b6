import math

import pytest
import torch

from i2icli.losses.similarity import (
    contrast_logits,
    map_contrast,
    map_distance,
    mask_maps,
    similarity_maps,
)


def numbers(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def one_map(features, place, size, *, normalise):
    """Return the map of one place of one picture, (C, H, W), from its definition."""
    channels, height, width = features.shape
    centred = features - features.mean(dim=(1, 2), keepdim=True)
    row, column = divmod(place, width)
    rows, columns = range(height), range(width)
    if size < min(height, width):
        top = min(max(row - size // 2, 0), height - size)
        left = min(max(column - size // 2, 0), width - size)
        rows, columns = range(top, top + size), range(left, left + size)
    query, values = centred[:, row, column], []
    for y in rows:
        for x in columns:
            product = float(query @ centred[:, y, x])
            if normalise:
                values.append(product / float(query.norm() * centred[:, y, x].norm()))
            else:
                values.append(math.tanh(product / channels / 10))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_maps_are_the_similarities_with_the_places_around_each_place(size, normalise):
    features = 3 * numbers(2, 4, 5, 7, seed=1)
    places = torch.tensor([0, 6, 17, 34, 29])
    maps = similarity_maps(features, places, patch_size=size, normalise=normalise)
    for picture in range(2):
        for number, place in enumerate(places.tolist()):
            expected = one_map(features[picture], place, size, normalise=normalise)
            torch.testing.assert_close(maps[picture, number], expected)


def test_released_windows_are_those_of_the_height_and_equal_on_square_maps():
    wide, square = numbers(1, 4, 5, 7, seed=2), numbers(1, 4, 6, 6, seed=3)
    places = torch.tensor([3, 16, 33])

    def maps(features, layout):
        return similarity_maps(features, places, patch_size=3, layout=layout)

    torch.testing.assert_close(maps(square, "released"), maps(square, "paper"))
    assert not torch.allclose(maps(wide, "released"), maps(wide, "paper"))
    # place 16 is row 2, column 2; 16 // 5, 16 % 5 is row 3, column 1: the window one down and left
    ours = similarity_maps(wide, torch.tensor([16]), patch_size=5 + 2)[0, 0].view(5, 7)
    # Close, not equal: products of other shapes may be added up in another order.
    torch.testing.assert_close(maps(wide, "released")[0, 1].view(3, 3), ours[2:5, 0:3])


def test_maps_do_not_see_a_shift_of_the_features():
    features, places = numbers(1, 4, 5, 5, seed=4), torch.tensor([7])
    shifted = features + torch.arange(4.0).view(4, 1, 1)
    torch.testing.assert_close(
        similarity_maps(shifted, places, patch_size=3),
        similarity_maps(features, places, patch_size=3),
    )


def test_the_mask_keeps_one_more_than_a_quarter_by_the_target_alone():
    source, target = numbers(1, 2, 16, seed=5), numbers(1, 2, 16, seed=6)
    kept_source, kept_target = mask_maps(source, target)
    for row in range(2):
        best = target[0, row].argsort(descending=True)[:5].sort().values
        assert kept_target[0, row].nonzero().flatten().tolist() == best.tolist()
        assert torch.equal(kept_source[0, row, best], source[0, row, best])
        assert kept_source[0, row].count_nonzero() == 5


@pytest.mark.parametrize("compare", ["cos", "l1"])
@pytest.mark.parametrize("normalise", [True, False])
def test_equal_maps_are_at_no_distance_and_others_are_not(compare, normalise):
    maps, others = numbers(1, 3, 12, seed=7), numbers(1, 3, 12, seed=8)
    near = map_distance(maps, maps, compare=compare, normalise=normalise)
    far = map_distance(maps, others, compare=compare, normalise=normalise)
    assert near == pytest.approx(0, abs=1e-12)
    assert far > 0.01


def test_a_flat_picture_gives_finite_gradients():
    flat = torch.ones(1, 4, 4, 4, requires_grad=True)
    places = torch.arange(4)
    for normalise in (True, False):
        maps = similarity_maps(flat, places, patch_size=9, normalise=normalise)
        for loss in (map_distance(maps, maps + 0.0), map_contrast(maps, maps, maps)):
            (gradient,) = torch.autograd.grad(loss, flat, retain_graph=True)
            assert gradient.isfinite().all()


def test_the_contrast_is_the_cross_entropy_of_each_place_among_three_blocks():
    source, target, other = (numbers(2, 3, 8, seed=seed) for seed in (9, 10, 11))
    logits = contrast_logits(source, target, other, temperature=0.5)
    assert logits.shape == (2, 3, 9)
    unit = [maps / maps.norm(dim=-1, keepdim=True) for maps in (source, target, other)]
    losses = []
    for picture in range(2):
        for place in range(3):
            a, b = unit[0][picture, place], unit[1][picture, place]
            row = [float(a @ maps) for maps in unit[1][picture]]
            row += [float(a @ maps) for maps in unit[2][picture]]
            row += [float(b @ maps) for maps in unit[2][picture]]
            assert logits[picture, place].tolist() == pytest.approx([v / 0.5 for v in row])
            losses.append(math.log(sum(math.exp(v / 0.5) for v in row)) - row[place] / 0.5)
    contrast = map_contrast(source, target, other, temperature=0.5)
    assert float(contrast) == pytest.approx(sum(losses) / 6)


def test_half_precision_features_are_compared_in_single():
    features = numbers(1, 4, 5, 5, seed=12).to(torch.bfloat16)
    maps = similarity_maps(features, torch.tensor([3]), patch_size=3)
    assert maps.dtype == torch.float32
    assert torch.equal(maps, similarity_maps(features.float(), torch.tensor([3]), patch_size=3))
