import pytest
import torch
from torch import nn

from i2icli.networks import stylegan2
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from i2icli.networks.stylegan2_layers import Blur, DoublingConv, EqualConv, EqualLinear
from i2icli.networks.tiles import cut_tiles


def count(network):
    return sum(weight.numel() for weight in network.parameters())


def noisy(downsamplings, **options):
    """Return a small generator in which noise matters."""
    torch.manual_seed(1)
    options = {"width": 1, "resolution": 32, "downsamplings": downsamplings, **options}
    network = StyleGAN2Generator(**options)
    for name, weight in network.named_parameters():
        if name.endswith("noise.weight"):
            nn.init.constant_(weight, 0.5)
    return network


def pictures(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_networks_have_the_sizes_of_the_released_ones():
    assert count(StyleGAN2Generator()) == 3_068_404
    assert count(StyleGAN2Discriminator()) == 5_885_473
    wide = StyleGAN2Generator(width=8, resolution=128, downsamplings=2, tanh=True)
    assert count(wide) == 2_012_261
    assert count(StyleGAN2Discriminator(resolution=128, last_side=8)) == 10_954_897


def test_weights_are_scaled_to_the_fan_in_at_run_time():
    convolution, linear = EqualConv(4, 5, 3, padding=1), EqualLinear(6, 7)
    images, rows = torch.randn(2, 4, 8, 8), torch.randn(3, 6)
    wanted = nn.functional.conv2d(images, convolution.weight / 6.0, padding=1)
    torch.testing.assert_close(convolution(images), wanted)
    torch.testing.assert_close(linear(rows), rows @ linear.weight.T / 6**0.5)


def test_blur_keeps_a_flat_picture_inside_and_spreads_a_point():
    flat = Blur(2, 1)(torch.ones(1, 2, 9, 9))
    assert flat.shape == (1, 2, 9, 9)
    torch.testing.assert_close(flat[..., 2:-1, 2:-1], torch.ones(1, 2, 6, 6))
    point = torch.zeros(1, 1, 7, 7)
    point[..., 3, 3] = 64
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    torch.testing.assert_close(Blur(2, 1)(point)[0, 0, 2:6, 2:6], torch.outer(line, line))


def test_doubling_convolution_does_not_depend_on_the_scale_of_its_weights():
    layer, images = DoublingConv(3, 4), torch.randn(1, 3, 5, 6)
    before = layer(images)
    layer.weight.data *= 7
    assert before.shape == (1, 4, 10, 12)
    torch.testing.assert_close(layer(images), before)


@pytest.mark.parametrize("downsamplings", [1, 2])
def test_translation_has_the_size_of_the_picture_and_taps_those_of_their_level(downsamplings):
    network, images = noisy(downsamplings, blocks=2), pictures(16, 24)
    image, features = network(images, [0, 1, 2, 2 + downsamplings])
    assert image.shape == images.shape
    assert torch.equal(features[0], images)
    assert [feature.shape[-1] for feature in features] == [24, 24, 12, 24 >> downsamplings]
    assert network.feature_channels([0, 1, 2]) == [f.shape[1] for f in features[:3]]


def test_a_tap_that_is_not_there_is_refused():
    network = noisy(1, blocks=2)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.3"):
        network.encode(pictures(16, 16), [0, 4])
    with pytest.raises(ValueError, match="must ascend"):
        network.feature_channels([2, 2])


def test_tanh_bounds_the_translation_and_without_it_there_is_no_bound():
    bounded, free = noisy(1, tanh=True), noisy(1)
    images = 20 * pictures(16, 16)
    assert bounded(images)[0].abs().max() <= 1
    assert free(images)[0].abs().max() > 1
    torch.testing.assert_close(bounded(images)[0], free(images)[0].tanh())


def test_noise_is_fixed_where_none_is_given_and_shared_by_a_batch():
    network, images = noisy(2), pictures(16, 24)
    state = torch.get_rng_state()
    together = network(images)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network(images)[0], together)
    torch.testing.assert_close(network(images[1:])[0], together[1:])
    other = [torch.zeros(shape) for shape in network.noise_shapes(images)]
    assert (network(images, noise=other)[0] - together).abs().max() > 0.01


@pytest.mark.parametrize("downsamplings", [1, 2])
@pytest.mark.parametrize("size", [(96, 136), (64, 64), (68, 200)])
def test_tiles_give_the_translation_of_the_whole_picture(downsamplings, size):
    network, images = noisy(downsamplings), pictures(*size)
    with torch.inference_mode():
        whole, tiled = network(images)[0], network.in_tiles(images, side=32)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("downsamplings", [1, 2])
def test_halo_reaches_as_far_as_a_pixel_matters(downsamplings):
    network = noisy(downsamplings)
    images = pictures(200, 200)[:1].double().requires_grad_()
    image = network.double()(images)[0]
    for place in range(96, 96 + 2**downsamplings):
        (slope,) = torch.autograd.grad(image[0, :, place, place].sum(), images, retain_graph=True)
        rows = slope[0].abs().sum((0, 2)).nonzero().flatten()
        assert place - network.halo <= rows.min()
        assert rows.max() <= place + network.halo


def test_only_large_pictures_are_translated_in_tiles(monkeypatch):
    network, images = noisy(1, blocks=0), pictures(32, 40)
    sides = []
    monkeypatch.setattr(
        StyleGAN2Generator, "in_tiles", lambda _, images, *, side: sides.append(side) or images
    )
    assert torch.equal(network.translate(images), network(images)[0])
    monkeypatch.setattr(stylegan2, "_MOST_PIXELS", 32 * 40 - 1)
    assert torch.equal(network.translate(images), images)
    assert sides == [stylegan2._TILE]


def test_tiles_cover_a_picture_once():
    covered = torch.zeros(1, 1, 50, 70)
    for tile in cut_tiles(50, 70, side=16, halo=8):
        part = tile.inside(tile.around(covered))
        assert tile.around(covered).shape[-1] <= 16 + 2 * 8
        tile.put(covered, part + 1)
    assert torch.equal(covered, torch.ones(1, 1, 50, 70))


@pytest.mark.parametrize("side", [48, 2])
def test_a_crop_that_the_discriminator_cannot_judge_is_refused(side):
    with pytest.raises(ValueError, match=rf"data\.crop must be a power of two, 4 or .* {side}"):
        StyleGAN2Discriminator(resolution=side)


def test_discriminator_gives_one_logit_a_picture():
    judge = StyleGAN2Discriminator(1, width=1, resolution=32, last_side=8)
    assert judge(torch.randn(3, 1, 32, 32)).shape == (3, 1)
