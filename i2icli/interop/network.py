"""A network in a file of others, and how its weights come into one of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2icli.errors import CheckpointError

Role = Literal["generator", "discriminator", "projection", "similarity"]

# Buffers whose values follow from the architecture.
_CONSTANT = ("filt", "kernel")
_COUNTER = "num_batches_tracked"
_STATISTICS = (".running_mean", ".running_var", f".{_COUNTER}")


@dataclass(frozen=True)
class Network:
    """A network as its names and shapes tell it.

    Attributes:
        family: layout of the weights, for example "resnet".
        role: what it is for.
        title: what the user reads.
        settings: values of a method's configuration that build it, by their paths in it.
        channels: channels in and out; a discriminator's out is 1; empty where it has none.
        weights: by the names of our network.
        unused: names in the file that do not go into our network, each with the reason.
        by_crop: further settings where they depend on the side of the training crops; empty
            where they do not.
    """

    family: str
    role: Role
    title: str
    settings: Mapping[str, Any]
    channels: tuple[int, ...]
    weights: Mapping[str, Tensor]
    unused: Mapping[str, str] = field(default_factory=dict)
    by_crop: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Filled:
    """What became of the tensors of a file.

    Attributes:
        used: names of weights taken.
        verified: names of constants that the file also has, and with the same values.
        unused: names left out, each with the reason.
    """

    used: tuple[str, ...]
    verified: tuple[str, ...]
    unused: Mapping[str, str]


def shape_of(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    """Return the shape of a weight; () where it is missing."""
    return tuple(weights[name].shape) if name in weights else ()


def settings_of(part: str, **values: Any) -> dict[str, Any]:
    """Return settings of a part of a method, such as "generator", by their paths."""
    return {f"{part}.{key}": value for key, value in values.items()}


def norm_of(weights: Mapping[str, Tensor], convolution: str, norm: str) -> str:
    """Return the norm of a network, by the names of a convolution and of the layer after it."""
    # The released networks give a convolution a bias just where instance norm follows; batch norm
    # has weights of its own.
    if f"{convolution}.bias" in weights:
        return "instance"
    return "batch" if f"{norm}.weight" in weights else "none"


def count_names(names: Iterable[str], pattern: str) -> int:
    """Count the names that match a regular expression from end to end."""
    return sum(re.fullmatch(pattern, name) is not None for name in names)


def without_statistics(
    weights: Mapping[str, Tensor], norm: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return weights without running statistics that go with no norm here, and those names.

    Each of the names comes with the reason. Instance norm kept them in PyTorch up to 0.3, and never
    used them in training.
    """
    reason = f"running statistics, which {norm} norm does not use"
    unused = {name: reason for name in weights if norm != "batch" and name.endswith(_STATISTICS)}
    return {name: weight for name, weight in weights.items() if name not in unused}, unused


def fill(module: nn.Module, network: Network, *, source: str) -> Filled:
    """Give a module the weights of a network of the same architecture, all of them.

    Raises:
        CheckpointError: naming `source`, the file, and every weight that is missing, left over, of
            another shape or not finite, and every constant that differs.
    """
    ours, theirs = module.state_dict(), network.weights
    constants = {name for name in ours if name.rsplit(".", 1)[-1] in _CONSTANT}
    optional = constants | {name for name in ours if name.endswith(_COUNTER)}
    shared = [name for name in ours if name in theirs]
    reshaped = [name for name in shared if ours[name].shape != theirs[name].shape]
    # Half and double precision are converted; nothing else stands for a weight.
    mistyped = [
        name
        for name in shared
        if ours[name].is_floating_point() and not theirs[name].is_floating_point()
    ]
    same_shape = [name for name in shared if name not in (*reshaped, *mistyped)]
    faults = {
        "missing": [name for name in ours if name not in theirs and name not in optional],
        "left over": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {tuple(theirs[name].shape)} for {tuple(ours[name].shape)}" for name in reshaped
        ],
        "of a type that no weight has": [f"{name} {theirs[name].dtype}" for name in mistyped],
        # As they will be: a double may be too large for a float.
        "not finite": [
            name for name in same_shape if not theirs[name].to(ours[name].dtype).isfinite().all()
        ],
        "constants with other values": [
            name
            for name in same_shape
            if name in constants
            and not torch.allclose(theirs[name].to(ours[name]), ours[name], rtol=1e-4, atol=1e-6)
        ],
    }
    said = [f"{len(names)} {fault} ({some(names)})" for fault, names in faults.items() if names]
    if said:
        raise CheckpointError(
            f"{source} looks like a {network.title}, but does not fit one: {'; '.join(said)}."
        )
    used = tuple(name for name in same_shape if name not in constants)
    with torch.no_grad():
        for name in used:
            ours[name].copy_(theirs[name])  # a state dict shares memory with its module
    verified = tuple(name for name in same_shape if name in constants)
    return Filled(used, verified, network.unused)


def some(names: Sequence[str], most: int = 4) -> str:
    """Return the first few names."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
