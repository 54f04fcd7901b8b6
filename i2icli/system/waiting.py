"""The waiting of OpenMP's threads for each other: busily on a quiet machine, briefly beside others.

A thread that waits keeps its core busy for milliseconds, so as to be back at once. Where another
program wants that core, the thread that is waited for may not run meanwhile, and a step takes ten
times as long or more. No number changes by the way of waiting, so it may change at any time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from i2icli.system.allocator import is_claimed
from i2icli.system.cores import LoadWatch, look_at_load

# By these a user has said how threads wait.
_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_FIRST = 0.1  # seconds of the first look
_EVERY = 1.0  # seconds between looks
# Of a core that others take from our threads. On two cores busy waiting was the faster beside a
# program that takes half of one, and 2 to 15 times as slow beside one that takes all it can get,
# which is two thirds of a core there.
CROWDED, _CALM = 0.5, 0.35
_CALM_LOOKS = 3  # in a row, until threads wait busily again


class _Process:
    """What this process does beside others.

    Attributes:
        crew: ends the brief waiting; None: threads wait busily.
        watch: looks at the load; None: not looked yet.
    """

    crew: contextlib.ExitStack | None = None
    watch: LoadWatch | None = None
    looked_at = 0.0
    calm_looks = 0


def waiting_fault() -> str | None:
    """Return the reason why the way of waiting stays as it is; None where it can be changed."""
    named = [name for name in _VARIABLES if name in os.environ]
    if named:
        return f"{named[0]} says already how threads wait"
    return None if _runtimes() else "no known OpenMP runtime"


def is_brief() -> bool:
    """Say whether threads wait briefly now."""
    return _Process.crew is not None


def wait_briefly() -> None:
    """Let threads that wait give up their cores at once; nothing where a user said otherwise."""
    if is_brief() or waiting_fault() is not None:
        return
    _Process.crew = contextlib.ExitStack()
    for path in _runtimes():
        runtime = ctypes.CDLL(str(path))
        _Process.crew.enter_context(
            _crowded(runtime) if "gomp" in path.name else _without_blocktime(runtime)
        )


def wait_busily() -> None:
    """Let threads wait as they do by themselves."""
    if _Process.crew is not None:
        _Process.crew.close()
        _Process.crew = None


def look_around(device: torch.device) -> None:
    """Choose the way of waiting by the load since the last look, in processes of i2i's own.

    To be called between steps or pictures by the thread that computes on `device`, a CPU or
    another; it looks once a second.
    """
    if device.type != "cpu" or not is_claimed():
        return
    now, threads = time.monotonic(), torch.get_num_threads()
    if threads == 1 or now - _Process.looked_at < _EVERY:
        return
    _Process.looked_at = now
    if _Process.watch is None:
        load, _Process.watch = look_at_load(_FIRST), LoadWatch()
    else:
        load = _Process.watch.look()
    lacking = load.lacking(threads)
    _Process.calm_looks = _Process.calm_looks + 1 if lacking < _CALM else 0
    if lacking > CROWDED:
        wait_briefly()
    elif _Process.calm_looks >= _CALM_LOOKS:
        wait_busily()


@contextlib.contextmanager
def not_looking() -> Iterator[None]:
    """Leave out what others do inside, for instance those that this process takes turns with."""
    started = time.monotonic()
    with _Process.watch.away() if _Process.watch else contextlib.nullcontext():
        yield
    _Process.looked_at += time.monotonic() - started


def _runtimes() -> list[Path]:
    """Return the libraries of OpenMP that this process has loaded."""
    try:
        text = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        paths = {line.split(maxsplit=5)[5] for line in text.splitlines() if line.count("/")}
    except OSError:  # torch brings its own there
        paths = {str(path) for path in (Path(torch.__file__).parent / "lib").glob("lib*omp*")}
    pattern = r"lib(gomp|i?omp)\d*(md)?(-\w+)?(\.so|\.dylib|\.dll)(\.\d+)*"
    return [Path(path) for path in sorted(paths) if re.fullmatch(pattern, Path(path).name)]


@contextlib.contextmanager
def _crowded(gomp: ctypes.CDLL) -> Iterator[None]:
    """Let GNU's runtime have more threads than CPUs: then each waits a hundredth as long.

    The further threads are the idle team of a thread that has called it once.
    """
    ready, is_over = threading.Event(), threading.Event()
    count = max(2, gomp.omp_get_num_procs() - torch.get_num_threads() + 2)
    # Something short that any thread may call, no Python.
    nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)

    def idle() -> None:
        gomp.GOMP_parallel(nothing, None, count, 0)
        ready.set()
        is_over.wait()

    thread = threading.Thread(target=idle, name="idle OpenMP team", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def _without_blocktime(kmp: ctypes.CDLL) -> Iterator[None]:
    """Let threads of LLVM's or Intel's runtime sleep as soon as they wait."""
    before = kmp.kmp_get_blocktime()
    kmp.kmp_set_blocktime(0)
    try:
        yield
    finally:
        kmp.kmp_set_blocktime(before)
