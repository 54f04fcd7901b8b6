"""Nested plain data, compared bit for bit, and pictures, compared but for rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def tensors_of(value: Any, path: str = "") -> dict[str, Any]:
    """Return everything in nested plain data by its path."""
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {path: value}
    return {k: v for key, item in items for k, v in tensors_of(item, f"{path}/{key}").items()}


def assert_same(left: Any, right: Any) -> None:
    """Assert that nested plain data agree bit for bit, naming the first thing that differs."""
    ours, theirs = tensors_of(left), tensors_of(right)
    assert list(ours) == list(theirs)
    for path, value in ours.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, theirs[path]), f"{path} differs"
        else:
            assert value == theirs[path], f"{path} differs"


def assert_same_picture(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Assert that pixels agree but for 1: two ways to a number may be rounded to two sides."""
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
