"""Losses compute in float32 whatever autocast says."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch import Tensor

from i2icli.system.device import widen, without_autocast

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function`, whose first argument is a tensor, run outside autocast.

    Half-precision tensors among its arguments become float32 first; float64 ones stay.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        assert isinstance(first, Tensor), f"{function.__name__} wants a tensor first"
        wide = [_widen(value) for value in args]
        named = {name: _widen(value) for name, value in kwargs.items()}
        with without_autocast(first.device.type):
            return function(*wide, **named)  # type: ignore[arg-type]

    return run


def _widen(value: object) -> object:
    return widen(value) if isinstance(value, Tensor) else value
