"""What a loader hands to a method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Training crops of both domains.

    Attributes:
        real_a: crops of domain A, (B, C_A, H, W) in [-1, 1].
        real_b: crops of domain B, (B, C_B, H, W) in [-1, 1].
        names_a: the files they came from, B of them, for error messages.
        names_b: the same for domain B.
    """

    real_a: Tensor
    real_b: Tensor
    names_a: tuple[str, ...] = ()
    names_b: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its tensors on `device`."""
        return replace(
            self,
            real_a=self.real_a.to(device, non_blocking=True),
            real_b=self.real_b.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory; DataLoader calls this by name."""
        return replace(self, real_a=self.real_a.pin_memory(), real_b=self.real_b.pin_memory())
