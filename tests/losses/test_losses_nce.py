import math

import pytest
import torch
from torch.nn import functional as F

from i2icli.losses.nce import patch_nce
from i2icli.networks.taps import gather_places
from i2icli.system.memory import LiveBytes


def unit_rows(*shape, seed=0):
    torch.manual_seed(seed)
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def entropy_of_patch(queries, keys, *, image, place):
    """Return the cross entropy of one patch among those of its image, number by number."""
    query = queries[image, place]
    positive = float(query @ keys[image, place]) / 0.07
    others = [float(query @ keys[image, n]) / 0.07 for n in range(keys.shape[1]) if n != place]
    return -positive + math.log(sum(math.exp(v) for v in [positive, *others, -10.0 / 0.07]))


def test_patch_nce_is_the_cross_entropy_among_the_patches_of_the_image():
    queries, keys = unit_rows(2, 5, 4), unit_rows(2, 5, 4, seed=1)
    losses = patch_nce(queries, keys)
    assert losses.shape == (2, 5)
    for image in range(2):
        for place in range(5):
            expected = entropy_of_patch(queries, keys, image=image, place=place)
            assert losses[image, place].item() == pytest.approx(expected)


def test_batch_negatives_take_the_patches_of_all_images():
    queries, keys = unit_rows(2, 5, 4), unit_rows(2, 5, 4, seed=1)
    together = patch_nce(queries, keys, batch_negatives=True)
    as_one = patch_nce(queries.view(1, 10, 4), keys.view(1, 10, 4))
    torch.testing.assert_close(together, as_one.view(2, 5))


def test_the_own_place_among_the_negatives_counts_as_minus_ten():
    # at a high temperature it shows: one patch, positive 1, its own negative -10
    loss = patch_nce(torch.ones(1, 1, 1), torch.ones(1, 1, 1), temperature=10.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.1)))


def test_keys_are_constants():
    queries, keys = unit_rows(1, 3, 4).requires_grad_(), unit_rows(1, 3, 4, seed=1).requires_grad_()
    patch_nce(queries, keys).sum().backward()
    assert keys.grad is None
    assert queries.grad.abs().max() > 0


def test_queries_get_the_right_gradient():
    queries, keys = unit_rows(1, 3, 4).requires_grad_(), unit_rows(1, 3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda rows: patch_nce(rows, keys), (queries,))


def test_patch_nce_runs_in_float32_under_autocast():
    queries, keys = unit_rows(1, 6, 8).float(), unit_rows(1, 6, 8, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        cast = patch_nce(queries, keys)
    assert torch.equal(cast, patch_nce(queries, keys))
    assert patch_nce(queries.bfloat16(), keys.bfloat16()).dtype == torch.float32


def test_the_gradient_of_gathered_rows_lies_at_their_places():
    for places in (torch.tensor([7, 0]), torch.tensor([[7, 0], [7, 0]])):
        features = torch.zeros(2, 3, 2, 4, requires_grad=True)
        gather_places(features, places).sum().backward()
        expected = torch.zeros(2, 3, 8)
        expected[:, :, [0, 7]] = 1.0
        assert torch.equal(features.grad.flatten(2), expected)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("is_shared", [True, False])
def test_places_are_gathered_alike_from_either_layout(batch, is_shared):
    torch.manual_seed(6)
    features = torch.randn(batch, 5, 4, 6, dtype=torch.float64)
    places = torch.randint(24, (7,) if is_shared else (batch, 7))  # some of them twice
    incoming = torch.randn(batch, 7, 5, dtype=torch.float64)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = features.contiguous(memory_format=layout).requires_grad_()
        rows = gather_places(leaf, places)
        found.append((rows, *torch.autograd.grad(rows, leaf, incoming)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-15)
    shared = places.expand(batch, -1)
    for image in range(batch):
        for number, place in enumerate(shared[image].tolist()):
            assert torch.equal(
                found[1][0][image, number], features[image, :, place // 6, place % 6]
            )


def test_gathering_from_channels_last_copies_no_map():
    features = torch.zeros(2, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    with LiveBytes() as live:
        gather_places(features, torch.arange(8))
    assert live.peak < features.nbytes // 16
