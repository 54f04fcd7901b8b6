"""Freed memory that stays with the process for the next maps, where the C library is glibc.

Large blocks come from the system each time and go back when freed; a training step then spends a
seventh of its time or more in page faults. What is set here holds for the whole process, so it is
done in processes of i2i's own commands alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

from i2icli.system.threads import limit_threads

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULT_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 128 * 1024, 65536
# By these a user has said what malloc shall do.
_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


class _Process:
    is_ours = False
    keeps = False


def claim_process() -> None:
    """Say that this process runs a command of i2i and nothing else, on the cores it may use."""
    _Process.is_ours = True
    limit_threads()


def limit_kernels() -> None:
    """Let oneDNN keep the kernels of its last 128 convolutions, of a few sizes of pictures.

    By default it keeps 1024, about 2 MB each, so that pictures of ever new sizes fill gigabytes.
    To be called before the first convolution of the process.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def is_claimed() -> bool:
    """Say whether this process runs a command of i2i and nothing else."""
    return _Process.is_ours


def keeping_fault() -> str | None:
    """Return the reason why freed memory cannot be kept here; None where it can."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):  # Windows; other C libraries
        version = ""
    if not version.startswith("glibc"):
        return "the C library is not glibc"
    named = [name for name in _VARIABLES if name in os.environ]
    if named or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return f"{(named or ['GLIBC_TUNABLES'])[0]} says already what malloc does"
    return None


def keep_freed_memory() -> None:
    """Let malloc take all memory from its heap and keep what is freed, until told otherwise."""
    if keeping_fault() is None:
        _Process.keeps = _mallopt({_MMAP_MAX: 0, _TRIM_THRESHOLD: -1})


def return_freed_memory() -> None:
    """Give back free memory, now and from now on; nothing where it was so before."""
    if _Process.keeps:
        _mallopt({_MMAP_MAX: _DEFAULT_MMAP_MAX, _TRIM_THRESHOLD: _DEFAULT_TRIM_THRESHOLD})
        ctypes.CDLL(None).malloc_trim(0)
        _Process.keeps = False


def is_keeping() -> bool:
    """Say whether freed memory is kept."""
    return _Process.keeps


def _mallopt(settings: dict[int, int]) -> bool:
    with contextlib.suppress(AttributeError, OSError):
        set_ = ctypes.CDLL(None).mallopt
        return all(set_(name, value) == 1 for name, value in settings.items())
    return False
