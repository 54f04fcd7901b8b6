"""Train every configuration of a folder twice: once through, and once killed again and again.

Usage: python train_until_killed.py FOLDER KILLS SEED. FOLDER/<name>.toml are configurations; the
runs are FOLDER/<name>-through and FOLDER/<name>-killed. Prints the steps at which each was killed.
The kills come at points of the work that SEED draws: after a step, before a file is touched, or
in the middle of a write.
"""

import contextlib
import json
import multiprocessing
import os
import random
import sys
import tomllib
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dying import SIGNALS, die, die_at_byte, die_at_file_event
from narrow import narrow_resnet18
from tiny import stand_in
from torchvision import models

from i2icli.methods import restore_config
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.training import session
from i2icli.training.reporter import Progress, Silent
from i2icli.training.run import resume_run, start_run

# Every process is a fork of this one, so small networks stand in for pretrained ones in all.
session.load_networks = lambda names, device: {name: stand_in(name).to(device) for name in names}
models.resnet18 = narrow_resnet18


class Ticker(Silent):
    """Writes a byte after every step, for the parent to count, and acts after one of them."""

    def __init__(self, pipe: int, after: int, act: Callable[[], object]) -> None:
        self._pipe = pipe
        self._left = after
        self._act = act

    def stepped(self, progress: Progress) -> None:
        os.write(self._pipe, b".")
        self._left -= 1
        if self._left == 0:
            self._act()


def fork(
    work: Callable[[Ticker], object], after: int = 0, act: Callable[[], object] = die
) -> tuple[int, int]:
    """Do `work` in a process of its own, which acts after its step number `after`; 0: never.

    Returns:
        How it ended, and the steps that it did.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(Ticker(writing, after, act))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    code = os.waitpid(child, 0)[1]
    # Its loader processes hold the pipe as well, until they notice: read what is there, no more.
    os.set_blocking(reading, False)
    done = 0
    with contextlib.suppress(BlockingIOError):
        done = len(os.read(reading, 100))
    os.close(reading)
    return code, done


def run_through(work: Callable[[Ticker], object]) -> None:
    assert fork(work)[0] == 0, "a run that nobody killed failed"


def a_death(chance: random.Random) -> Callable[[], object]:
    """Return what kills at once, before one of the next files is touched, or within a write."""
    ways = (die, partial(die_at_file_event, chance.randint(1, 3)), partial(die_at_byte, 20_000))
    return chance.choice(ways)


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
        code, done = fork(work, after, a_death(chance))
        assert os.WIFSIGNALED(code), "a run ended before its kill"
        assert os.WTERMSIG(code) in SIGNALS
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
    # Elsewhere than on Linux, and from Python 3.14 on, each run would first wait for a server that
    # imports everything anew.
    multiprocessing.set_start_method("fork")
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
