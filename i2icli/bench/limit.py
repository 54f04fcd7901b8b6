"""How fast this machine multiplies: the measured limit that a training step is held against."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


class LimitProbe:
    """A matrix product and a convolution of the kind that fills generators, in one precision.

    Both are timed beside the steps, in turn with them, so that a share of the limit compares what
    the machine did at the same time.

    Args:
        device: where to compute.
        precision: the type of the operands.
    """

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self._device = device
        side, count = (8192, 16) if device.type == "cuda" else (1024, 1)
        generator = torch.Generator().manual_seed(0)

        def operand(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(device, precision)

        left, right = operand(side, side), operand(side, side)
        features, kernel = operand(count, 256, 64, 64), operand(256, 256, 3, 3)
        if device.type == "cuda":
            features = features.to(memory_format=torch.channels_last)
        self._kinds: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "gemm": (2.0 * side**3, lambda: left @ right),
            "conv": (
                2.0 * count * 64 * 64 * 256 * 256 * 9,
                lambda: F.conv2d(features, kernel, padding=1),
            ),
        }

    @torch.no_grad()
    def rates(self) -> dict[str, float]:
        """Return the rate of each kind now, GFLOP/s, a multiplication and an addition being two."""
        return {kind: self._rate(*work) for kind, work in self._kinds.items()}

    def _rate(self, operations: float, work: Callable[[], Tensor]) -> float:
        wait_for(self._device)
        started = time.perf_counter()
        work()
        wait_for(self._device)
        return operations / (time.perf_counter() - started) / 1e9


def wait_for(device: torch.device) -> None:
    """Wait until the device has computed all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
