"""Take the same steps quiet and beside spinning programs, by several settings and i2i's choice.

python benchmarks/neighbours.py                           prints a table; --record adds it
python benchmarks/neighbours.py --neighbours 0 1 --only own "one thread" --steps 20
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import record
import torch

from i2icli.bench.rig import Variant, build_rig, resize, write_training_set
from i2icli.config.document import config_document
from i2icli.config.schedule import Moment
from i2icli.data.loader import build_loader, choose_workers
from i2icli.methods import configure_run, method_of
from i2icli.system.allocator import claim_process
from i2icli.system.cores import LoadWatch, look_at_load, usable_cores
from i2icli.system.processes.child import Child, Parent
from i2icli.system.waiting import wait_briefly
from i2icli.training.session import versions

HEADING = "## Beside other programs"
COLUMNS = (
    "| date | machine | i2i, torch | command | neighbours | setting | threads, workers | "
    "s a step: min, median (quartiles), n | of the best quiet rate | of a fair share | "
    "cores that still others took |"
)
# Enough for the difference between waits to show, and short enough to be repeated.
SMALL = ("method.generator.width=32", "method.generator.blocks=6", "method.discriminator.width=32")
ALIKE = ("runtime.channels_last=on", "runtime.reuse_memory=on", "runtime.device=cpu")
SETTLING = 5.0  # seconds of steps that do not count: the way of waiting is chosen meanwhile
DISTURBED = 0.15  # of a core that still other programs take
TRIES = 3
MOST = 25.0  # seconds of steps that count, where these take long
LATER = "own, begun quiet"
# Until the process that started it is gone.
SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@dataclass(frozen=True)
class Setting:
    """A way to compute that a user could ask for.

    Attributes:
        sets: over the configuration.
        variables: of the environment.
        is_ours: a process of i2i's commands, which chooses the way of waiting itself.
        is_brief: threads wait briefly all the time.
    """

    sets: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    is_ours: bool = False
    is_brief: bool = False


def settings(cores: int) -> dict[str, Setting]:
    """Return what is compared, by name, on a machine of so many usable cores."""
    every = (f"runtime.threads={cores}",)
    return {
        "own": Setting(is_ours=True),
        "own, no worker": Setting(("runtime.workers=0",), is_ours=True),
        "own, 2 workers": Setting(("runtime.workers=2",), is_ours=True),
        "all threads, busily": Setting(every),
        "all threads, briefly": Setting(every, is_brief=True),
        "all threads, passive": Setting(every, {"OMP_WAIT_POLICY": "PASSIVE"}),
        "one thread": Setting(("runtime.threads=1",)),
    }


@dataclass(frozen=True)
class Work:
    """The steps that all take: a preset, settings over it, size, and a folder for pictures."""

    preset: str
    sets: tuple[str, ...]
    folder: str
    size: int


@dataclass(frozen=True)
class Measured:
    """Steps of one setting beside so many neighbours, in seconds."""

    neighbours: int
    setting: str
    threads: int
    workers: int
    seconds: list[float]
    others: float  # cores' worth that programs took besides these

    @property
    def median(self) -> float:
        """The usual time."""
        return statistics.median(self.seconds)

    def cells(self, best: float, fair: float) -> list[str]:
        """Return the last cells of a row; `best` is the least quiet median, `fair` the share."""
        quartiles = statistics.quantiles(self.seconds, n=4, method="inclusive")
        spread = record.pair((quartiles[0], quartiles[2]))
        return [
            str(self.neighbours),
            self.setting,
            f"{self.threads}, {self.workers}",
            f"{min(self.seconds):.3g}, {self.median:.3g} ({spread}), {len(self.seconds)}",
            f"{best / self.median:.0%}",
            f"{best / self.median / fair:.0%}",
            f"{self.others:.1f}",
        ]


def main() -> None:
    """Measure setting after setting beside each number of neighbours; say each as it is there."""
    asked = parse()
    cores = usable_cores()
    known = settings(cores)
    if unknown := sorted({*(asked.only or ())} - known.keys()):
        raise SystemExit(f"no setting is called {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = {name: known[name] for name in asked.only or known}
    found: list[Measured] = []
    with TemporaryDirectory(prefix="i2i-neighbours-") as folder, processes() as begun_quiet:
        work = Work(asked.preset, sets_of(asked), folder, asked.size)
        for number in asked.neighbours:
            with spinning(number), processes() as running:
                for name, setting in wanted.items():
                    wait_for_quiet(asked.patience)
                    running[name] = Process(setting, work)
                turns = {**running, **begun_quiet} if number else running
                for each in take_turns(number, turns, asked):
                    say(f"{each.neighbours} neighbours, {each.setting}: {each.median:.3g} s")
                    found.append(each)
                if not number and "own" in running:
                    begun_quiet[LATER] = running.pop("own")
    quiet = [each.median for each in found if not each.neighbours]
    best = min(quiet or [each.median for each in found])
    for each in found:
        cells = each.cells(best, fair=cores / (cores + each.neighbours))
        say(" | ".join(cells))
        if asked.record:
            record.add_row(asked.out, HEADING, COLUMNS, [*head(cores), *cells])


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cut")
    parser.add_argument("--size", type=int, default=128, help="side of a crop")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all")
    parser.add_argument("--whole", action="store_true", help="the preset's own networks")
    parser.add_argument("--neighbours", type=int, nargs="*", default=[0, 1, 2], metavar="N")
    parser.add_argument("--only", nargs="*", metavar="SETTING", help="none: all")
    parser.add_argument("--steps", type=int, default=12, help="that count, of each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--settling", type=float, default=SETTLING, help="seconds before those")
    parser.add_argument(
        "--patience", type=float, default=30.0, help="seconds to wait for still others to end"
    )
    parser.add_argument("--record", action="store_true", help="add rows to the table")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the file of the table")
    return parser.parse_args()


def sets_of(asked: argparse.Namespace) -> tuple[str, ...]:
    """Return the settings that all processes have in common."""
    sets = (*(() if asked.whole else SMALL), *ALIKE, f"runtime.precision={asked.precision}")
    configure_run(asked.preset, (*sets, *asked.set))  # refused here, not in each process
    return (*sets, *asked.set)


def head(cores: int) -> list[str]:
    """Return the first cells of a row."""
    known = versions()
    words = shlex.join(["neighbours.py", *(w for w in sys.argv[1:] if w != "--record")])
    return [
        time.strftime("%Y-%m-%d"),
        f"{record.processor()}, {cores} cores",
        f"{known['i2i']}, {known['torch']}",
        f"`{words}`",
    ]


def say(text: str) -> None:
    """Write a line to the standard error."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Let so many programs take all they can get meanwhile."""
    programs = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        time.sleep(1.0 if count else 0.0)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def take_turns(
    number: int, turns: Mapping[str, Process], asked: argparse.Namespace
) -> Iterator[Measured]:
    """Yield what the steps of each process came to; one works at a time, in some rounds."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    others: dict[str, list[float]] = {name: [] for name in turns}
    order = list(turns)
    for _ in range(asked.rounds):
        for name in order:
            seconds, share = undisturbed(turns[name], asked)
            times[name] += seconds
            others[name].append(share)
        order.reverse()
    for name, process in turns.items():
        mean = statistics.fmean(others[name])
        yield Measured(number, name, process.threads, process.workers, times[name], mean)


def undisturbed(process: Process, asked: argparse.Namespace) -> tuple[list[float], float]:
    """Return seconds of steps, tried again where still others disturbed them, and their share."""
    tried: list[tuple[list[float], float]] = []
    while len(tried) < TRIES and (not tried or tried[-1][1] > DISTURBED):
        wait_for_quiet(asked.patience)
        watch = LoadWatch()  # in which all that this script started counts as its own
        seconds = process.steps(asked.settling, asked.steps)
        tried.append((seconds, watch.look().others or 0.0))
    return min(tried, key=lambda each: each[1])


def wait_for_quiet(patience: float) -> None:
    """Wait until other programs than those that this script started take next to nothing."""
    until = time.monotonic() + patience
    while (look_at_load(1.0).others or 0.0) > DISTURBED and time.monotonic() < until:
        pass


class Process:
    """A process that takes steps when it is told to.

    Attributes:
        threads: that it chose to compute on.
        workers: processes of its own that load pictures.
    """

    def __init__(self, setting: Setting, work: Work) -> None:
        # Neighbours must be other programs to it, so it is a process beside them.
        self._child = Child([__file__, "--process"], environment=setting.variables)
        self._child.send((astuple(setting), astuple(work)))
        self.threads, self.workers = self._child.receive()

    def steps(self, settling: float, count: int) -> list[float]:
        """Take steps, and after some seconds so many that count; return the seconds of these."""
        self._child.send((settling, count))
        seconds: list[float] = self._child.receive()
        return seconds

    def end(self) -> None:
        """End it."""
        self._child.end()


@contextmanager
def processes() -> Iterator[dict[str, Process]]:
    """Yield a table for processes, which are ended in the end."""
    running: dict[str, Process] = {}
    try:
        yield running
    finally:
        for process in running.values():
            process.end()


def serve() -> None:
    """Take steps for the process that started this one; batches are loaded as a run does."""
    parent = Parent()
    setting, work = (
        kind(*values) for kind, values in zip((Setting, Work), parent.receive(), strict=True)
    )
    if setting.is_ours:
        claim_process()
    if setting.is_brief:
        wait_briefly()
    config = resize(configure_run(work.preset, (*work.sets, *setting.sets)), work.size, None)
    document = write_training_set(
        Path(work.folder), config_document(config), method_of(config).data
    )
    rig = build_rig(Variant(work.preset, document))
    asked = rig.config.runtime.workers
    workers = choose_workers(asked, rig.device)
    take_step, number = rig.build_step(), 0
    with build_loader(
        rig.data.dataset,
        rig.config.data,
        seed=0,
        start_step=0,
        is_decaying=lambda _: False,
        workers=workers,
        may_add=asked == "auto",
        pin=False,
    ) as batches:
        parent.send((torch.get_num_threads(), workers))
        while True:
            try:
                settling, count = parent.receive()
            except EOFError:
                return
            began, times = time.perf_counter(), []
            while len(times) < count:
                started = time.perf_counter()
                if len(times) > 1 and started - began > settling + MOST:
                    break
                number += 1
                take_step(next(batches), Moment(number, rig.data.steps_per_epoch))
                if started - began >= settling:
                    times.append(time.perf_counter() - started)
            parent.send(times)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--process"] else main()
