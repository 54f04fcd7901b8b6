import pytest
import torch
from torch.nn import functional as F

from i2icli.networks.resample import Downsample, ReflectionPad, Upsample


def blur_up(features, filt):
    """Double by transposed blur convolution on an edge-padded map, as the released code."""
    padded = F.pad(features, (1, 1, 1, 1), mode="replicate")
    wide = F.conv_transpose2d(padded, filt, stride=2, padding=2, groups=features.shape[1])
    return wide[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize("size", [(5, 8), (1, 1), (2, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_upsample_equals_the_released_blur_and_its_gradient(size, batch):
    torch.manual_seed(1)
    features = torch.randn(batch, 3, *size, dtype=torch.float64, requires_grad=True)
    incoming = torch.randn(batch, 3, 2 * size[0], 2 * size[1], dtype=torch.float64)
    upsample = Upsample(3).double()
    results = [upsample(features), blur_up(features, upsample.filt)]
    gradients = [torch.autograd.grad(doubled, features, incoming)[0] for doubled in results]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("size", [(5, 8), (1, 1), (2, 1), (7, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_upsample_by_filter_equals_interpolation_and_its_gradient(size, layout, dtype, limit):
    torch.manual_seed(3)
    features = torch.randn(2, 3, *size, dtype=dtype).contiguous(memory_format=layout)
    incoming = torch.randn(2, 3, 2 * size[0], 2 * size[1], dtype=dtype)
    results, upsample = [], Upsample(3).to(dtype)
    for upsample.is_bilinear in (True, False):
        leaf = features.detach().requires_grad_()
        doubled = upsample(leaf)
        results.append((doubled, *torch.autograd.grad(doubled, leaf, incoming)))
    for interpolated, filtered in zip(*results, strict=True):
        torch.testing.assert_close(interpolated, filtered, rtol=limit, atol=2 * limit)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_upsample_rounds_half_precision_maps_once(dtype):
    torch.manual_seed(4)
    features = torch.randn(1, 3, 9, 6).to(dtype)
    unit = torch.finfo(dtype).eps  # two kernels: sums may be rounded to two sides
    wanted = Upsample(3)(features.float()).to(dtype)
    torch.testing.assert_close(Upsample(3)(features), wanted, rtol=unit, atol=unit)


def test_upsample_may_be_differentiated_twice():
    torch.manual_seed(5)
    features = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(Upsample(2).double(), (features,))


def test_upsample_keeps_the_released_filter_for_checkpoints():
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    state = Upsample(5).state_dict()
    assert list(state) == ["filt"]
    assert torch.equal(state["filt"], torch.outer(line, line).expand(5, 1, 4, 4))


@pytest.mark.parametrize(("size", "halved"), [((6, 8), (3, 4)), ((5, 7), (3, 4)), ((2, 2), (1, 1))])
def test_downsample_averages_by_one_two_one_around_every_second_pixel(size, halved):
    torch.manual_seed(2)
    features = torch.randn(2, 3, *size)
    result = Downsample(3)(features)
    assert result.shape == (2, 3, *halved)
    for row in range(halved[0]):
        for column in range(halved[1]):
            expected = torch.zeros(2, 3)
            for down, weight_down in ((-1, 1.0), (0, 2.0), (1, 1.0)):
                for right, weight_right in ((-1, 1.0), (0, 2.0), (1, 1.0)):
                    top = mirrored(2 * row + down, size[0])
                    left = mirrored(2 * column + right, size[1])
                    expected += weight_down * weight_right / 16 * features[:, :, top, left]
            torch.testing.assert_close(result[:, :, row, column], expected)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (2, 2), (3, 2), (64, 63)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-15), (torch.float32, 1e-6), (torch.bfloat16, 1.6e-2)]
)
def test_gradient_of_a_blur_by_slices_is_that_of_the_convolution(size, layout, dtype, limit):
    torch.manual_seed(3)
    features = torch.randn(2, 3, *size, dtype=dtype).contiguous(memory_format=layout)
    plain, lean = Downsample(3).to(dtype), Downsample(3).to(dtype)
    plain.is_lean = False
    results, gradients = [], []
    for blur in (plain, lean):
        leaf = features.clone(memory_format=torch.preserve_format).requires_grad_()
        results.append(blur(leaf))
        upper = torch.linspace(-1.0, 1.0, results[-1].numel(), dtype=dtype).view_as(results[-1])
        gradients.append(torch.autograd.grad(results[-1], leaf, upper)[0])
    assert torch.equal(*results)
    torch.testing.assert_close(*gradients, rtol=limit, atol=limit)
    assert gradients[1].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_blur_may_be_differentiated_twice(size):
    features = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
    blur = Downsample(2).double()
    assert torch.autograd.gradcheck(blur, features)
    assert torch.autograd.gradgradcheck(blur, features)


def test_blur_under_autocast_gives_a_gradient_in_the_format_of_its_maps():
    features = torch.randn(1, 2, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        blurred = Downsample(2)(features)
    assert blurred.dtype == torch.bfloat16
    blurred.float().sum().backward()
    assert features.grad.dtype == torch.float32


def mirrored(place, size):
    place = abs(place)
    return place if place < size else 2 * (size - 1) - place


def test_downsample_keeps_the_released_filter_for_checkpoints():
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    state = Downsample(5).state_dict()
    assert list(state) == ["filt"]
    assert torch.equal(state["filt"], torch.outer(line, line).expand(5, 1, 3, 3))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_padding_only_copies_under_autocast_too(half, layout):
    maps = torch.randn(2, 3, 6, 5).to(half).contiguous(memory_format=layout).requires_grad_()
    with torch.autocast("cpu", dtype=half):
        padded = ReflectionPad(2)(maps)
    assert padded.dtype == half
    assert torch.equal(padded.float(), F.pad(maps.float(), (2, 2, 2, 2), mode="reflect"))
    padded.sum().backward()
    # every padded pixel is a copy of one: as many gradients as pixels
    assert float(maps.grad.float().sum()) == padded.numel()
