"""Rows taken where an encoder makes its maps, against rows taken from the maps afterwards."""

import pytest
import torch

from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.taps import gather_places, tap_rows

LAYOUTS = (torch.contiguous_format, torch.channels_last)
TAPS = (0, 4, 8, 12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("goes_on", [True, False])
def test_tapped_rows_and_their_gradient_are_those_of_rows_taken_later(layout, goes_on):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=layout)
    places = torch.stack([torch.randperm(20)[:6] for _ in range(2)])
    found = []
    for way in (tap_rows, lambda value, at: (value, gather_places(value, at))):
        leaf = maps.clone(memory_format=torch.preserve_format).requires_grad_()
        value, rows = way(leaf * 1.0, places)
        loss = rows.square().sum() + (value.sin().sum() if goes_on else 0.0)
        found.append((rows, torch.autograd.grad(loss, leaf)[0]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-15)
    assert found[0][1].is_contiguous(memory_format=layout)


def test_maps_whose_rows_nobody_reads_pass_their_gradient_on():
    leaf = torch.randn(1, 2, 3, 3, requires_grad=True)
    value, _ = tap_rows(leaf, torch.zeros(1, 1, dtype=torch.int64))
    assert torch.equal(torch.autograd.grad(value.sum(), leaf)[0], torch.ones_like(leaf))


@pytest.mark.parametrize("recomputes", [False, True])
def test_encoder_gives_rows_where_places_are_named_and_maps_elsewhere(recomputes):
    torch.manual_seed(0)
    network = ResnetGenerator(width=4, blocks=2).double()
    network.recomputes = recomputes
    pictures = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    maps = network.encode(pictures, TAPS)
    places = [torch.randperm(m.shape[2] * m.shape[3])[:5].expand(2, -1) for m in maps]
    wanted = [gather_places(m, at) for m, at in zip(maps, places, strict=True)]
    weights = tuple(w for w in network.model[:13].parameters())
    by_maps = torch.autograd.grad(sum(w.square().sum() for w in wanted), weights, allow_unused=True)
    rows = network.encode(pictures, TAPS, [places[0], None, *places[2:]])
    assert torch.equal(rows[1], maps[1])
    rows[1] = gather_places(rows[1], places[1])
    torch.testing.assert_close(rows, wanted, rtol=0, atol=0)
    by_rows = torch.autograd.grad(sum(r.square().sum() for r in rows), weights, allow_unused=True)
    for found, one in zip(by_rows, by_maps, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-12, atol=1e-12)
