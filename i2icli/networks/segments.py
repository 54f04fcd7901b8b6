"""Run a sequence of layers so that little of what it computes on the way stays in memory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resample import Downsample, Upsample

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

# Layers that may run twice a step; batch norm may not, for it counts what it sees.
_REPEATABLE = (
    *CONVOLUTIONS,
    InstanceNorm,
    Downsample,
    Upsample,
    nn.Dropout,
    nn.Identity,
    nn.LeakyReLU,
    nn.ReLU,
    nn.ReflectionPad2d,
)


def run_layers(layers: Iterable[nn.Module], value: Tensor) -> Tensor:
    """Send `value` through layers; an activation after an instance norm overwrites its result.

    Nothing else reads that result, and neither layer needs it for its gradient.
    """
    is_own = False
    for layer in layers:
        # By exact type, and not of a view: what the norm returned must be its own to overwrite.
        if is_own and type(layer) is nn.ReLU:
            value = F.relu_(value)
        elif is_own and type(layer) is nn.LeakyReLU:
            value = F.leaky_relu_(value, layer.negative_slope)
        else:
            value = layer(value)
        is_own = isinstance(layer, InstanceNorm) and value._base is None  # noqa: SLF001
    return value


def run_in_segments(layers: Iterable[nn.Module], value: Tensor, *, recomputes: bool) -> Tensor:
    """Send `value`, (B, C, H, W), through layers, in segments that end with a convolution.

    With `recomputes` the input of each segment alone is kept for the gradient, and what lies
    between it and the convolution is computed again. The convolution itself is not run again: it
    notes its input before it runs, and there the second run ends.
    """
    segment: list[nn.Module] = []
    for layer in layers:
        segment.append(layer)
        if isinstance(layer, CONVOLUTIONS):
            value = _run_segment(segment, value, recomputes=recomputes)
            segment = []
    # Norm and activation keep no more than what goes in and comes out, which is kept anyway.
    keeps_more = any(isinstance(layer, Downsample) for layer in segment)
    return _run_segment(segment, value, recomputes=recomputes and keeps_more)


def _run_segment(layers: list[nn.Module], value: Tensor, *, recomputes: bool) -> Tensor:
    is_worth_it = recomputes and torch.is_grad_enabled() and len(layers) > 1
    if not (is_worth_it and all(isinstance(layer, _REPEATABLE) for layer in layers)):
        return run_layers(layers, value)
    result: Tensor = checkpoint(
        partial(run_layers, layers),
        value,
        use_reentrant=False,
        preserve_rng_state=any(isinstance(layer, nn.Dropout) for layer in layers),
    )
    return result
