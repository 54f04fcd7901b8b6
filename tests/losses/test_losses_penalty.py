import pytest
import torch

from i2icli.losses.penalty import logits_with_slope, r1_penalty, unit_slope_penalty


def quadratic(images, weights):
    """Return logits whose slope is known: sum of w x^2, so 2 w x."""
    return (weights * images.square()).flatten(1).sum(dim=1, keepdim=True)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    return images, weights.requires_grad_()


def test_slope_is_the_gradient_of_each_picture_s_logits(case):
    images, weights = case
    logits, slope = logits_with_slope(images, lambda x: quadratic(x, weights))
    torch.testing.assert_close(logits, quadratic(images, weights))
    torch.testing.assert_close(slope, 2 * weights * images)


def test_slope_leaves_the_pictures_without_gradient(case):
    images, weights = case
    logits_with_slope(images, lambda x: quadratic(x, weights))
    assert not images.requires_grad


def test_r1_is_half_the_mean_squared_length_with_its_gradient(case):
    images, weights = case
    penalty = r1_penalty(logits_with_slope(images, lambda x: quadratic(x, weights))[1])
    wanted = 0.5 * (2 * weights * images).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty, wanted)
    (gradient,) = torch.autograd.grad(penalty, weights)
    torch.testing.assert_close(gradient, (4 * weights * images.square()).mean(0))


def test_unit_slope_is_the_squared_distance_of_the_length_from_one(case):
    images, weights = case
    penalty = unit_slope_penalty(logits_with_slope(images, lambda x: quadratic(x, weights))[1])
    lengths = (2 * weights * images).square().sum((1, 2, 3)).sqrt()
    torch.testing.assert_close(penalty, (lengths - 1).square().mean())
    assert torch.autograd.grad(penalty, weights)[0].isfinite().all()


def test_a_discriminator_without_slope_has_finite_gradients():
    images, weights = torch.randn(2, 1, 3, 3), torch.zeros(1, 3, 3, requires_grad=True)
    slope = logits_with_slope(images, lambda x: quadratic(x, weights))[1]
    for penalty in (r1_penalty(slope), unit_slope_penalty(slope)):
        assert torch.autograd.grad(penalty, weights, retain_graph=True)[0].isfinite().all()


def test_slope_is_in_float32_under_autocast():
    network = torch.nn.Conv2d(1, 1, 3)
    images = torch.randn(2, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(images).dtype == torch.bfloat16
        logits, slope = logits_with_slope(images, network)
        penalty = r1_penalty(slope)
    assert {logits.dtype, slope.dtype, penalty.dtype} == {torch.float32}
    assert torch.autograd.grad(penalty, network.weight)[0].abs().max() > 0
