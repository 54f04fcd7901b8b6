"""How much memory there is, and how much a method takes for a picture."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2icli.errors import ConfigError
from i2icli.system.control_groups import control_groups, lines_of

_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
# Of a control group of version 1 and of version 2: limit, use, and the name of idle cached files.
_MEMORY = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ("memory.max", "memory.current", "inactive_file"),
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_bytes(text: str) -> int:
    """Return the bytes that a text such as 4G, 1.5GiB, 800M or 1000000 names; K is 1024.

    Raises:
        ConfigError: if it names none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    count = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if count < 1:
        raise ConfigError(f"--memory {text!r} is no amount of memory: use 4G, 1.5G, 800M, ...")
    return count


def in_words(count: float) -> str:
    """Return bytes as a person would say them: 1.5 GiB, 300 MiB."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"


def shared_memory_free() -> int | None:
    """Return the bytes that processes can still share; None where the system does not say."""
    try:
        found = os.statvfs("/dev/shm")
    except (AttributeError, OSError):  # Windows, macOS: other means
        return None
    return found.f_bavail * found.f_frsize


def resident_bytes() -> int:
    """Return the memory that this process holds; where the system does not say, its peak or 0.

    What the C library keeps for later is given back first, where it can be.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # the last one on Windows
        ctypes.CDLL(None).malloc_trim(0)
    statistics = Path("/proc/self/statm")
    if statistics.is_file():
        return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return _used_peak() or 0


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory this process has taken, bytes; None where the system does not say.

    Args:
        device: a GPU: what torch allocated there; the CPU: what the process held.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    status = Path("/proc/self/status")
    if status.is_file():
        # Not what getrusage says: there a child inherits its parent's peak.
        text = status.read_text(encoding="ascii", errors="replace")
        if match := re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE):
            return int(match[1]) * 1024
    return _used_peak()


def _used_peak() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Return the memory that this process may still take; None where the system does not say.

    Args:
        device: a GPU; or the CPU, where a container's limit counts as well as what is free.
        root: where /proc and /sys are.
    """
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    table = "\n".join(lines_of(root / "proc/meminfo"))
    free = [int(match[1]) * 1024] if (match := _AVAILABLE.search(table)) else []
    free += (room for group in control_groups("memory", root) for room in _room(group))
    return max(0, min(free)) if free else None


def _room(group: Path) -> Iterator[int]:
    """Yield the bytes that a control group leaves, where it sets a limit."""
    is_second = (group / "memory.max").is_file()
    limit, used, idle = _MEMORY[is_second]
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        most = int((group / limit).read_text(encoding="ascii"))
        taken = int((group / used).read_text(encoding="ascii"))
        # Files in the cache, which are dropped when their place is wanted, count as taken.
        kept = (line.split() for line in lines_of(group / "memory.stat"))
        cached = sum(int(fields[1]) for fields in kept if fields and fields[0] == idle)
        yield most - taken + cached


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of tensors that are made inside the context, and its peak.

    What libraries take for themselves inside one operation is not seen.

    Attributes:
        peak: most bytes that were alive at once.
        largest: bytes of the largest tensor.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.largest = 0
        self._now = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],  # noqa: ARG002
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it makes."""
        given = {self._key(value) for value in tree_leaves((args, kwargs)) if _counts(value)}
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if _counts(value) and self._key(value) not in given:
                self._note(value.untyped_storage())
        return result

    @staticmethod
    def _key(value: Tensor) -> int:
        return int(value.untyped_storage()._cdata)

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def forget(_reference: object) -> None:
            self._now -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, forget)
        self._now += size
        self.peak, self.largest = max(self.peak, self._now), max(self.largest, size)


def _counts(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type != "meta"
