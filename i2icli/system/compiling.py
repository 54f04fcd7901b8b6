"""torch.compile with a cache of its own, a limit on shapes, and a way back."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from i2icli.home import home

log = logging.getLogger(__package__)

# Kinds of calls that are compiled: pictures of ever new sizes would never be done. Training has
# few, and all must be: which came first differs between a run and its resumption.
_MOST_KINDS = {True: 64, False: 8}


def compiler_fault(device: torch.device) -> str | None:
    """Return the reason why networks cannot be compiled here; None where they can."""
    if device.type == "mps":
        return "not on mps"
    named = os.environ.get("CXX")
    candidates = [named] if named else ["cl"] if sys.platform == "win32" else ["g++", "clang++"]
    if not any(shutil.which(name) for name in candidates):
        return f"there is no C++ compiler ({' or '.join(candidates)}) on this machine"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None


class Compiled:
    """A function, compiled for the kinds of calls that it gets; eager where that fails.

    A kind is the shapes, types and layouts of the tensors and the other arguments.

    Args:
        function: takes and returns tensors.
        title: what to call it.
        trains: compile calls that record a gradient, and no others; else those that do not.

    Attributes:
        plain: the function as it was.
    """

    def __init__(self, function: Callable[..., Any], *, title: str, trains: bool) -> None:
        self.plain, self._title, self._trains = function, title, trains
        self._fast: Callable[..., Any] | None = torch.compile(function, dynamic=False)
        self._kinds: set[Any] = set()

    def __call__(self, *values: Any, **options: Any) -> Any:
        """Call the function."""
        if self._fast is None or torch.is_grad_enabled() is not self._trains:
            return self.plain(*values, **options)
        kind = _kind_of(values, options)
        if kind in self._kinds:
            return self._fast(*values, **options)
        if len(self._kinds) >= _MOST_KINDS[self._trains]:
            return self.plain(*values, **options)
        return self._first(kind, values, options)

    def _first(self, kind: Any, values: tuple[Any, ...], options: dict[str, Any]) -> Any:
        assert self._fast is not None
        if not self._kinds:
            log.info(
                f"compiling the {self._title}: this takes a minute or more the first time, then "
                f"comes from {os.environ.get('TORCHINDUCTOR_CACHE_DIR', '')}"
            )
        started = time.perf_counter()
        try:
            with _whole_graphs():
                result = self._fast(*values, **options)
        except _faults() as fault:
            self._fast = None
            first = (str(fault).strip().splitlines() or [type(fault).__name__])[0].strip()
            log.warning(f"the {self._title} goes on uncompiled: {first[:200]}")
            return self.plain(*values, **options)
        self._kinds.add(kind)
        log.info(f"compiled the {self._title} in {time.perf_counter() - started:.0f} s")
        return result


def prepare_compiler() -> None:
    """Let compiled kernels be found again by later processes, in the user's cache."""
    import torch._dynamo
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Importing torch._dynamo sets the variable too, to a folder that a restart empties.
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(home() / "cache" / "compiled")

    # A network is called in as many ways as it is tapped and its players look at it.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)


def _kind_of(values: tuple[Any, ...], options: dict[str, Any]) -> Any:
    autocast = tuple(
        torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        for device in ("cpu", "cuda")
    )
    return tuple(_one(value) for value in (*values, *sorted(options.items()))), autocast


def _one(value: Any) -> Any:
    if isinstance(value, Tensor):
        is_last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
        return tuple(value.shape), value.dtype, is_last, value.requires_grad
    if isinstance(value, list | tuple):
        return tuple(_one(item) for item in value)
    return value


def _whole_graphs() -> contextlib.AbstractContextManager[Any]:
    # The backward pass is compiled with the forward pass; else it would be at the first backward
    # pass, where nothing can go back to eager.
    import torch._functorch.config

    if not hasattr(torch._functorch.config, "force_non_lazy_backward_lowering"):
        return contextlib.nullcontext()
    patched: contextlib.AbstractContextManager[Any] = torch._functorch.config.patch(
        force_non_lazy_backward_lowering=True
    )
    return patched


def _faults() -> tuple[type[BaseException], ...]:
    import torch._dynamo.exc
    import torch._inductor.exc

    kinds: list[type[BaseException]] = [torch._dynamo.exc.TorchDynamoException]
    kinds += [
        getattr(torch._inductor.exc, name)
        for name in ("InductorError", "InvalidCxxCompiler", "CppCompileError", "CUDACompileError")
        if hasattr(torch._inductor.exc, name)
    ]
    return tuple(kinds)
