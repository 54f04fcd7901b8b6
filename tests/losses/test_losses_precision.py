import pytest
import torch

from i2icli.system.device import full_precision


@full_precision
def product(first, second, *, third):
    """Multiply three matrices."""
    return first @ second @ third


def test_matrix_products_run_in_float32_inside_autocast():
    square = torch.full((3, 3), 1 / 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert (square @ square).dtype == torch.bfloat16
        assert product(square, square, third=square).dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_only_half_precision_arguments_are_widened(given, used):
    square = torch.ones(2, 2, dtype=given)
    assert product(square, square, third=square).dtype == used


def test_a_device_without_autocast_is_served_too():
    square = torch.ones(2, 2, device="meta")
    assert product(square, square, third=square).shape == (2, 2)
