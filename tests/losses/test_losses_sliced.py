import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from i2icli.losses.sliced import sliced_wasserstein


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_the_distance_is_that_of_the_projections_along_each_line():
    ours, theirs, directions = drawn(0, 30, 4), drawn(1, 30, 4) + 0.5, drawn(2, 7, 4)
    lines = directions / directions.norm(dim=1, keepdim=True)
    expected = np.mean(
        [wasserstein_distance((ours @ w).numpy(), (theirs @ w).numpy()) for w in lines]
    )
    assert float(sliced_wasserstein(ours, theirs, directions)) == pytest.approx(expected, abs=1e-12)


def test_the_order_of_vectors_does_not_matter_and_equal_sets_have_no_distance():
    ours, directions = drawn(0, 20, 3), drawn(1, 5, 3)
    assert float(sliced_wasserstein(ours, ours.flip(0), directions)) < 1e-12


def test_gradient_draws_vectors_towards_their_counterparts():
    ours = torch.tensor([[0.0], [1.0]], dtype=torch.float64, requires_grad=True)
    theirs = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)
    direction = torch.ones(1, 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(sliced_wasserstein(ours, theirs, direction), ours)
    assert gradient.flatten().tolist() == [0.5, -0.5]
