"""The device and the number format that a command computes with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from i2icli.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps.

    `auto` is the first CUDA device, else mps, else the CPU.

    Raises:
        ConfigError: if the name is none of these, or the device is not on this machine.
    """
    present = available_devices()
    if name == "auto":
        # The first of them: present lists the fastest kind of device first.
        return torch.device(present[0])
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ConfigError(f"--device {name!r} is not a device: use auto, cpu, cuda, cuda:N or mps.")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in present:
        raise ConfigError(
            f"--device {name} is not on this machine, which has {', '.join(present)}: "
            "use one of these, or `--device auto`."
        )
    return torch.device(wanted)


def available_devices() -> list[str]:
    """Return the names of this machine's devices, GPUs first, the CPU last."""
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def wait_for(device: torch.device) -> None:
    """Wait until the device has computed all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_title(device: torch.device) -> str:
    """Return the device as a person would call it, for example "cuda:0 (NVIDIA H200)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the autocast type called `name`: auto, float32, bfloat16 or float16.

    `auto` is bfloat16 on CUDA devices that compute it in hardware, float16 on older ones with
    tensor cores, else float32.

    Raises:
        ConfigError: if the name is none of these.
    """
    if name == "auto":
        return _fast_half(device) or torch.float32
    if name not in _PRECISIONS:
        raise ConfigError(f"runtime.precision is {name!r}: use auto, {', '.join(_PRECISIONS)}.")
    return _PRECISIONS[name]


def precision_reason(device: torch.device) -> str:
    """Return the reason of the precision that `auto` is on a device."""
    if device.type == "cuda":
        kinds = {torch.bfloat16: "has bfloat16 units", torch.float16: "has float16 units alone"}
        half = _fast_half(device)
        return f"this GPU {kinds[half] if half else 'has no units for half precision'}"
    if device.type == "cpu" and has_fast_bfloat16():
        return (
            "exact; this CPU computes bfloat16 about 1.5 times as fast, with "
            "`runtime.precision=bfloat16`"
        )
    if device.type == "cpu":
        return "this CPU has no bfloat16 units"
    return "the choice away from CUDA"


def has_fast_bfloat16() -> bool:
    """Say whether the CPU multiplies bfloat16 in hardware."""
    with contextlib.suppress(AttributeError, RuntimeError):
        if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
            return True
    return False


def _fast_half(device: torch.device) -> torch.dtype | None:
    if device.type != "cuda":
        return None
    # Compute capability 8.0 (Ampere) is the first with bfloat16 units; torch's own check also
    # accepts emulation, which is slower than float32. 7.0 (Volta) has tensor cores for float16.
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float16 if capability >= (7, 0) else None


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Return the context in which forward passes run; float32 needs none."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Return the context in which nothing is cast, also inside `autocast`."""
    # the "meta" device of a dry run has no autocast to switch off
    if not torch.amp.is_autocast_available(device_type):
        return contextlib.nullcontext()
    return torch.autocast(device_type=device_type, enabled=False)


def widen(values: Tensor) -> Tensor:
    """Return half-precision values in float32, what sums and exponentials need; others as is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function`, whose first argument is a tensor, run outside autocast.

    Half-precision tensors among its arguments become float32 first; float64 ones stay.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        first = args[0]
        assert isinstance(first, Tensor), f"{function.__name__} wants a tensor first"
        wide = [_widen(value) for value in args]
        named = {name: _widen(value) for name, value in kwargs.items()}
        with without_autocast(first.device.type):
            return function(*wide, **named)  # type: ignore[arg-type]

    return run


def _widen(value: object) -> object:
    return widen(value) if isinstance(value, Tensor) else value
