"""The batch that a loader hands to a method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor


class _Tensors:
    def to(self, device: torch.device) -> Self:
        """Return the batch with its tensors on `device`."""
        return self._with({k: v.to(device, non_blocking=True) for k, v in self._tensors().items()})

    def laid_out(self, memory_format: torch.memory_format) -> Self:
        """Return the batch with its pictures in a layout; itself where that is the usual one."""
        if memory_format == torch.contiguous_format:
            return self
        return self._with(
            {
                name: value.contiguous(memory_format=memory_format) if value.dim() == 4 else value
                for name, value in self._tensors().items()
            }
        )

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory; DataLoader calls this by name."""
        return self._with({name: value.pin_memory() for name, value in self._tensors().items()})

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(value.nbytes for value in self._tensors().values())

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...], torch.dtype], ...]:
        """The name, shape and type of every tensor."""
        return tuple((k, tuple(v.shape), v.dtype) for k, v in self._tensors().items())

    def clone(self) -> Self:
        """Return a copy that shares no memory with this batch."""
        return self._with({name: value.clone() for name, value in self._tensors().items()})

    def fill(self, other: Self) -> None:
        """Take over the values of another batch of the same shapes, in place; names stay."""
        theirs = other._tensors()
        for name, value in self._tensors().items():
            value.copy_(theirs[name], non_blocking=True)

    def record_stream(self, stream: torch.Stream) -> None:
        """Tell the allocator that work on `stream` reads this batch."""
        for value in self._tensors().values():
            value.record_stream(stream)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def _with(self, tensors: dict[str, Tensor]) -> Self:
        record: Any = self
        moved: Self = replace(record, **tensors)
        return moved


@dataclass(frozen=True)
class Batch(_Tensors):
    """Training crops of both domains."""

    real_a: Tensor  # crops of domain A, (B, C_A, H, W) in [-1, 1]
    real_b: Tensor  # crops of domain B, (B, C_B, H, W) in [-1, 1]
    names_a: tuple[str, ...] = ()  # the files they came from, B of them, for error messages
    names_b: tuple[str, ...] = ()  # the same for domain B

    def __len__(self) -> int:
        """Return the pictures of each domain."""
        return len(self.real_a)

    @property
    def sources(self) -> Tensor:
        """The pictures that are translated."""
        return self.real_a

    @property
    def names(self) -> tuple[str, ...]:
        """All files."""
        return self.names_a + self.names_b


@dataclass(frozen=True)
class LabelledBatch(_Tensors):
    """Training crops with what each of their pixels shows."""

    images: Tensor  # crops, (B, C, H, W) in [-1, 1]
    labels: Tensor  # class ids, (B, H, W) int64; `labels.ignore` where nothing is known
    names: tuple[str, ...] = ()  # the files of the pictures, B of them, for error messages

    def __len__(self) -> int:
        """Return the pictures."""
        return len(self.images)

    @property
    def sources(self) -> Tensor:
        """The pictures that are segmented."""
        return self.images


AnyBatch = Batch | LabelledBatch
