"""Work for the tests of the queue: squares, and what goes wrong on the way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import DataError
from i2icli.system.processes.work_queue import Emit


@dataclass(frozen=True)
class Squares:
    """Squares numbers; what they meet in `folder` decides what else happens.

    Attributes:
        folder: gets a file for each time that a number is begun.
        deadly: the number that kills its process, `kills` times.
        kills: how often.
        wrong: the number that is refused.
        waits: whether a piece waits for a file "go".
    """

    folder: Path
    deadly: int = -1
    kills: int = 0
    wrong: int = -1
    waits: bool = False

    def setup(self) -> Callable[[int, Emit], int]:
        (self.folder / f"setup-{os.getpid()}").touch()
        return self._square

    def describe(self, piece: int) -> str:
        return f"number {piece}"

    def _square(self, number: int, emit: Emit) -> int:
        emit(number)
        tries = len(list(self.folder.glob(f"{number}-*")))
        (self.folder / f"{number}-{tries}-{os.getpid()}").touch()
        while self.waits and not (self.folder / "go").exists():
            time.sleep(0.01)
        if number == self.deadly and tries < self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.wrong:
            raise DataError(f"{number} is wrong")
        print("on stderr, not among the answers")
        return number * number
