import math

import pytest
import torch
from torch.nn import functional as F

from i2icli.losses.attention import (
    entropy_of,
    global_entropy,
    global_rows,
    local_entropy,
    local_rows,
    route_global,
    route_local,
)

LAYOUTS = ("paper", "released")


def maps(*shape, seed=0, scale=1.0):
    torch.manual_seed(seed)
    return scale * torch.randn(*shape, dtype=torch.float64)


def plain_entropy(weights):
    return -sum(p * math.log(p) for p in weights.tolist() if p > 0)


def true_window(image, place, window):
    """Return the vectors around a place of one image, (C, H, W), one by one: (window^2, C)."""
    channels, height, width = image.shape
    row, column = divmod(place, width)
    vectors = []
    for down in range(-(window // 2), window // 2 + 1):
        for right in range(-(window // 2), window // 2 + 1):
            is_inside = 0 <= row + down < height and 0 <= column + right < width
            outside = torch.zeros(channels, dtype=image.dtype)
            vectors.append(image[:, row + down, column + right] if is_inside else outside)
    return torch.stack(vectors)


def keys_of(image, place, window, layout):
    if layout == "paper":
        return true_window(image, place, window)
    # the published code reads one column of `unfold`, channels slowest, as (window^2, C)
    column = F.unfold(image[None], window, padding=window // 2)[0, :, place]
    return column.reshape(window * window, image.shape[0])


def test_global_entropy_is_that_of_the_softmax_over_all_places():
    features = maps(2, 3, 4, 5)
    entropy = global_entropy(features)
    assert entropy.shape == (2, 20)
    for image in range(2):
        flat = features[image].flatten(1)
        for place in range(20):
            weights = (flat[:, place] @ flat).softmax(dim=0)
            assert entropy[image, place].item() == pytest.approx(plain_entropy(weights))


@pytest.mark.parametrize("chunk", [1, 7, 20, 1000])
def test_global_entropy_does_not_depend_on_the_chunk(chunk):
    features = maps(2, 3, 4, 5)
    torch.testing.assert_close(global_entropy(features, chunk), global_entropy(features))


@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_local_entropy_is_that_of_the_softmax_over_the_window(layout, window):
    features = maps(2, 3, 4, 5)
    entropy = local_entropy(features, window=window, layout=layout)
    assert entropy.shape == (2, 20)
    for image in range(2):
        for place in range(20):
            keys = keys_of(features[image], place, window, layout)
            weights = (keys @ features[image].flatten(1)[:, place]).softmax(dim=0)
            assert entropy[image, place].item() == pytest.approx(plain_entropy(weights), abs=1e-12)


def test_released_local_entropy_does_not_depend_on_the_chunk(monkeypatch):
    features = maps(2, 3, 4, 5)
    whole = local_entropy(features, layout="released")
    monkeypatch.setattr("i2icli.losses.attention._CHUNK_NUMBERS", 2 * 3 * 49 * 3)
    torch.testing.assert_close(local_entropy(features, layout="released"), whole)


def test_entropies_carry_no_gradient():
    features = maps(1, 3, 4, 5).requires_grad_()
    assert not global_entropy(features).requires_grad
    assert not local_entropy(features, layout="paper").requires_grad


@pytest.mark.parametrize("scale", [1e2, 1e3, 6e3])
def test_entropy_of_huge_scores_is_not_lost_to_cancellation(scale):
    # scores of thousands, entropies down to 1e-30: log-sum-exp minus the mean score is all noise
    gaps = torch.tensor([5.0, 20.0, 40.0, 60.0])
    scores = torch.stack([torch.full((4,), scale), scale - gaps], dim=-1)
    exact = entropy_of(scores.double())
    torch.testing.assert_close(entropy_of(scores).double(), exact, rtol=0.1, atol=0.0)
    assert exact.min() < 1e-24


def test_weights_that_underflow_contribute_nothing():
    scores = torch.tensor([[0.0, -1e4, 0.0]])
    assert entropy_of(scores).item() == pytest.approx(math.log(2))


def test_global_entropies_of_equal_places_tie():
    features = torch.zeros(1, 2, 4, 4)
    features[:, :, :2] = torch.tensor([1.5, -2.0])[None, :, None, None]
    entropy = global_entropy(features)
    assert entropy[0, :8].unique().numel() == 1
    assert entropy[0, 8:].tolist() == pytest.approx([math.log(16)] * 8)


def test_global_rows_are_the_softmax_rows_of_the_selected_places():
    features, places = maps(2, 3, 4, 5), torch.tensor([[3, 19], [0, 7]])
    rows = global_rows(features, places)
    flat = features.flatten(2)
    whole = (flat.mT @ flat).softmax(dim=-1)
    for image in range(2):
        torch.testing.assert_close(rows[image], whole[image, places[image]])
    torch.testing.assert_close(
        route_global(rows, features), rows @ features.permute(0, 2, 3, 1).flatten(1, 2)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_local_rows_are_the_softmax_over_the_keys_of_the_layout(layout):
    features, places = maps(2, 3, 4, 5), torch.tensor([[3, 19, 6], [0, 7, 12]])
    rows = local_rows(features, places, window=3, layout=layout)
    assert rows.shape == (2, 3, 9)
    for image in range(2):
        for number, place in enumerate(places[image].tolist()):
            keys = keys_of(features[image], place, 3, layout)
            expected = (keys @ features[image].flatten(1)[:, place]).softmax(dim=0)
            torch.testing.assert_close(rows[image, number], expected)


def test_paper_values_are_the_true_window():
    features, places = maps(2, 3, 4, 5), torch.tensor([[3, 19], [0, 7]])
    rows = torch.rand(2, 2, 9, dtype=torch.float64)
    routed = route_local(rows, features, places, window=3, layout="paper")
    for image in range(2):
        for number, place in enumerate(places[image].tolist()):
            expected = rows[image, number] @ true_window(features[image], place, 3)
            torch.testing.assert_close(routed[image, number], expected)


def test_released_values_swap_places_and_channels_where_they_are_equally_many():
    # with as many places as channels: out[i, c] = sum_j a[i, j] F(channel i, offset j, place c)
    features, places = maps(1, 3, 4, 5), torch.tensor([[3, 19, 6]])
    rows = torch.rand(1, 3, 9, dtype=torch.float64)
    routed = route_local(rows, features, places, window=3, layout="released")
    windows = torch.stack([true_window(features[0], place, 3) for place in places[0].tolist()])
    torch.testing.assert_close(routed[0], torch.einsum("ij,cji->ic", rows[0], windows))


@pytest.mark.parametrize("count", [2, 5])
def test_released_values_follow_the_published_memory_order_for_any_count(count):
    features, places = maps(2, 3, 4, 5), torch.arange(2 * count).view(2, count) * 2
    rows = torch.rand(2, count, 9, dtype=torch.float64)
    unfolded = F.unfold(features, 3, padding=1)  # (B, C * K, HW)
    taken = torch.stack([unfolded[image][:, places[image]] for image in range(2)])
    values = taken.flatten(0, 1).reshape(2 * count, 9, 3)
    expected = torch.bmm(rows.view(2 * count, 1, 9), values).view(2, count, 3)
    torch.testing.assert_close(
        route_local(rows, features, places, window=3, layout="released"), expected
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_local_attention_of_one_image_is_that_of_the_image_in_a_batch(layout):
    features, places = maps(2, 3, 4, 5), torch.tensor([[3, 19], [0, 7]])
    rows = local_rows(features, places, layout=layout)
    together = route_local(rows, features, places, layout=layout)
    for image in range(2):
        one, own = features[image, None], places[image, None]
        alone = route_local(local_rows(one, own, layout=layout), one, own, layout=layout)
        torch.testing.assert_close(together[image, None], alone)


@pytest.mark.parametrize("layout", [None, *LAYOUTS])
def test_rows_and_routes_have_the_right_gradient(layout):
    source, target = maps(1, 2, 3, 4).requires_grad_(), maps(1, 2, 3, 4, seed=1).requires_grad_()
    places = torch.tensor([[1, 11]])

    def routed(source, target):
        if layout is None:
            return route_global(global_rows(source, places), target)
        rows = local_rows(source, places, window=3, layout=layout)
        return route_local(rows, target, places, window=3, layout=layout)

    assert torch.autograd.gradcheck(routed, (source, target))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_format_of_the_features_does_not_matter(layout):
    features = maps(2, 3, 4, 5)
    other = features.contiguous(memory_format=torch.channels_last)
    places = torch.tensor([[3, 19], [0, 7]])
    torch.testing.assert_close(global_entropy(features), global_entropy(other))
    torch.testing.assert_close(
        local_entropy(features, layout=layout), local_entropy(other, layout=layout)
    )
    torch.testing.assert_close(
        local_rows(features, places, layout=layout), local_rows(other, places, layout=layout)
    )


def test_attention_runs_in_float32_under_autocast():
    features, places = maps(1, 8, 4, 5, scale=4.0).float(), torch.tensor([[3, 19]])
    with torch.autocast("cpu", torch.bfloat16):
        cast = [global_entropy(features), global_rows(features, places)]
        cast.append(local_rows(features.bfloat16(), places, layout="paper"))
    assert torch.equal(cast[0], global_entropy(features))
    assert torch.equal(cast[1], global_rows(features, places))
    assert cast[2].dtype == torch.float32


@pytest.mark.parametrize("window", [0, 4])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(ValueError, match=f"window must be odd and positive, got {window}"):
        local_entropy(maps(1, 2, 3, 3), window=window, layout="paper")
