"""The GPU of the tests marked so, and the settings under which it is compared with a CPU.

I2I_TEST_GPU names it, cuda:0 by default; `cpu` lets a CPU stand in, so that the tests themselves
are tried where there is no GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

GPU = torch.device(os.environ.get("I2I_TEST_GPU", "cuda:0"))
IS_CUDA = GPU.type == "cuda"

needs_gpu = pytest.mark.skipif(
    IS_CUDA and not torch.cuda.is_available(), reason="needs a CUDA device"
)


@contextmanager
def plain_float32() -> Iterator[None]:
    """Let convolutions in float32 compute in float32: by default a GPU drops 13 of its bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def distance(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Return how far tensors of the same names are from `theirs`, as a share of their length."""
    assert ours.keys() == theirs.keys(), "they are not of the same names"
    error = length = 0.0
    for name, value in theirs.items():
        wide = value.cpu().double()
        error += float((ours[name].cpu().double() - wide).square().sum())
        length += float(wide.square().sum())
    return (error / max(length, 1e-30)) ** 0.5
