import pytest
import torch

from i2icli.networks.munit import MultiScaleDiscriminator, StyleAutoencoder
from i2icli.networks.munit_blocks import AdaptiveInstanceNorm, ImageLayerNorm

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def adaptive_formula(images, shifts, scales):
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    variance = centred.square().mean(dim=(2, 3), keepdim=True)
    return centred / (variance + 1e-5).sqrt() * scales[..., None, None] + shifts[..., None, None]


def layer_formula(images, gamma, beta):
    count = images[0].numel()
    centred = images - images.sum(dim=(1, 2, 3), keepdim=True) / count
    deviation = (centred.square().sum(dim=(1, 2, 3), keepdim=True) / (count - 1)).sqrt()
    return centred / (deviation + 1e-5) * gamma[:, None, None] + beta[:, None, None]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("gradient_layout", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("kind", "formula", "tolerance"),
    [(AdaptiveInstanceNorm, adaptive_formula, 2e-5), (ImageLayerNorm, layer_formula, 1e-5)],
)
def test_norms_and_all_their_gradients_equal_the_formula_in_every_layout(
    kind, formula, tolerance, layout, gradient_layout, batch
):
    torch.manual_seed(1)
    values, incoming = 3.0 * torch.randn(2, batch, 8, 6, 7) + 1.0
    images, norm = values.contiguous(memory_format=layout).requires_grad_(), kind(8)
    weights = [part.requires_grad_() for part in torch.randn(2, batch, 8)]
    inputs = (images, *(weights if kind is AdaptiveInstanceNorm else (norm.gamma, norm.beta)))
    normed = norm(*inputs[: 3 if kind is AdaptiveInstanceNorm else 1])
    upper = incoming.contiguous(memory_format=gradient_layout)
    gradients = torch.autograd.grad(normed, inputs, upper)

    exact = tuple(part.detach().double().requires_grad_() for part in inputs)
    expected = formula(*exact)
    torch.testing.assert_close(normed.double(), expected, rtol=1e-5, atol=tolerance)
    right = torch.autograd.grad(expected, exact, incoming.double())
    for gradient, wanted in zip(gradients, right, strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-5, atol=1e-4)


def test_layer_norm_starts_with_gammas_between_0_and_1_and_betas_of_0():
    torch.manual_seed(3)
    norm = ImageLayerNorm(4000)
    assert 0 <= norm.gamma.min() <= norm.gamma.max() <= 1
    assert norm.gamma.mean().item() == pytest.approx(0.5, abs=0.02)
    assert norm.gamma.std().item() == pytest.approx(12**-0.5, abs=0.01)
    assert not norm.beta.any()


def test_a_picture_of_one_colour_gives_finite_gradients():
    norm, images = ImageLayerNorm(3), torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(norm(images).sum(), images)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_take_their_statistics_in_float32_under_autocast(dtype):
    torch.manual_seed(4)
    # a mean of 100 on a deviation of 1: half precision would lose the deviation
    images = (100 + torch.randn(2, 4, 16, 16)).to(dtype)
    shifts, scales = torch.zeros(2, 4, dtype=dtype), torch.ones(2, 4, dtype=dtype)
    layer = ImageLayerNorm(4)
    torch.nn.init.ones_(layer.gamma)
    with torch.autocast("cpu", dtype=dtype):
        adapted, normed = AdaptiveInstanceNorm(4)(images, shifts, scales), layer(images)
    exact = images.double()
    for result, expected in (
        (adapted, adaptive_formula(exact, shifts.double(), scales.double())),
        (normed, layer_formula(exact, layer.gamma.double(), layer.beta.double())),
    ):
        assert result.dtype == dtype
        torch.testing.assert_close(result, expected.to(dtype), rtol=1e-2, atol=1e-2)


def small(**changes):
    torch.manual_seed(5)
    return StyleAutoencoder(3, **{"width": 4, "blocks": 2, "style_size": 3, **changes})


def test_codes_and_pictures_have_the_documented_shapes():
    network, images = small(), torch.rand(2, 3, 24, 32) * 2 - 1
    content, styles = network.encode(images)
    assert content.shape == (2, 16, 6, 8)
    assert styles.shape == (2, 3)
    decoded = network.decode(content, styles)
    assert decoded.shape == images.shape
    assert decoded.abs().max() <= 1
    assert torch.equal(network(images), decoded)


def test_default_networks_have_the_weights_of_the_released_ones():
    network, discriminator = StyleAutoencoder(), MultiScaleDiscriminator()
    assert network.dec.parameter_shape == (4, 2, 2, 256)  # 8 norms of 2 * 256 numbers
    sides = [(256, 8), (256,), (256, 256), (256,), (4096, 256), (4096,)]
    names = [f"mlp.model.{n}.fc.{kind}" for n in range(3) for kind in ("weight", "bias")]
    shapes = {name: p.shape for name, p in network.named_parameters() if "mlp" in name}
    assert shapes == dict(zip(names, sides, strict=True))

    def widths(part):
        return [p.shape[:2] for name, p in part.named_parameters() if name.endswith("weight")]

    convolutions = [(64, 3), (128, 64), (256, 128), (256, 256), (256, 256), (8, 256)]
    assert widths(network.enc_style) == convolutions
    assert widths(discriminator.cnns[2]) == [(64, 3), (128, 64), (256, 128), (512, 256), (1, 512)]


def test_nothing_of_a_style_is_left_after_a_call():
    network, content = small(), torch.randn(1, 16, 6, 8)
    first, second = torch.randn(2, 1, 3)
    alone = network.decode(content, first)
    network.decode(content, second)
    assert torch.equal(network.decode(content, first), alone)
    assert not list(network.named_buffers())


def test_each_picture_takes_its_own_style():
    network = small().double()
    content, styles = torch.randn(2, 16, 6, 8).double(), torch.randn(2, 3).double()
    together = network.decode(content, styles)
    alone = torch.cat([network.decode(content[[i]], styles[[i]]) for i in range(2)])
    torch.testing.assert_close(together, alone)
    swapped = network.decode(content, styles.flip(0))
    assert (swapped - together).abs().max() > 1e-3


@pytest.mark.parametrize(("layers", "scales"), [(4, 3), (2, 3), (3, 1), (2, 2)])
def test_the_smallest_side_that_is_accepted_is_the_one_it_says(layers, scales):
    discriminator = MultiScaleDiscriminator(3, width=2, layers=layers, scales=scales)
    side = discriminator.min_side
    assert len(discriminator(torch.zeros(1, 3, side, side))) == scales
    with pytest.raises(RuntimeError, match=r"(?i)padding size"):
        discriminator(torch.zeros(1, 3, side - 1, side - 1))


def test_each_further_discriminator_sees_the_mean_of_the_pixels_that_are_there():
    discriminator = MultiScaleDiscriminator(1, width=2, layers=1, scales=2).double()
    images = torch.arange(20.0).view(1, 1, 4, 5).double()
    # rows -1..1 and 1..3, columns -1..1, 1..3 and 3..5, those beyond the border left out
    rows = (images[:, :, :2], images[:, :, 1:4])
    columns = (slice(2), slice(1, 4), slice(3, 5))
    halved = torch.stack([row[..., column].mean() for row in rows for column in columns])
    halved = halved.view(1, 1, 2, 3)
    torch.testing.assert_close(discriminator(images)[1], discriminator.cnns[1](halved))
