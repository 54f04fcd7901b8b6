"""How many threads torch computes with on a CPU."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from i2icli.system.cores import Load, usable_cores

# By these a user has said how many threads there are.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_TIMED = 0.1  # seconds at least that a timing takes: many turns of the system's scheduler
_SECONDS = 2.5  # of trying, after which no further round begins
_ROUNDS = 6
# Fewer threads must be as much faster: others may leave, and the number stays.
_WORTH = 1.1


def threads_are_said() -> bool:
    """Say whether the user's environment says how many threads there are."""
    return any(os.environ.get(name) for name in _VARIABLES)


def limit_threads() -> None:
    """Let torch have no more threads than there are usable cores, unless a user said how many."""
    if not threads_are_said() and torch.get_num_threads() > (usable := usable_cores()):
        torch.set_num_threads(usable)


def threads_each(count: int) -> int:
    """Return the threads of each of several processes; `OMP_NUM_THREADS` says it, where set."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else max(1, usable_cores() // count)


@dataclass(frozen=True)
class ThreadsTrial:
    """How a trial of several numbers of threads beside other programs ended.

    Attributes:
        threads: the number to take.
        seconds: by number of threads, the mean time of the same work.
        others: cores' worth that other programs took.
    """

    threads: int
    seconds: dict[int, float]
    others: float

    def describe(self) -> str:
        """Return the outcome in a few words."""
        others = {n: each for n, each in self.seconds.items() if n != self.threads}
        least = self.seconds[self.threads]
        gains = ", ".join(f"{each / least:.2f}x as fast as {n}" for n, each in others.items())
        return f"{gains} in a trial beside {self.others:.1f} busy core(s)"


def try_threads(once: Callable[[], object], load: Load) -> ThreadsTrial:
    """Do some work on several numbers of threads in turn, from all that torch has down to half.

    torch's own number is afterwards what it was.

    Args:
        once: does the work.
        load: what others take now.
    """
    most = torch.get_num_threads()
    left = most - math.ceil(load.lacking(most) - 0.25)
    numbers = sorted({most, max(1, left), max(1, most // 2)}, reverse=True)
    try:
        times = _take_turns(once, numbers)
    finally:
        torch.set_num_threads(most)
    means = {number: statistics.fmean(each) for number, each in times.items()}
    best = min(numbers, key=lambda n: means[n] * (1.0 if n == most else _WORTH))
    return ThreadsTrial(best, means, load.others or 0.0)


def _take_turns(once: Callable[[], object], numbers: Iterable[int]) -> dict[int, list[float]]:
    order = list(numbers)
    for number in order:  # libraries choose their kernels at the first call
        torch.set_num_threads(number)
        once()
    times: dict[int, list[float]] = {number: [] for number in order}
    ended = time.perf_counter() + _SECONDS
    for _ in range(_ROUNDS):
        for number in order:
            torch.set_num_threads(number)
            times[number].append(_time(once))
        if time.perf_counter() > ended:
            break
        order.reverse()
    return times


def _time(once: Callable[[], object]) -> float:
    started = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - started < _TIMED:
        once()
        count += 1
    return (time.perf_counter() - started) / count
