import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2icli.losses.penalty import maps_with_slopes
from i2icli.networks.layers import OwnStart, init_weights
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.projected import JointDiscriminator, ProjectedHeads
from i2icli.networks.spectral import (
    SpectralConv,
    iterate_spectral_norms,
    use_spectral_norm,
)

CHANNELS = (5, 7, 9)


def heads(**options):
    torch.manual_seed(0)
    return ProjectedHeads(CHANNELS, **{"width": 6, **options})


def features(batch=2):
    torch.manual_seed(1)
    sides = (16, 8, 4)
    return [torch.randn(batch, c, s, s) for c, s in zip(CHANNELS, sides, strict=True)]


def plain_heads(network, given):
    """Return the maps of logits by the formulas, from the coarsest layer on, in float64."""
    state = {name: value.double() for name, value in network.state_dict().items()}
    halvings, above, maps = (2, 1, 0), 0.0, []
    for number in (2, 1, 0):
        mixed = torch.einsum(
            "oi,bihw->bohw", state[f"channels_{number}"][:, :, 0, 0], given[number].double()
        )
        if number < 2:
            above = F.interpolate(above, scale_factor=2, mode="bilinear", align_corners=False)
        value = above = F.conv2d(mixed + above, state[f"scales_{number}"], padding=1)
        for layer in range(halvings[number] + 2):
            stride, name = (2 if layer < halvings[number] else 1), f"heads.{number}.{2 * layer}"
            value = F.conv2d(
                value, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride, padding=1
            )
            value = F.leaky_relu(value, 0.2) if layer <= halvings[number] else value
        maps.insert(0, value)
    return maps


def test_heads_see_mixed_channels_and_scales():
    network, given = heads(), features()
    expected = plain_heads(network, given)
    for ours, theirs in zip(network(given), expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    assert [tuple(each.shape[2:]) for each in network(given)] == [(4, 4)] * 3


def test_projections_are_fixed_and_kept_and_preserve_the_scale():
    network = heads()
    buffers = dict(network.named_buffers())
    kinds = [f"{kind}_{n}" for n in range(3) for kind in ("channels", "scales")]
    assert sorted(buffers) == sorted(kinds)
    assert set(buffers) <= set(network.state_dict())
    for name, value in buffers.items():
        assert 0.8 < value.flatten(1).norm(dim=1).mean() < 1.2, name


def test_initial_weights_of_heads_are_their_own():
    network = heads()
    init_weights(network, "xavier", 0.02)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            assert isinstance(part, OwnStart)
            assert part.weight.std() > 0.01  # 0.02 of Xavier's is below a thousandth


@pytest.mark.parametrize("has_patch", [False, True])
def test_a_joint_discriminator_gives_the_maps_of_its_parts(has_patch):
    patch = PatchDiscriminator(width=4, layers=2) if has_patch else None
    network, given, pictures = (
        JointDiscriminator(heads(), patch),
        features(),
        torch.rand(2, 3, 32, 32),
    )
    parts = network(*([pictures] if has_patch else []), *given)
    for ours, theirs in zip(parts[0], network.projected(given), strict=True):
        assert torch.equal(ours, theirs)
    if has_patch:
        assert torch.equal(parts[1][0], patch(pictures))
    assert len(parts) == 1 + has_patch


def test_spectral_norm_divides_by_the_largest_singular_value():
    torch.manual_seed(0)
    layer = SpectralConv(4, 6, 3, stride=2, padding=1)
    images = torch.randn(2, 4, 9, 9)
    for _ in range(60):
        layer.iterate()
    largest = torch.linalg.svdvals(layer.weight.detach().flatten(1)).max()
    expected = F.conv2d(images, layer.weight / largest, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(images), expected, rtol=1e-4, atol=1e-5)


def test_fresh_weights_have_about_the_norm_of_one():
    torch.manual_seed(0)
    layer = SpectralConv(16, 16, 4)
    init_weights(layer, "normal", 0.02)
    matrix = layer.weight.detach().flatten(1)
    estimate = (matrix.mT @ layer.u).norm()
    assert 0.9 < estimate / torch.linalg.svdvals(matrix).max() <= 1.0001


def test_the_gradient_of_a_spectral_norm_is_that_of_u_w_v():
    torch.manual_seed(0)
    layer = SpectralConv(3, 5, 3).double()
    images = torch.randn(1, 3, 6, 6).double()
    matrix, u = layer.weight.flatten(1), layer.u
    v = F.normalize(matrix.detach().mT @ u, dim=0)
    weight = layer.weight / (u @ matrix @ v)
    (expected,) = torch.autograd.grad(F.conv2d(images, weight).square().sum(), layer.weight)
    layer.bias.data.zero_()
    (ours,) = torch.autograd.grad(layer(images).square().sum(), layer.weight)
    torch.testing.assert_close(ours, expected)


def test_passes_leave_the_estimate_and_iterations_change_it():
    torch.manual_seed(0)
    network = PatchDiscriminator(width=4, layers=2)
    plain = set(network.state_dict())
    use_spectral_norm(network)
    added = {name for name in network.state_dict() if name.endswith(".u")}
    assert set(network.state_dict()) == plain | added
    assert len(added) == 4
    before = {name: network.state_dict()[name].clone() for name in added}
    network.train()(torch.rand(1, 3, 32, 32))
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in added)
    iterate_spectral_norms(network)
    assert not all(torch.equal(network.state_dict()[name], before[name]) for name in added)


@pytest.mark.parametrize("is_spectral", [False, True])
def test_slopes_of_heads_are_those_of_the_sum_of_means(is_spectral):
    network = heads(is_spectral=is_spectral).double()
    given = [each.double() for each in features()]
    answer, slopes = maps_with_slopes(*given, discriminator=lambda *parts: [network(parts)])
    points = [each.clone().requires_grad_() for each in given]
    maps = network(points)
    means = sum(logits.mean(dim=(1, 2, 3)).sum() for logits in maps)
    for ours, theirs in zip(slopes, torch.autograd.grad(means, points), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(answer[0][0], maps[0])
    # Differentiable once more, with respect to the weights.
    weights = list(network.parameters())
    penalty = sum(slope.square().sum() for slope in slopes)
    gradients = torch.autograd.grad(penalty, weights, allow_unused=True)
    step, weight = 1e-6, network.heads[0][0].weight

    def at(change):
        with torch.no_grad():
            weight[0, 0, 0, 0] += change
        _, moved = maps_with_slopes(*given, discriminator=lambda *parts: [network(parts)])
        with torch.no_grad():
            weight[0, 0, 0, 0] -= change
        return float(sum(slope.detach().square().sum() for slope in moved))

    numeric = (at(step) - at(-step)) / (2 * step)
    assert float(gradients[0][0, 0, 0, 0]) == pytest.approx(numeric, rel=1e-4, abs=1e-9)
