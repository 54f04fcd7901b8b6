"""Several batches of pictures through one network: in one pass, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def ties_pictures(network: nn.Module) -> bool:
    """Return whether what a network makes of a picture depends on the others of its batch.

    Batch norm does that, in training; every other layer here takes each picture on its own.
    """
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def send(
    run: Callable[..., Any], batches: Sequence[tuple[Tensor, ...]], *, together: bool
) -> list[Any]:
    """Return what `run` makes of each batch.

    Args:
        run: takes the tensors of a batch, and returns tensors, or sequences of them, however
            deep, with the pictures along their first axis; what it makes of a picture depends on
            that picture alone if `together`.
        batches: each one tensor or several, (B, ...).
        together: run once on all batches, where their pictures are of one size.
    """
    sizes = {tuple(part.shape[1:] for part in batch) for batch in batches}
    if not together or len(batches) == 1 or len(sizes) > 1:
        return [run(*batch) for batch in batches]
    joined = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    return _split(run(*joined), [len(batch[0]) for batch in batches])


def _split(value: Any, counts: Sequence[int]) -> list[Any]:
    """Return the share of every batch in a tensor, or in sequences of tensors as lists."""
    if isinstance(value, Tensor):
        return list(torch.split(value, list(counts)))
    shares = [_split(each, counts) for each in value]
    return [[share[number] for share in shares] for number in range(len(counts))]
