"""Ends the process that asks for it at a chosen point of its work, in the midst of it.

A kill from outside hits some moment, and which one the machine's speed decides; these points are
the same ones everywhere.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

# How such a process may end.
SIGNALS = (signal.SIGKILL, signal.SIGXFSZ)


def die() -> None:
    """End this process as a kill from outside would."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_file_event(number: int) -> None:
    """Die before the file is opened, renamed or removed that is number `number` from now on."""
    left = number

    def count(event: str, _: object) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove"):
            left -= 1
            if left == 0:
                die()

    sys.addaudithook(count)


def die_at_byte(size: int) -> None:
    """Die in the write that would make some file larger than `size` bytes, those bytes written."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
