"""Losses compute in float32 whatever autocast says."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def widen(value: object) -> object:
    """Return half-precision tensors as float32, anything else as it is."""
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` run outside autocast on float32 tensors; float64 ones stay.

    Its first argument must be a tensor, or a sequence of tensors on one device.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        device = (first if isinstance(first, Tensor) else first[0]).device  # type: ignore[index]
        with torch.autocast(device_type=device.type, enabled=False):
            wide = [widen(value) for value in args]
            named = {name: widen(value) for name, value in kwargs.items()}
            return function(*wide, **named)  # type: ignore[arg-type]

    return run
