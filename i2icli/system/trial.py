"""Short trials of two ways to compute the same, each made once a machine."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2icli.home import home
from i2icli.system.device import wait_for
from i2icli.system.files import write_whole

# The usual way, and the other.
Ways = tuple[Callable[[], object], Callable[[], object]]

_ROUNDS = 4
_SECONDS = 1.0  # of trying, after which no further round begins
_MOST_TRIALS = 500  # kept in the file


@dataclass(frozen=True)
class Trial:
    """How a trial ended.

    Attributes:
        gain: how many times as fast the other way is; None: not tried.
        why: why it was not tried.
    """

    gain: float | None
    why: str = ""


def try_once(key: Mapping[str, Any], device: torch.device, make: Callable[[], Ways]) -> Trial:
    """Compare two ways, or return what an earlier trial of the same found on this machine.

    Args:
        key: what is tried, in plain types.
        device: where.
        make: builds the two ways.
    """
    name = json.dumps({**key, **_machine(device)}, sort_keys=True)
    known = _read()
    if name in known:
        return Trial(known[name])
    gain = _compare(make(), device)
    # Read again: another process may have written meanwhile.
    _write({**_read(), name: gain})
    return Trial(gain)


def _compare(ways: Ways, device: torch.device) -> float:
    """Return the least time of the first way over that of the second; they take turns."""
    ended = time.perf_counter() + _SECONDS
    for way in ways:  # libraries choose their kernels at the first call
        _time(way, device)
    least = [_time(way, device) for way in ways]
    for number in range(1, _ROUNDS):
        if time.perf_counter() > ended:
            break
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for index in order:
            least[index] = min(least[index], _time(ways[index], device))
    return round(least[0] / least[1], 3)


def _time(way: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    way()
    wait_for(device)
    return time.perf_counter() - started


def _machine(device: torch.device) -> dict[str, Any]:
    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else platform.processor(),
        "machine": platform.node(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def _file() -> Path:
    return home() / "cache" / "trials.json"


def _read() -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_file().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {str(k): float(v) for k, v in found.items() if isinstance(v, int | float)}
    return {}


def _write(trials: Mapping[str, float]) -> None:
    """Replace the file; a folder that cannot be written costs a trial each time, no more."""
    newest = dict(list(trials.items())[-_MOST_TRIALS:])
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(), json.dumps(newest, indent=0), is_shared=True)
