"""How long the processes of `--nproc` outlive the one that started them, when that is killed.

    python benchmarks/orphans.py [--processes N] [--rounds N]

Kills a process with SIGKILL while each of its workers is in the middle of a piece, and prints the
seconds until the last of them is gone: of each round, and the most. For Linux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from i2icli.system.processes.work_queue import Emit, Pool


@dataclass(frozen=True)
class Waiting:
    """Leaves a file with the number of its process, and then computes without an end."""

    folder: Path

    def setup(self) -> Callable[[int, Emit], None]:
        """Return what computes."""
        return self._wait

    def describe(self, piece: int) -> str:
        """Return the number."""
        return str(piece)

    def _wait(self, piece: int, _emit: Emit) -> None:
        (self.folder / f"{os.getpid()}").touch()
        while True:
            piece += 1


def is_alive(pid: str) -> bool:
    """Say whether a process runs; one that has ended may wait for its entry to be removed."""
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def outlived(count: int) -> float:
    """Return the seconds from the kill until the last worker is gone."""
    with TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--folder", folder, "--processes", str(count)]
        parent = subprocess.Popen(words)
        while len(os.listdir(folder)) < count:
            time.sleep(0.01)
        workers = os.listdir(folder)
        killed = time.perf_counter()
        parent.kill()
        parent.wait()
        while any(is_alive(pid) for pid in workers):
            time.sleep(0.002)
        return time.perf_counter() - killed


def main() -> None:
    """Measure, or be the process that is killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is not None:
        from orphans import Waiting as Importable  # workers find it there, not in __main__

        with Pool(given.processes) as pool:
            list(pool.run(Importable(given.folder), range(given.processes)))
        return
    rounds = [outlived(given.processes) for _ in range(given.rounds)]
    texts = " ".join(f"{seconds:.3f}" for seconds in rounds)
    sys.stdout.write(f"seconds: {texts}; most {max(rounds):.3f}\n")


if __name__ == "__main__":
    main()
