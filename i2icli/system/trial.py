"""Short trials of two ways to compute the same, each made once a machine."""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from i2icli.home import home
from i2icli.system.cores import LoadWatch, look_at_load
from i2icli.system.device import wait_for
from i2icli.system.files import write_whole

Way = Callable[[], object]
Ways = tuple[Way, Way]  # the usual one, and the other
# Seconds of each timing of the two ways, which took turns.
Timings = tuple[list[float], list[float]]

_ROUNDS = (2, 24)  # at least and at most, a timing of each way in each
_SECONDS = 1.5  # of trying, after which no further round begins
_WORTH = 1.03  # as much faster the other way must be at the least: less is noise
_MOST_TRIALS = 500  # kept in the file


@dataclass(frozen=True)
class Trial:
    """How a trial ended.

    Attributes:
        gain: how many times as fast the other way is, by the least times; None: not tried.
        why: why it was not tried.
        spread: half of what the middle half of a way's timings spans, as a share of their median;
            the larger of the two. Of two or three all count.
        others: cores' worth that other programs took meanwhile; None: not known.
        is_quiet: whether these left enough; if not, it was tried on one thread and by the time
            that this was given, which others disturb little, and serves this process alone.
        seconds: all timings, of the usual way and of the other.
    """

    gain: float | None
    why: str = ""
    spread: float = 0.0
    others: float | None = None
    is_quiet: bool = True
    seconds: tuple[tuple[float, ...], ...] = ()

    @property
    def is_gain(self) -> bool:
        """Whether the other way is clearly faster."""
        return self.gain is not None and self.gain > max(_WORTH, 1 + self.spread)

    def describe(self) -> str:
        """Return the outcome in a few words."""
        if self.gain is None:
            return self.why
        spread = f", {self.spread:.0%} spread" if self.spread else ""
        beside = "" if self.is_quiet else f", beside {self.others or 0:.1f} busy core(s)"
        return f"{self.gain:.2f}x in a trial{spread}{beside}"

    def sentence(self) -> str:
        """Return the outcome with what it rests on."""
        if self.gain is None:
            return self.why
        usual, other = (f"{min(times):.3g}" for times in self.seconds)
        beside = "" if self.others is None else f", others took {self.others:.1f} core(s)"
        kept = "" if self.is_quiet else "; not kept, since that was too much"
        return (
            f"{self.gain:.2f} times as fast, {usual} s usually and {other} s, spread "
            f"{self.spread:.0%}{beside}{kept}"
        )


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
        return known[name]
    trial = _compare(make(), device)
    if trial.is_quiet:
        # Read again: another process may have written meanwhile.
        _write({**_read(), name: trial})
    return trial


def forget_trials() -> int:
    """Drop what trials found on this machine, so that each is made again; return their number."""
    known = _read()
    others = {
        name: trial
        for name, trial in known.items()
        if json.loads(name).get("machine") != platform.node()
    }
    _write(others)
    return len(known) - len(others)


def _compare(ways: Ways, device: torch.device) -> Trial:
    load = look_at_load()
    if load.is_quiet or device.type != "cpu":
        watch = LoadWatch()
        timings = _take_turns(ways, device, time.perf_counter)
        during = watch.look()
        load = load if not load.is_quiet else during
    if not load.is_quiet and device.type == "cpu":
        # Beside others two threads wait for each other, many times as long as they compute.
        with _one_thread():
            timings = _take_turns(ways, device, time.thread_time)
    least = [min(times) for times in timings]
    spreads = map(_spread, timings)
    return Trial(
        gain=round(least[0] / least[1], 3),
        spread=round(max(spreads), 3),
        others=None if load.others is None else round(load.others, 2),
        is_quiet=load.is_quiet,
        seconds=tuple(tuple(round(each, 6) for each in times) for times in timings),
    )


def _spread(times: Sequence[float]) -> float:
    outer = len(times) // 4
    inner = sorted(times)[outer : len(times) - outer]
    return (inner[-1] - inner[0]) / (2 * statistics.median(times))


def _take_turns(ways: Ways, device: torch.device, clock: Callable[[], float]) -> Timings:
    def once(way: Callable[[], object]) -> float:
        started = clock()
        way()
        wait_for(device)
        return clock() - started

    for way in ways:  # libraries choose their kernels at the first call
        once(way)
    timings: Timings = ([], [])
    ended = time.perf_counter() + _SECONDS
    for number in range(_ROUNDS[1]):
        if number >= _ROUNDS[0] and time.perf_counter() > ended:
            break
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            timings[index].append(max(once(ways[index]), 1e-9))
    return timings


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def _read() -> dict[str, Trial]:
    with contextlib.suppress(OSError, ValueError):
        document = json.loads(_file().read_text(encoding="utf-8"))
        found = document.items() if isinstance(document, dict) else ()
        return {name: trial for name, value in found if (trial := _restore(value))}
    return {}


def _restore(value: Any) -> Trial | None:
    # Mere numbers are of version 0.1.0, which did not look whether the machine was quiet.
    with contextlib.suppress(TypeError, ValueError, KeyError):
        return Trial(
            gain=float(value["gain"]),
            spread=float(value["spread"]),
            others=None if value["others"] is None else float(value["others"]),
            seconds=tuple(tuple(map(float, times)) for times in value["seconds"]),
        )
    return None


def _write(trials: Mapping[str, Trial]) -> None:
    """Replace the file; a folder that cannot be written costs a trial each time, no more."""
    newest = {name: asdict(trial) for name, trial in list(trials.items())[-_MOST_TRIALS:]}
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(), json.dumps(newest, indent=0), is_shared=True)
