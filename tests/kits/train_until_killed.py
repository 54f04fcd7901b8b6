"""Train every configuration of a folder twice: once through, and once killed again and again.

Usage: python train_until_killed.py FOLDER KILLS SEED. FOLDER/<name>.toml are configurations; the
runs are FOLDER/<name>-through and FOLDER/<name>-killed. Prints the steps at which each was killed.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path

from tiny import TinyVGG

from i2icli.methods import restore_config
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.training import session
from i2icli.training.reporter import Progress, Silent
from i2icli.training.run import resume_run, start_run

# Every process is a fork of this one, so small networks stand in for pretrained ones in all.
session.load_networks = lambda names, device: {name: TinyVGG().to(device) for name in names}


class Ticker(Silent):
    """Writes a byte after every step, for the parent to count."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def stepped(self, progress: Progress) -> None:
        os.write(self._pipe, b".")


def fork(work: Callable[[Ticker], object]) -> tuple[int, int]:
    """Do `work` in a process of its own; return it, and the pipe on which its steps tick."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(Ticker(writing))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    return child, reading


def run_through(work: Callable[[Ticker], object]) -> None:
    child, ticks = fork(work)
    while os.read(ticks, 100):
        pass
    os.close(ticks)
    assert os.waitpid(child, 0)[1] == 0, "a run that nobody killed failed"


def run_and_kill(work: Callable[[Ticker], object], *, after: int, delay: float) -> int:
    """Kill the process some moments after its step number `after`; return the steps it did."""
    child, ticks = fork(work)
    done = 0
    while done < after:
        tick = os.read(ticks, 1)
        assert tick, "a run ended before its kill"
        done += 1
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # Its loader processes hold the pipe as well, until they notice: read what is there, no more.
    os.set_blocking(ticks, False)
    with contextlib.suppress(BlockingIOError):
        done += len(os.read(ticks, 100))
    os.close(ticks)
    return done


def train_killed(
    config: AnyRunConfig, folder: RunFolder, *, kills: int, chance: random.Random
) -> list[int]:
    """Start, kill and resume until the run is done; return the step at each kill."""
    last = config.train.steps
    assert last is not None
    killed: list[int] = []
    work: Callable[[Ticker], object] = lambda t: start_run(  # noqa: E731
        config, run_dir=folder.path, reporter=t
    )
    for _ in range(kills):
        start = load_checkpoint(folder.last).step if folder.last.exists() else 0
        if start >= last - 1:
            break
        after = chance.randint(1, max(1, (last - 1 - start) // 2))
        done = run_and_kill(work, after=after, delay=chance.uniform(0, 0.02))
        killed.append(start + done)
        work = lambda t: resume_run(folder.path, reporter=t)  # noqa: E731
    run_through(work)
    return killed


def main(root: Path, kills: int, seed: int) -> None:
    chance, report = random.Random(seed), {}
    for path in sorted(root.glob("*.toml")):
        config = restore_config(tomllib.loads(path.read_text()))
        through = root / f"{path.stem}-through"
        run_through(lambda t, c=config, f=through: start_run(c, run_dir=f, reporter=t))
        folder = RunFolder(root / f"{path.stem}-killed")
        report[path.stem] = train_killed(config, folder, kills=kills, chance=chance)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
