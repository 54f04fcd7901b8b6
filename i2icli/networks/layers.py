"""Choices that the generator and the discriminator share."""

from __future__ import annotations

from typing import Literal

from torch import nn

from i2icli.networks.norm import InstanceNorm

NormKind = Literal["instance", "batch", "none"]


def build_norm(kind: NormKind, channels: int) -> nn.Module:
    """Build a normalisation layer; "none" is an identity, so that layer numbers stay."""
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.Identity()


def norm_needs_bias(kind: NormKind) -> bool:
    """Say whether convolutions before the norm carry a bias, as in the released networks."""
    return kind == "instance"
