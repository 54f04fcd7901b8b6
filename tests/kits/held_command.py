"""The command line, in a process that waits in the middle of its work.

Usage: python held_command.py NUMBER WORDS... runs `i2i WORDS`; the thread that is to write the
picture number NUMBER, counted from 1, says "writing" on standard output, and writes it when
standard input is closed.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from i2icli.cli.app import main
from i2icli.translation import folder

number, *words = sys.argv[1:]
write_picture, counter = folder.write_picture, itertools.count(1)


def held(*args: Any, **options: Any) -> None:
    if next(counter) == int(number):
        os.write(1, b"writing\n")
        os.read(0, 1)
    write_picture(*args, **options)


if __name__ == "__main__":
    # A shell that starts the tests in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder.write_picture = held
    sys.argv = ["i2i", *words]
    main()
