"""Standard streams that are closed, full or gone."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class _Stream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Results(_Stream):
    """Standard output, whose faults name it."""

    has_failed = False

    def write(self, text: str) -> int:
        """Write."""
        if text == "":
            return 0  # a full device refuses nothing, too
        with self._named():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush."""
        with self._named():
            self._stream.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            self.has_failed = True
            if fault.errno != errno.EPIPE:
                fault.filename = "standard output"
            raise

    def lead_nowhere(self) -> None:
        """Let what is still to be flushed go nowhere, since Python would say that it failed."""
        handle = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError, ValueError):
            os.dup2(handle, self._stream.fileno())
        os.close(handle)


class _Messages(_Stream):
    """Standard error: where messages cannot be written, the work goes on without."""

    def write(self, text: str) -> int:
        """Write, or not."""
        with suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or not."""
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def usable_streams() -> Iterator[None]:
    """Let closed streams lead nowhere, and messages that cannot be written stop nothing.

    Else the next file that is opened would be taken for a closed one.
    """
    _open_closed()
    stdout, stderr = sys.stdout, sys.stderr
    results = _Results(stdout)
    sys.stdout, sys.stderr = cast(TextIO, results), cast(TextIO, _Messages(stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        if results.has_failed:
            results.lead_nowhere()


def _open_closed() -> None:
    for handle, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(handle, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
