"""The lean way of instance norm against the plain one, and against the formula in float64."""

import pytest
import torch

from i2icli.networks.norm import InstanceNorm

LAYOUTS = (torch.contiguous_format, torch.channels_last)
SIZES = [(5, 7), (1, 9), (9, 1), (2, 2)]


def plain():
    norm = InstanceNorm(6)
    norm.is_lean = False
    return norm


def images(size, *, batch=2, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return (1.5 * torch.randn(batch, 6, *size, dtype=torch.float64) + 2.0).to(dtype)


def with_gradient(norm, given, upper):
    leaf = given.detach().requires_grad_()
    result = norm(leaf)
    return result, torch.autograd.grad(result, leaf, upper)[0]


def exact(given, upper):
    """Return values and gradient by the formula in float64."""
    leaf = given.detach().double().requires_grad_()
    centred = leaf - leaf.mean(dim=(2, 3), keepdim=True)
    result = centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()
    return result, torch.autograd.grad(result, leaf, upper.double())[0]


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("upper_layout", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_lean_and_plain_norms_equal_the_formula_with_their_gradients(
    layout, upper_layout, size, batch
):
    given = images(size, batch=batch, dtype=torch.float64).contiguous(memory_format=layout)
    upper = images(size, batch=batch, dtype=torch.float64, seed=1)
    upper = upper.contiguous(memory_format=upper_layout)
    lean = with_gradient(InstanceNorm(6), given, upper)
    for other in (with_gradient(plain(), given, upper), exact(given, upper)):
        torch.testing.assert_close(lean, other, rtol=1e-11, atol=1e-12)


def test_contiguous_images_give_the_very_numbers_of_the_plain_way():
    given, upper = images((16, 12)), images((16, 12), seed=1)
    for lean, wanted in zip(
        with_gradient(InstanceNorm(6), given, upper),
        with_gradient(plain(), given, upper),
        strict=True,
    ):
        assert torch.equal(lean, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_result_and_gradient_keep_layout_and_number_format(layout):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        given = images((6, 7), dtype=dtype).contiguous(memory_format=layout)
        for result in with_gradient(InstanceNorm(6), given, torch.ones_like(given)):
            assert result.dtype == dtype
            assert result.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 2])
def test_rounding_stays_near_that_of_float32_on_large_maps(layout, batch):
    # a plain sum over 65536 pixels, as batch norm makes it channels-last, is off by 1e-5
    given = images((256, 256), batch=batch).contiguous(memory_format=layout)
    upper = images((256, 256), batch=batch, seed=1).contiguous(memory_format=layout)
    for found, wanted in zip(
        with_gradient(InstanceNorm(6), given, upper), exact(given, upper), strict=True
    ):
        error = (found.double() - wanted).abs()
        assert error.max() < 4e-6
        assert error.square().mean().sqrt() < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_rounds_only_values_and_gradient_but_no_statistics(layout, dtype):
    given = (images((32, 32)) + 30.0).to(dtype).contiguous(memory_format=layout)
    upper = images((32, 32), seed=1).to(dtype).contiguous(memory_format=layout)
    for found, wanted in zip(
        with_gradient(InstanceNorm(6), given, upper), exact(given, upper), strict=True
    ):
        unit = torch.finfo(dtype).eps
        torch.testing.assert_close(found.double(), wanted, rtol=unit, atol=0.1 * unit)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_keeps_the_images_themselves_and_two_numbers_a_channel(layout):
    given = images((16, 16), dtype=torch.bfloat16).contiguous(memory_format=layout)
    given.requires_grad_()
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        InstanceNorm(6)(given)
    maps = [tensor for tensor in kept if tensor.numel() >= given.numel()]
    assert [tensor.data_ptr() for tensor in maps] == [given.data_ptr()]
    assert sum(tensor.numel() for tensor in kept) == given.numel() + 2 * 2 * 6


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_gradients_of_first_and_second_order_are_right(layout, batch):
    given = images((3, 5), batch=batch, dtype=torch.float64).contiguous(memory_format=layout)
    given.requires_grad_()
    assert torch.autograd.gradcheck(InstanceNorm(6), (given,))
    assert torch.autograd.gradgradcheck(InstanceNorm(6), (given,))


def test_shapes_are_known_without_values():
    assert InstanceNorm(6)(torch.empty(2, 6, 4, 4, device="meta")).shape == (2, 6, 4, 4)


def test_one_pixel_is_refused_either_way():
    for norm in (InstanceNorm(6), plain()):
        with pytest.raises(ValueError, match="more than 1 spatial element"):
            norm(images((1, 1)))


def test_instance_norm_has_no_state_and_does_the_same_in_evaluation():
    norm, images = InstanceNorm(3), torch.arange(60.0).view(1, 3, 4, 5).sin()
    assert norm.state_dict() == {}
    assert torch.equal(norm(images), norm.eval()(images))


def test_printing_an_instance_norm_shows_its_channels():
    assert str(InstanceNorm(3)) == "InstanceNorm(3)"
