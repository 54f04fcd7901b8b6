"""What the networks of several papers share: the choice of a norm, and how weights start."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import init

from i2icli.networks.norm import InstanceNorm

NormKind = Literal["instance", "batch", "group", "none"]


def build_norm(kind: NormKind, channels: int) -> nn.Module:
    """Build a normalisation layer; "none" is an identity, so that layer numbers stay."""
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        # Wu and He 2018 have 32; 8 suit the narrow networks here, and fewer still narrower ones.
        return nn.GroupNorm(math.gcd(8, channels), channels)
    return nn.Identity()


def norm_needs_bias(kind: NormKind) -> bool:
    """Return whether convolutions before the norm carry a bias, as in the released networks."""
    return kind == "instance"


def check_taps(layers: Sequence[int], count: int) -> None:
    """Refuse taps that do not ascend among `count` modules.

    Raises:
        ValueError: naming them.
    """
    if any(first >= second for first, second in pairwise(layers)):
        raise ValueError(f"layers must ascend without repeats, got {list(layers)}")
    if layers and not (layers[0] >= 0 and layers[-1] < count):
        raise ValueError(
            f"layers must lie in 0..{count - 1} for this generator, got {list(layers)}"
        )


class OwnStart(nn.Conv2d):
    """A convolution that `init_weights` leaves to start in its own way, which is PyTorch's here."""


class SmallStart(OwnStart):
    """A convolution that starts so small that what it adds to does not show it."""

    def reset_parameters(self) -> None:
        """Draw weights of standard deviation 0.002, and set the biases to 0."""
        init.normal_(self.weight, 0.0, 0.002)
        if self.bias is not None:
            init.zeros_(self.bias)


InitKind = Literal["xavier", "normal", "kaiming", "orthogonal"]

_DRAW: dict[InitKind, Callable[[Tensor, float], Tensor]] = {
    "xavier": lambda weight, gain: init.xavier_normal_(weight, gain=gain),
    "normal": lambda weight, gain: init.normal_(weight, 0.0, gain),
    "kaiming": lambda weight, _: init.kaiming_normal_(weight, a=0, mode="fan_in"),
    "orthogonal": lambda weight, gain: init.orthogonal_(weight, gain=gain),
}


def init_weights(module: nn.Module, kind: InitKind, gain: float) -> None:
    """Draw fresh weights for every convolution, linear layer and batch norm in `module`.

    Biases become 0, weights of batch norms are drawn around 1; an `OwnStart` keeps its way.
    Draws from the global generator.

    Args:
        module: changed in place.
        kind: distribution of the weights; "kaiming" takes no gain.
        gain: standard deviation for "normal", factor for "xavier" and "orthogonal".
    """
    for layer in module.modules():
        if isinstance(layer, OwnStart):
            layer.reset_parameters()
        elif isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            _DRAW[kind](layer.weight, gain)
        elif isinstance(layer, nn.BatchNorm2d):
            init.normal_(layer.weight, 1.0, gain)
        else:
            continue
        if layer.bias is not None:
            init.zeros_(layer.bias)
