import pytest
import torch

from i2icli.losses import attention
from i2icli.losses.attention import attend_global, global_entropy, global_rows, route_global
from i2icli.system.memory import LiveBytes

PLACES, SIDE, CHANNELS = 256, 64, 4
ROWS = PLACES * SIDE**2  # numbers of all rows of one image


@pytest.fixture
def small_portions(monkeypatch):
    """Make portions of rows small; return the bytes of one."""
    monkeypatch.setattr(attention, "_PORTION_NUMBERS", ROWS // 32)
    return ROWS // 32 * 4


def features(seed, *, batch=2, dtype=torch.float32):
    torch.manual_seed(seed)
    return torch.randn(batch, CHANNELS, SIDE, SIDE, dtype=dtype).requires_grad_()


def places(batch=2):
    torch.manual_seed(3)
    return torch.stack([torch.randperm(SIDE**2)[:PLACES] for _ in range(batch)])


def routed_with_gradient(most):
    source, query = features(0, dtype=torch.float64), features(1, dtype=torch.float64)
    from_query, from_source = attend_global(source, query, places(), most=most)
    loss = (from_query * from_source.sin()).square().sum()
    return from_query, from_source, *torch.autograd.grad(loss, (source, query))


@pytest.mark.usefixtures("small_portions")
def test_rows_in_portions_give_the_values_and_gradients_of_rows_that_are_kept():
    for kept, portioned in zip(
        routed_with_gradient(2 * ROWS), routed_with_gradient(0), strict=True
    ):
        torch.testing.assert_close(portioned, kept, rtol=1e-12, atol=1e-12)


def test_few_rows_are_kept_as_global_rows_and_routes_make_them():
    source, query = features(0), features(1)
    rows = global_rows(source, places())
    from_query, from_source = attend_global(source, query, places())
    assert torch.equal(from_query, route_global(rows, query))
    assert torch.equal(from_source, route_global(rows, source))


def test_what_is_gathered_from_the_source_is_a_constant_either_way():
    for most in (0, 2 * ROWS):
        assert not attend_global(features(0), features(1), places(), most=most)[1].requires_grad


def test_memory_of_attention_is_that_of_portions_and_not_of_all_rows(small_portions):
    source, query = features(0), features(1)
    with LiveBytes() as live:
        from_query, from_source = attend_global(source, query, places(), most=0)
        (from_query * from_source).sum().backward()
    maps = 6 * source.numel() * 4  # gradients of both maps, and float32 ones of one image
    gathered = 8 * from_query.numel() * 4
    assert live.largest <= small_portions
    assert live.peak < 4 * small_portions + maps + gathered
    with LiveBytes() as kept:
        attend_global(source, query, places(), most=2 * ROWS)
    assert kept.peak > 3 * live.peak


def test_half_precision_features_are_routed_in_float32_under_autocast():
    source, query = features(0), features(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = [part.detach().bfloat16().requires_grad_() for part in (source, query)]
        from_query, _ = attend_global(halves[0], halves[1], places(), most=0)
        wanted, _ = attend_global(halves[0], halves[1], places(), most=2 * ROWS)
    assert from_query.dtype == torch.float32
    torch.testing.assert_close(from_query, wanted)
    from_query.sum().backward()
    assert halves[0].grad.dtype == torch.bfloat16


def test_entropy_of_a_large_map_holds_a_few_chunks_of_scores():
    source = features(0, batch=1)
    chunk = 64
    with LiveBytes() as live:
        global_entropy(source.detach(), chunk=chunk)
    assert live.largest == chunk * SIDE**2 * 4
    assert live.peak < 5 * live.largest
