"""Networks and batches: several batches through one network, one batch over several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from i2icli.system.device import widen


def ties_pictures(network: nn.Module) -> bool:
    """Return whether a network's output for a picture depends on the others of its batch.

    Batch norm does that, in training; every other layer here takes each picture on its own.
    """
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def send(
    run: Callable[..., Any], batches: Sequence[tuple[Tensor, ...]], *, together: bool
) -> list[Any]:
    """Return the outputs of `run` for each batch.

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


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of the whole batch.

    It stands for `norm`, whose weights and running statistics it takes over. Each of `world`
    processes has a slice of the same size; `add_up` returns the sum over them, differentiably.
    """

    def __init__(
        self, norm: nn.BatchNorm2d, *, add_up: Callable[[Tensor], Tensor], world: int
    ) -> None:
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        assert norm.affine, "a norm without weights has nothing to take over"
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self._add_up, self._world = add_up, world
        self.train(norm.training)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over B, H, W and, in training, over all processes."""
        if not self.training:
            return super().forward(images)
        # torch's own synchronised norm needs a GPU. Mean first, then deviations from it, so that
        # no digits are lost.
        wide = widen(images)
        count = self._world * wide.numel() // wide.shape[1]
        mean = self._add_up(wide.sum(dim=(0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = self._add_up(centred.square().sum(dim=(0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / max(1, count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(images.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_norms(module: nn.Module, *, add_up: Callable[[Tensor], Tensor], world: int) -> None:
    """Put a `SharedBatchNorm` in the place of every batch norm inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SharedBatchNorm(child, add_up=add_up, world=world))
        else:
            share_batch_norms(child, add_up=add_up, world=world)
