"""Watching a run's pace: steps that take twice as long as earlier in the run are said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from i2icli.config.sections import RuntimeConfig
from i2icli.config.words import human_time
from i2icli.runs.folder import RunFolder
from i2icli.system.cores import Load, LoadWatch

# Intervals of the log are put together until they are as long as this: single steps differ.
_STEPS, _SECONDS = 20, 10.0
_SLOW = 2.0  # times as long as the fastest stretch
_IN_A_ROW = 2  # slow stretches until it is said: a pause of the machine is over by then
_WAITING = 0.5  # of the time; above it waiting for pictures is the cause


@dataclass(frozen=True)
class Stretch:
    """Some steps in a row, with their seconds; drawing, measuring and saving are left out.

    Attributes:
        steps: in it.
        computing: seconds.
        waiting: seconds of waiting for pictures, beside those of computing.
    """

    steps: int = 0
    computing: float = 0.0
    waiting: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of a step."""
        return (self.computing + self.waiting) / max(1, self.steps)

    @property
    def is_long(self) -> bool:
        """Whether it is long enough to say something."""
        return self.steps >= _STEPS and self.computing + self.waiting >= _SECONDS

    def __add__(self, other: Stretch) -> Stretch:
        """Return both as one."""
        return Stretch(
            self.steps + other.steps,
            self.computing + other.computing,
            self.waiting + other.waiting,
        )


@dataclass(frozen=True)
class Slowdown:
    """Steps that take long.

    Attributes:
        now: the last ones.
        usual: seconds of a step in the fastest stretch of the run.
        load: of other programs meanwhile; None: not looked at.
    """

    now: Stretch
    usual: float
    load: Load | None

    def sentence(self, runtime: RuntimeConfig, folder: RunFolder, *, threads: int) -> str:
        """Return how slow, what it is for, and the setting to try.

        Args:
            runtime: the settings of the run.
            folder: of the run.
            threads: that it computes on.
        """
        times = self.now.seconds / self.usual
        return (
            f"a step takes {human_time(self.now.seconds)}, {times:.1f} times as long as earlier in "
            f"this run ({human_time(self.usual)}): {self._cause(runtime, folder, threads)}"
        )

    def _cause(self, runtime: RuntimeConfig, folder: RunFolder, threads: int) -> str:
        file = folder.config
        waiting = self.now.waiting / (self.now.computing + self.now.waiting)
        if waiting > _WAITING:
            return (
                f"{waiting:.0%} of that is waiting for pictures. Try more "
                f"`runtime.workers` in {file} (now {runtime.workers}), or `i2i data cache`"
            )
        if self.load is None or self.load.others is None:
            return (
                "pictures are not what it waits for, and what other programs take is not known. "
                f"`i2i doctor --preset {file}` measures a step by itself"
            )
        if self.load.is_quiet:
            return (
                "neither pictures nor other programs hold it up, but a slower machine than before "
                "may, one that saves power, or want of memory. "
                f"`i2i doctor --preset {file}` measures a step by itself"
            )
        said = f"other programs take {self.load.others:.1f} of {self.load.cpus} CPUs. End them"
        free = max(1, round(self.load.cpus - self.load.others))
        if free >= threads:
            return said
        setting = f"`runtime.threads` to {free} (now {threads}) in {file}"
        return f"{said}, or stop, set {setting}, and go on with `{folder.resume_command}`"


class PaceWatch:
    """Finds that steps take long, once; the fastest stretch of the run is what they are held to."""

    def __init__(
        self, lines: Iterable[Mapping[str, Any]] = (), watch: LoadWatch | None = None
    ) -> None:
        """Begin, or go on after `lines` of metrics.jsonl; `watch` looks at the load, if any."""
        self._watch = watch
        self._open = Stretch()
        self._usual: float | None = None
        self._slow = 0
        self._is_said = False
        last: Mapping[str, Any] | None = None
        for line in lines:
            if "images_per_s" not in line or line.get("partial"):
                continue
            # Nothing before the first: libraries choose their kernels then.
            if last is not None and line["seconds"] > last["seconds"]:
                self._recall(line["step"] - last["step"], line["seconds"] - last["seconds"])
            last = line
        self._open = Stretch()
        self._is_warm = False

    def look_at(self, stretch: Stretch) -> Slowdown | None:
        """Take in the steps since the last log line; return what is to be said of them."""
        self._open += stretch
        if not self._open.is_long:
            return None
        now, self._open = self._open, Stretch()
        load = self._watch.look() if self._watch else None
        if not self._is_warm:
            self._is_warm = True
            return None
        self._slow = self._slow + 1 if self._usual and now.seconds > _SLOW * self._usual else 0
        self._usual = min(self._usual or now.seconds, now.seconds)
        if self._slow < _IN_A_ROW or self._is_said:
            return None
        self._is_said = True
        return Slowdown(now, self._usual, load)

    def _recall(self, steps: int, seconds: float) -> None:
        self._open += Stretch(steps, seconds)
        if self._open.is_long:
            self._usual = min(self._usual or self._open.seconds, self._open.seconds)
            self._open = Stretch()
