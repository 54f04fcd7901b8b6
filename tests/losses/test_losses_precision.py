from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2icli.system.device import full_precision


@full_precision
def product(first: Tensor, second: Tensor, *, third: Tensor) -> Tensor:
    """Multiply three matrices."""
    return first @ second @ third


def test_matrix_products_run_in_float32_inside_autocast() -> None:
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
def test_only_half_precision_arguments_are_widened(given: torch.dtype, used: torch.dtype) -> None:
    square = torch.ones(2, 2, dtype=given)
    assert product(square, square, third=square).dtype == used


def test_a_device_without_autocast_is_served_too() -> None:
    square = torch.ones(2, 2, device="meta")
    assert product(square, square, third=square).shape == (2, 2)
