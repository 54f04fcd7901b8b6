from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2icli.networks.norm import InstanceNorm

LAYOUTS = ("contiguous", "channels_last", "permuted")


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """Return the same values in another order in memory."""
    if layout == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "permuted":
        return tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return tensor.contiguous()


def formula(images: Tensor) -> Tensor:
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    return centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("gradient_layout", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_instance_norm_equals_the_formula_in_every_layout(
    layout: str, gradient_layout: str, batch: int
) -> None:
    torch.manual_seed(1)
    values, incoming = 3.0 * torch.randn(2, batch, 8, 6, 7) + 1.0
    images = laid_out(values, layout).requires_grad_()
    normed = InstanceNorm(8)(images)
    (gradient,) = torch.autograd.grad(normed, images, laid_out(incoming, gradient_layout))

    exact = values.double().requires_grad_()
    expected = formula(exact)
    (expected_gradient,) = torch.autograd.grad(expected, exact, incoming.double())
    torch.testing.assert_close(normed.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-5)


def test_instance_norm_passes_the_gradient_of_sampled_features() -> None:
    # the way contrastive losses read features: channels last, a few places
    torch.manual_seed(2)
    values, places = torch.randn(1, 8, 6, 7), torch.tensor([0, 5, 41])

    def sampled(images: Tensor, norm: torch.nn.Module) -> Tensor:
        rows = norm(images).permute(0, 2, 3, 1).flatten(1, 2)[:, places]
        return rows.pow(3).sum()

    gradients = []
    for images in (values.clone().requires_grad_(), values.double().requires_grad_()):
        norm = InstanceNorm(8) if images.dtype == torch.float32 else formula
        gradients.append(torch.autograd.grad(sampled(images, norm), images)[0].double())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_instance_norm_has_the_right_second_derivative(layout: str, batch: int) -> None:
    torch.manual_seed(3)
    images = laid_out(torch.randn(batch, 2, 3, 4, dtype=torch.float64), layout).requires_grad_()
    assert torch.autograd.gradgradcheck(InstanceNorm(2), (images,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_instance_norm_takes_statistics_of_half_precision_images_in_float32(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(4)
    images = (50.0 + torch.randn(1, 4, 32, 32)).to(dtype)  # the mean needs more than 8 bits
    normed = InstanceNorm(4)(images)
    assert normed.dtype == dtype
    expected = formula(images.double())
    torch.testing.assert_close(normed.double(), expected, rtol=0.01, atol=1e-3)


def test_instance_norm_has_no_state_and_does_the_same_in_evaluation() -> None:
    norm, images = InstanceNorm(3), torch.arange(60.0).view(1, 3, 4, 5).sin()
    assert norm.state_dict() == {}
    assert torch.equal(norm(images), norm.eval()(images))


def test_printing_an_instance_norm_shows_its_channels() -> None:
    assert str(InstanceNorm(3)) == "InstanceNorm(3)"
