from functools import partial

import pytest
import torch

from i2icli.losses.attention import (
    attend_global,
    global_entropy,
    local_entropy,
    local_rows,
    route_local,
)
from i2icli.losses.attention_plain import attend_everywhere, attend_in_windows, window_entropy

COUNT = 9
same = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
each_layout = pytest.mark.parametrize("layout", ["paper", "released"])


def pair(channels=6):
    shape = (2, channels, 5, 7)
    return tuple(torch.randn(shape, dtype=torch.float64).requires_grad_() for _ in range(2))


def lowest(scores):
    return scores.argsort(dim=1, stable=True)[:, :COUNT]


def compare(ours, plain, *maps):
    """Compare what was routed, and the gradients of both maps."""
    same(ours[0], plain[0])
    same(ours[1], plain[1])
    assert not plain[1].requires_grad
    upper = torch.randn_like(ours[0])
    gradients = (torch.autograd.grad(routed, maps, upper) for routed in (ours[0], plain[0]))
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 1e-3
        same(one, other)


@pytest.mark.parametrize("most", [0, 2**23])
def test_global_attention_is_that_of_the_whole_matrix(most):
    source, query = pair()
    ours = attend_global(source, query, lowest(global_entropy(source)), most=most)
    compare(ours, attend_everywhere(source, query, lowest), source, query)


@each_layout
def test_local_attention_is_that_of_all_windows(layout):
    source, query = pair()
    places = lowest(local_entropy(source, window=3, layout=layout))
    rows = local_rows(source, places, window=3, layout=layout)
    given = (rows, query), (rows.detach(), source.detach())
    ours = tuple(route_local(r, f, places, window=3, layout=layout) for r, f in given)
    plain = attend_in_windows(source, query, lowest, window=3, layout=layout)
    compare(ours, plain, source, query)


@each_layout
def test_global_attention_chosen_by_windows_is_that_of_the_whole_matrix(layout):
    source, query = pair()
    entropy = window_entropy(source, window=5, layout=layout)
    same(entropy, local_entropy(source, window=5, layout=layout))
    ours = attend_global(source, query, lowest(entropy))
    plain = attend_everywhere(source, query, lowest, entropy=entropy)
    compare(ours, plain, source, query)


def test_whole_matrix_is_computed_in_full_precision():
    source, query = (map_.detach().bfloat16() for map_ in pair())
    with torch.autocast("cpu", torch.bfloat16):
        routed, key = attend_everywhere(source, query, lowest)
    assert routed.dtype == key.dtype == torch.float32
    same(routed, attend_everywhere(source.float(), query.float(), lowest)[0])
