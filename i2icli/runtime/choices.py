"""What `auto` comes to on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from i2icli.config.sections import RuntimeConfig
from i2icli.runtime.device import resolve_precision


@dataclass(frozen=True)
class Choices:
    """The settings of `runtime` without `auto`.

    Attributes:
        reasons: by the name of a setting that was `auto`, why it came out so.
    """

    device: torch.device
    precision: torch.dtype
    compile: bool
    channels_last: bool
    recompute: bool
    reuse_memory: bool
    cuda_graphs: bool
    fused_optimizer: bool
    prefetch: bool
    reasons: Mapping[str, str] = field(default_factory=dict)


def choose(runtime: RuntimeConfig, device: torch.device) -> Choices:
    """Settle every setting that the configuration leaves to the machine.

    Raises:
        ConfigError: for a precision that is none.
    """
    is_cpu, is_cuda = device.type == "cpu", device.type == "cuda"
    automatic = {
        "compile": False,
        "channels_last": False,
        "recompute": False,
        "reuse_memory": is_cpu,
        "cuda_graphs": False,
        "fused_optimizer": is_cuda,
        "prefetch": is_cuda,
    }
    settled: dict[str, bool] = {
        name: chosen if getattr(runtime, name) == "auto" else getattr(runtime, name) == "on"
        for name, chosen in automatic.items()
    }
    precision = resolve_precision(runtime.precision, device)
    return Choices(device=device, precision=precision, reasons={}, **settled)
