"""A run of quality.py: through `i2i train` and `i2i resume`, stopped at marks of its own clock."""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.system.cores import LoadWatch, look_at_load
from i2icli.system.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
PAUSE = 0.5  # seconds between two looks at a run
GRACE = 600.0  # seconds for a run to save and end
# Exit codes of a run that came to its end; that a signal stopped, everything saved; that a signal
# hit when all was done.
ENDS = (0, 75, -signal.SIGTERM)
SPARE = 0.25  # of a core that others may take before it is said
# What a run says when all is prepared and steps begin.
BEGINS = re.compile(rb"^run folder |: going on from step ", re.MULTILINE)


class Course:
    """A run on its way through the marks, by its own clock, which its checkpoints hold."""

    def __init__(self, asked: argparse.Namespace, data: Path, folder: Path) -> None:
        self.asked, self.data, self.folder = asked, data, folder
        self.run, self._end = RunFolder(folder / "run"), folder / "end.json"
        self.others: float | None = None  # cores that other programs took while it trained
        self.is_over = False  # the run came to its own end
        # Marks are whole numbers of this, minutes, so that one setting keeps a checkpoint of each.
        self._unit = math.gcd(*(round(100 * mark) for mark in asked.marks)) / 100
        self._kept = 0
        if asked.step_seconds:
            self._kept = max(1, round(60 * self._unit / asked.step_seconds))
        facts = {"preset": asked.preset, "set": asked.set, "seed": asked.seed}
        facts |= {"step_seconds": asked.step_seconds, "kept": self._kept}
        keep_facts(folder / "run.json", facts, remedy="give another --name")

    def advance(self, mark: float) -> Path:
        """Train up to a mark, or to the run's own end before it; return the checkpoint.

        Raises:
            SystemExit: the run failed, or is past a step of which no checkpoint was kept.
        """
        step = self._step_at(mark)
        wanted = self.run.numbered(step) if self._kept else self.run.last
        # The last mark is the end of its budget, and schedules may count on reaching that.
        is_last = mark == self.asked.marks[-1]
        while not self.is_over:
            last = load_checkpoint(self.run.last) if self.run.last.is_file() else None
            if self._kept and wanted.is_file():
                break
            if self._kept and last is not None and last.step >= step:
                raise SystemExit(f"{self.run.path} is past step {step}, the mark {mark:g}")
            left = 60 * mark - (last.seconds if last is not None else 0.0)
            if not self._kept and not is_last and left <= 0:
                break
            is_there = wanted.is_file if self._kept and not is_last else None
            self._train(is_there, math.inf if self._kept or is_last else left)
        return wanted if wanted.is_file() else self.run.last

    def clean(self, step: int) -> None:
        """Remove checkpoints up to a step that were kept for marks alone."""
        if self._kept:
            for path in self.run.checkpoints.glob("step-*.pt"):
                if path <= self.run.numbered(step):
                    path.unlink()

    def _step_at(self, mark: float) -> int:
        return round(mark / self._unit) * self._kept

    def _words(self) -> list[str]:
        asked, end = self.asked, self.asked.marks[-1]
        stop = ["--steps", str(self._step_at(end))] if self._kept else ["--budget", f"{end:g}m"]
        if self.run.config.is_file():
            # A schedule in shares has made steps of its budget, and would count them anew.
            is_same = self._end.is_file() and read(self._end) == {"minutes": end}
            return ["resume", str(self.run.path), *([] if is_same else stop)]
        words = ["train", "--preset", asked.preset, "--data", str(self.data)]
        words += ["--run-dir", str(self.run.path), "--seed", str(asked.seed), *stop]
        settings = [f"runtime.threads={asked.threads}", f"data.direction={asked.direction}"]
        settings += [*asked.set, f"checkpoint.keep_every_steps={self._kept}"]
        return words + [word for text in settings for word in ("--set", text)]

    def _train(self, is_there: Callable[[], bool] | None, seconds: float) -> None:
        """Run until a file is there, or for so long, or to the run's own end; then it is saved."""
        words, log = self._words(), self.folder / "train.log"
        self._say_load()
        say([*words, ">>", str(log)])
        length = log.stat().st_size if log.is_file() else 0
        since, watch = math.inf, LoadWatch()
        with log.open("ab") as file:
            # In a session of its own: a Ctrl-C here reaches it once, by way of `finally`.
            child = subprocess.Popen(
                command(words),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )
            try:
                while child.poll() is None:
                    if since == math.inf and BEGINS.search(log.read_bytes()[length:]):
                        since = time.monotonic()
                        write(self._end, {"minutes": self.asked.marks[-1]})
                    elif time.monotonic() - since >= seconds or (is_there and is_there()):
                        break
                    time.sleep(PAUSE)
            finally:
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)
                    child.wait(GRACE)
        self.others = watch.look().others
        if child.returncode not in ENDS:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise SystemExit("\n".join(["the run failed:", *last]))
        self.is_over = child.returncode == 0

    def _say_load(self) -> None:
        load = look_at_load(1.0)
        if load.lacking(self.asked.threads) > SPARE and not self._kept:
            sys.stderr.write(
                f"other programs take {load.others:.1f} of {load.cpus} CPUs, so minutes say little "
                "of a quiet machine: wait, or begin with `--step-seconds X`, the time of a step on "
                "a quiet machine (`i2i bench`), and marks are counted in steps\n"
            )


def end_with_parent() -> None:
    """Have this process asked to end when its parent is killed (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def seconds_a_step(run: RunFolder, since: int, step: int) -> float | None:
    """Return the median over the log's intervals between two steps; None where there is none."""
    batch = run.read_config()["data"].get("batch_size", 1)
    lines = [line for line in run.read_metrics() if since < line["step"] <= step]
    times = [batch / line["images_per_s"] for line in lines if line.get("images_per_s")]
    return statistics.median(times) if times else None


def alarms_up(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the alarms that a run has raised and not cleared, by name."""
    up: dict[str, None] = {}
    for line in lines:
        if "alarm" in line:
            up[line["alarm"]] = None
        up.pop(line.get("cleared", ""), None)
    return list(up)


def keep_facts(path: Path, facts: Mapping[str, Any], *, remedy: str) -> None:
    """Write what holds for a folder, or refuse to go on with one where other things hold."""
    if not path.is_file():
        write(path, facts)
    elif (then := read(path)) != facts:
        other = [
            f"{key} {then.get(key)}, not {facts[key]}"
            for key in facts
            if then.get(key) != facts[key]
        ]
        raise SystemExit(f"{path.parent} was begun with {'; '.join(other)}: {remedy}.")


def ask(words: Sequence[str]) -> dict[str, Any]:
    """Run a command of `i2i` and return the JSON that it prints."""
    say(words)
    ended = subprocess.run(
        command(words), env=environment(), stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode != 0:
        raise SystemExit(f"that failed with {ended.returncode}; started again, this goes on here")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def command(words: Sequence[str]) -> list[str]:
    """Return the command for this Python."""
    return [sys.executable, "-m", "i2icli", *words]


def environment() -> dict[str, str]:
    """Return one that finds this very copy of the package, whichever is installed."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": paths}


def say(words: Sequence[str]) -> None:
    """Tell the person who waits what runs."""
    sys.stderr.write(f"i2i {' '.join(words)}\n")


def read(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document, indent=2))
