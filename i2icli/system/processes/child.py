"""A process that is started from here, talks with this one, and is gone when this one is.

What is said goes over the standard input and output of the one that was started, a pickled object
each way. Its input ends with the process that started it, even with one that is killed, on every
system; it then ends at once, whatever it is doing.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import IO, Any

_LENGTH = struct.Struct(">Q")
_STOP = b""  # a message of no bytes
_GRACE = 10.0  # seconds to finish what is being written


class Child:
    """The other process, seen from the one that starts it.

    Args:
        words: arguments of Python; what runs there makes itself a `Parent`.
        environment: variables besides those of this process.
        stderr: a file for its errors; None: those of this process.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stderr: IO[Any] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # Ctrl-C of a terminal reaches this process alone, which then stops the other.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Say something.

        Raises:
            OSError: it has ended.
        """
        assert self._process.stdin is not None, "its input is a pipe"
        _write(self._process.stdin, pickle.dumps(message))

    def receive(self) -> Any:
        """Return the next thing that it says.

        Raises:
            EOFError: it has ended.
        """
        assert self._process.stdout is not None, "its output is a pipe"
        return pickle.loads(_read(self._process.stdout))

    def stop(self) -> None:
        """Ask it to stop what it does, and to end; do not wait."""
        assert self._process.stdin is not None, "its input is a pipe"
        with contextlib.suppress(OSError, ValueError):
            _write(self._process.stdin, _STOP)

    def end(self, listener: threading.Thread | None = None) -> int:
        """Stop it, kill it where it goes on for long, and return its exit code once it is gone.

        Args:
            listener: the thread that receives what it says until it ends; None: none does.
        """
        self.stop()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        if listener is not None:
            listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent any more
                    pipe.close()
        return code


class Parent:
    """The process that started this one, seen from here; there is one.

    From here on, what code prints goes to the standard error, and Ctrl-C is the parent's to heed.
    """

    def __init__(self) -> None:
        self._replies = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what code prints must not spoil the answers
        self._requests: SimpleQueue[bytes] = SimpleQueue()
        self._is_stopping = self._is_busy = False
        signal.signal(signal.SIGINT, self._interrupt)
        threading.Thread(target=self._listen, daemon=True).start()

    def receive(self) -> Any:
        """Return the next thing that is asked for.

        Raises:
            EOFError: this process shall end.
        """
        self._is_busy = False
        content = self._requests.get()
        self._is_busy = True
        if content == _STOP:
            raise EOFError
        return pickle.loads(content)

    def send(self, message: object) -> None:
        """Answer."""
        _write(self._replies, pickle.dumps(message))

    def _listen(self) -> None:
        stream = os.fdopen(os.dup(0), "rb")
        try:
            while True:
                content = _read(stream)
                self._requests.put(content)
                if content == _STOP and self._is_busy:
                    self._is_stopping = True
                    _thread.interrupt_main()
        except EOFError:
            os._exit(1)

    def _interrupt(self, *_: object) -> None:
        if self._is_stopping:
            raise KeyboardInterrupt


def end_with_parent() -> None:
    """End this process when the one that started it is gone, where the system lets go of it."""
    threading.Thread(target=_end_without, args=(os.getppid(),), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    head = stream.read(_LENGTH.size)
    content = stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if len(head) < _LENGTH.size or len(content) < _LENGTH.unpack(head)[0]:
        raise EOFError
    return content
