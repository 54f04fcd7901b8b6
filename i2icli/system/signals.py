"""Ctrl-C and the scheduler's SIGTERM: finish the step, save, then stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger(__package__)


@dataclass
class StopRequest:
    """Whether a signal has asked the run to stop, and which one."""

    by: str | None = None

    def __bool__(self) -> bool:
        return self.by is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the loop reads between two steps.

    Further signals change nothing, so none of them can cut a save short; the third Ctrl-C
    gives up at once. Outside the main thread, signals keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    owner, presses = os.getpid(), 0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal presses
        if os.getpid() != owner:
            return  # a forked loader worker: its parent tells it when to end
        presses += number == signal.SIGINT
        if presses > 2:
            raise KeyboardInterrupt
        if not request:
            request.by = signal.Signals(number).name
            log.info(f"{request.by}: finishing this step, then saving")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
