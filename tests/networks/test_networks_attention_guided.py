import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.attention_guided import (
    AffineInstanceNorm,
    AttentionNetwork,
    ConvUnit,
    DoublingUnit,
    GuidedDiscriminator,
    GuidedGenerator,
    GuidedTranslator,
    compose,
    draw_truncated,
    keep_foreground,
)

Weights = dict[str, Tensor]


def scrambled(network, *, seed=3):
    """Give every weight a random value, biases and offsets too, in float64."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return network.double()


def pictures(*shape, seed=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


# The definitions. A convolution is a sum over shifted pictures; nothing here calls torch's own.


def padded(x, before, after, *, mirrored=False):
    height, width = x.shape[-2:]

    def places(side):
        at = torch.arange(-before, side + after).abs()
        return torch.where(at >= side, 2 * (side - 1) - at, at)

    if mirrored:
        return x[..., places(height)[:, None], places(width)]
    big = x.new_zeros(*x.shape[:2], height + before + after, width + before + after)
    big[..., before : before + height, before : before + width] = x
    return big


def convolved(x, w, *, stride=1):
    weight, bias = w["conv.weight"], w["conv.bias"]
    side = weight.shape[-1]
    rows, columns = ((n - side) // stride + 1 for n in x.shape[-2:])
    total = bias.view(1, -1, 1, 1).expand(len(x), -1, rows, columns).clone()
    for i in range(side):
        for j in range(side):
            part = x[..., i : i + stride * rows : stride, j : j + stride * columns : stride]
            total += torch.einsum("bchw,oc->bohw", part[..., :rows, :columns], weight[:, :, i, j])
    return total


def doubled(x, w):
    """Spread each place over the 3x3 places that a SAME convolution of stride 2 reads it from."""
    weight, bias = w["conv.weight"], w["conv.bias"]
    height, width = x.shape[-2:]
    big = x.new_zeros(len(x), weight.shape[1], 2 * height + 1, 2 * width + 1)
    for i in range(3):
        for j in range(3):
            big[..., i : i + 2 * height : 2, j : j + 2 * width : 2] += torch.einsum(
                "bchw,co->bohw", x, weight[:, :, i, j]
            )
    return big[..., :-1, :-1] + bias.view(1, -1, 1, 1)


def normed(x, w):
    mean = x.mean(dim=(2, 3), keepdim=True)
    spread = ((x - mean) ** 2).mean(dim=(2, 3), keepdim=True)
    scale, offset = (w[name].view(1, -1, 1, 1) for name in ("norm.scale", "norm.offset"))
    return scale * (x - mean) / (spread + 1e-5).sqrt() + offset


def part(weights, name):
    return {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}


def block(x, w, *, mirrored):
    first, second = part(w, "first"), part(w, "second")
    value = normed(convolved(padded(x, 1, 1, mirrored=mirrored), first), first).clamp(min=0)
    value = normed(convolved(padded(value, 1, 1, mirrored=mirrored), second), second)
    return (value + x).clamp(min=0)


def generated(x, weights, *, blocks):
    w = [part(weights, f"model.{number}") for number in range(blocks + 6)]
    x = normed(convolved(padded(x, 3, 3), w[0]), w[0]).clamp(min=0)
    for number in (1, 2):  # SAME on even sides: one row more at the end
        x = normed(convolved(padded(x, 0, 1), w[number], stride=2), w[number]).clamp(min=0)
    for number in range(3, 3 + blocks):
        x = block(x, w[number], mirrored=False)
    for number in (3 + blocks, 4 + blocks):
        x = normed(doubled(x, w[number]), w[number]).clamp(min=0)
    return convolved(padded(x, 3, 3), w[5 + blocks]).tanh()


def judged(x, weights, *, is_normed):
    for number, stride in enumerate((2, 2, 2, 1)):
        w = part(weights, f"inner.{number}")
        x = convolved(padded(x, 2, 2), w, stride=stride)
        x = normed(x, w) if is_normed else x
        x = torch.where(x > 0, x, 0.2 * x)
    return convolved(padded(x, 2, 2), part(weights, "last"))


def attended(x, weights, kernels):
    first, second = part(weights, "first"), part(weights, "second")
    x = normed(convolved(padded(x, 3, 3, mirrored=True), first, stride=2), first).clamp(min=0)
    x = normed(convolved(padded(x, 0, 1), second, stride=2), second).clamp(min=0)
    x = block(x, part(weights, "block"), mirrored=True)
    for number, kernel in enumerate(kernels):
        w = part(weights, f"decoder.{number}")
        if number < 2:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = convolved(padded(x, kernel // 2, kernel // 2, mirrored=True), w)
        x = normed(x, w).clamp(min=0) if number < 2 else x
    return 1 / (1 + (-x).exp())


def assert_equal_with_gradient(network, reference, images):
    """Compare values and the gradients of the pictures and of every weight."""
    assert callable(reference)
    weights = dict(network.named_parameters())
    results = []
    for compute in (lambda x: network(x), lambda x: reference(x, weights)):
        x = images.clone().requires_grad_()
        value = compute(x)
        incoming = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view(value.shape)
        wanted = [x, *(w for w in weights.values() if w.requires_grad)]
        results.append([value, *torch.autograd.grad(value, wanted, incoming)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(1, 16, 20), (2, 12, 16)])
def test_generator_equals_its_definition(size):
    network = scrambled(GuidedGenerator(3, 2, width=3, blocks=2))
    images = pictures(size[0], 3, *size[1:])
    assert_equal_with_gradient(network, lambda x, w: generated(x, w, blocks=2), images)


@pytest.mark.parametrize("is_normed", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
def test_discriminator_equals_its_definition_with_norm_and_without(batch, is_normed):
    network = scrambled(GuidedDiscriminator(3, width=3))
    network.use_norm(is_normed)
    images = pictures(batch, 3, 24, 20)
    assert_equal_with_gradient(network, lambda x, w: judged(x, w, is_normed=is_normed), images)


@pytest.mark.parametrize(("layout", "kernels"), [("released", (1, 1, 1)), ("paper", (3, 3, 7))])
def test_attention_network_equals_its_definition(layout, kernels):
    network = scrambled(AttentionNetwork(3, width=3, layout=layout))
    assert_equal_with_gradient(
        network, lambda x, w: attended(x, w, kernels), pictures(1, 3, 16, 24)
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 2])
def test_affine_norm_is_right_for_a_gradient_in_any_layout(batch, layout):
    torch.manual_seed(0)
    images, incoming = torch.randn(2, batch, 8, 6, 7)
    norm = AffineInstanceNorm(8)
    with torch.no_grad():
        norm.scale.copy_(torch.randn(8))
        norm.offset.copy_(torch.randn(8))
    results = []
    for compute, dtype in ((norm, torch.float32), (None, torch.float64)):
        x = images.to(dtype).requires_grad_()
        w = {f"norm.{k}": v.detach().to(dtype) for k, v in norm.named_parameters()}
        value = compute(x) if compute is not None else normed(x, w)
        gradient = incoming.to(dtype).contiguous(memory_format=layout)
        results.append((value.double(), torch.autograd.grad(value, x, gradient)[0].double()))
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [7, 8])
def test_same_padding_puts_the_odd_pixel_last(side):
    unit = ConvUnit(1, 1, 3, stride=2, norm="none", slope=None, bias=False)
    with torch.no_grad():
        unit.conv.weight.zero_()
        unit.conv.weight[..., 0, 0] = 1  # reads the first pixel of each window
    ramp = torch.arange(1.0, side + 1).expand(1, 1, side, side)
    seen = unit(ramp)[0, 0, -1]
    # Odd sides are padded by one on both ends, even ones at the end only.
    assert seen.tolist() == ([0.0, 2.0, 4.0, 6.0] if side % 2 else [1.0, 3.0, 5.0, 7.0])


def test_doubling_is_the_adjoint_of_same_halving():
    halving = ConvUnit(3, 4, 3, stride=2, norm="none", slope=None, bias=False).double()
    doubling = DoublingUnit(4, 3).double()
    with torch.no_grad():
        doubling.conv.weight.copy_(halving.conv.weight)
        doubling.conv.bias.zero_()
    x, y = pictures(1, 3, 8, 12), pictures(1, 4, 4, 6, seed=5)
    there = (halving(x) * y).sum()
    back = (x * doubling.conv(y)[..., :-1, :-1]).sum()
    torch.testing.assert_close(there, back)


def test_sizes_are_those_of_the_released_networks():
    sides, images = [], torch.zeros(1, 3, 256, 256)
    network = GuidedDiscriminator(3, width=2)
    for unit in (*network.inner, network.last):
        unit.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    network(images)
    assert sides == [129, 65, 33, 34, 35]
    assert AttentionNetwork(width=2)(images).shape == (1, 1, 256, 256)
    assert GuidedGenerator(width=2, blocks=1)(images).shape == (1, 3, 256, 256)


def test_norms_out_of_use_are_frozen_and_come_back():
    network = GuidedDiscriminator(3, width=2)
    network.use_norm(False)
    frozen = {name for name, w in network.named_parameters() if not w.requires_grad}
    assert frozen == {f"inner.{n}.norm.{p}" for n in range(4) for p in ("scale", "offset")}
    network.use_norm(True)
    assert all(weight.requires_grad for weight in network.parameters())


def test_no_attention_gives_the_source_back_and_full_attention_the_translation():
    source, translated = pictures(2, 3, 8, 8), pictures(2, 3, 8, 8, seed=6)
    zero = source.new_zeros(2, 1, 8, 8)
    assert torch.equal(compose(translated, source, zero), source)
    assert torch.equal(compose(translated, source, zero + 1), translated)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_closed_attention_network_leaves_the_picture_untouched(dtype):
    translator = GuidedTranslator(AttentionNetwork(width=2), GuidedGenerator(width=2, blocks=1))
    with torch.no_grad():
        translator.attention.decoder[2].conv.bias.fill_(-1000.0)
    source = pictures(1, 3, 16, 16).float()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        translated, attention = translator(source)
    assert attention.max() == 0
    assert torch.equal(translated, source)


def test_background_is_0_and_the_threshold_has_no_gradient():
    images = torch.ones(1, 2, 1, 3, requires_grad=True)
    attention = torch.tensor([[[[0.09, 0.1, 0.9]]]], requires_grad=True)
    shown = keep_foreground(images, attention, 0.1)
    assert shown[0, 1, 0].tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(shown.sum(), attention)
    assert keep_foreground(images, attention, 0.0) is images


def test_fresh_weights_are_cut_off_at_two_standard_deviations():
    torch.manual_seed(0)
    network = nn.ModuleList([GuidedGenerator(width=16, blocks=2), GuidedDiscriminator(width=16)])
    draw_truncated(network, 0.02)
    named = {name: weight.detach() for name, weight in network.named_parameters()}
    kernels = torch.cat([w.flatten() for name, w in named.items() if name.endswith("conv.weight")])
    scales = torch.cat([w for name, w in named.items() if name.endswith("scale")])
    assert kernels.abs().max() <= 0.04
    assert (scales - 1).abs().max() <= 0.04
    # A normal distribution cut off at two standard deviations keeps 0.8796 of its own.
    assert float(kernels.std()) == pytest.approx(0.02 * 0.8796, rel=0.02)
    assert float(scales.std()) == pytest.approx(0.02 * 0.8796, rel=0.2)
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.005)
    others = [w for name, w in named.items() if name.endswith(("bias", "offset"))]
    assert all(bool((weight == 0).all()) for weight in others)


def test_sides_of_a_reflected_definition_agree_with_torch():
    # The definitions above stand on this one helper.
    x = pictures(1, 2, 5, 6)
    assert torch.equal(padded(x, 3, 2, mirrored=True), F.pad(x, (3, 2, 3, 2), mode="reflect"))
