"""The cores that this process may use, and how much of them other programs use."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from i2icli.system.control_groups import control_groups, lines_of

_ROOT = Path("/")
# By these the system's threads are bound to one CPU each, the one that asks too.
_BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
_SPARE = 0.25  # of a core that others may take before threads wait for each other noticeably


def usable_cores(root: Path = _ROOT) -> int:
    """Return the number of cores that this process may keep busy, at least 1.

    Those that it may run on, CPUs that share a core counted once, or the quotas of its control
    groups and of those above them, of version 1 or 2, where these allow less; a part of a core
    counts as one.

    Args:
        root: where /proc and /sys are.
    """
    return _allowed(_count_cores(root), root)


def usable_cpus(root: Path = _ROOT) -> int:
    """Return the same with CPUs that share a core counted each."""
    return _allowed(_allowed_cpus(), root)


def quota_of_cores(root: Path = _ROOT) -> float | None:
    """Return the least quota of a control group, in cores; None without any."""
    return min(_quotas(root), default=None)


def _allowed(present: int, root: Path) -> int:
    counts = [float(present), *_quotas(root)]
    # By PYTHON_CPU_COUNT or -X cpu_count a user may have said fewer.
    if (counted := getattr(os, "process_cpu_count", None)) and not _is_bound():
        counts.append(counted() or math.inf)
    return max(1, math.ceil(min(counts)))


@dataclass(frozen=True)
class Load:
    """What other programs take of the CPUs that this process may run on.

    Attributes:
        others: cores' worth that they used over the time looked at; None: the system does not say.
        usable: cores that this process may keep busy.
        cpus: CPUs that it may run on; more than `usable` under a quota, or where they share cores.
    """

    others: float | None
    usable: int
    cpus: int

    @property
    def is_quiet(self) -> bool:
        """Whether enough is left for a thread on each usable core, or nothing is known."""
        return self.lacking(self.usable) < _SPARE

    def lacking(self, threads: int) -> float:
        """Return the cores' worth that others leave too little for so many threads."""
        return max(0.0, threads - (self.cpus - (self.others or 0.0)))


class LoadWatch:
    """Looks at the load time and again, each time over what passed since the last look."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._usable = usable_cores(root)
        self._before = self._now()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Leave out what passes inside."""
        left = self._now()
        yield
        seconds, own, busy = (now - then for now, then in zip(self._now(), left, strict=True))
        before = self._before
        self._before = before[0] + seconds, before[1] + own, before[2] + busy

    def look(self) -> Load:
        """Return the load since the last look, or since this object was made."""
        before, self._before = self._before, self._now()
        seconds, own, busy = (now - then for now, then in zip(self._before, before, strict=True))
        cpus = _allowed_cpus()
        others: float | None = None
        if seconds > 0:
            # Where there is no table of CPUs: the average of a minute, with this process in it.
            others = busy / seconds if not math.isnan(busy) else _average_load()
        if others is not None:
            others = min(float(cpus), max(0.0, others - own / seconds))
        return Load(others, self._usable, cpus)

    def _now(self) -> tuple[float, float, float]:
        """Return the time, and the CPU time used by this process and by all, in seconds.

        Processes that this one started, such as those that load pictures, count as this one.
        """
        own = time.process_time() + _seconds_of_children(self._root)
        return time.perf_counter(), own, _busy_seconds(self._root)


def look_at_load(seconds: float = 0.25, root: Path = _ROOT) -> Load:
    """Return the load of the next `seconds`, during which the calling thread sleeps."""
    watch = LoadWatch(root)
    time.sleep(seconds)
    return watch.look()


def _allowed_cpus() -> int:
    return len(cpus) if (cpus := _affinity()) else os.cpu_count() or 1  # noqa: TID251


def _count_cores(root: Path) -> int:
    cores = set()
    for cpu in _affinity():
        file = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        cores.add("".join(lines_of(file)) or str(cpu))
    return len(cores) or os.cpu_count() or 1  # noqa: TID251


def _is_bound() -> bool:
    return any(name in os.environ for name in _BINDING)


def _affinity() -> set[int]:
    """Return the CPUs that this process may run on; none where the system does not say."""
    if _is_bound() or not hasattr(os, "sched_getaffinity"):
        return set()
    with contextlib.suppress(OSError):
        return set(os.sched_getaffinity(0))
    return set()


def _busy_seconds(root: Path) -> float:
    """Return the CPU time used so far on the CPUs of this process; nan where it is not said."""
    try:
        text = (root / "proc/stat").read_text(encoding="ascii", errors="replace")
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):  # no /proc; Windows
        return math.nan
    busy = {}
    for line in text.splitlines():
        name, *counts = line.split() or [""]
        if name.startswith("cpu") and name[3:].isdecimal() and len(counts) >= 8:
            user, nice, system, _idle, _waiting, irq, soft_irq, stolen = map(int, counts[:8])
            busy[int(name[3:])] = user + nice + system + irq + soft_irq + stolen
    cpus = _affinity() or set(busy)
    # A table that a container made up counts its CPUs anew.
    return sum(busy[cpu] for cpu in cpus) / ticks if busy and cpus <= busy.keys() else math.nan


def _seconds_of_children(root: Path) -> float:
    lists = (root / "proc/self/task").glob("*/children")
    children = " ".join(line for file in lists for line in lines_of(file)).split()
    stats = (line for child in children for line in lines_of(root / f"proc/{child}/stat"))
    # The 14th and 15th field in all; the name, which may hold anything, ends in a bracket.
    fields = [line.rpartition(")")[2].split()[11:13] for line in stats]
    running = sum(int(ticks) for pair in fields for ticks in pair)
    # One that has ended and been waited for is in no list, but in these sums.
    sums = os.times()
    ended = sums.children_user + sums.children_system
    return ended + (running / os.sysconf("SC_CLK_TCK") if running else 0.0)


def _average_load() -> float | None:
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def _quotas(root: Path) -> Iterator[float]:
    """Yield the cores that each control group of this process allows, where it sets a limit."""
    for folder in control_groups("cpu", root):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if (folder / "cpu.max").is_file():
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
                period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
            # Without a limit it is "max", or -1 in version 1.
            if (cores := int(quota) / int(period)) > 0:
                yield cores
