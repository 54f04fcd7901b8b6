"""Work in pieces, done here or by processes that take the next piece from one queue.

A process that dies is replaced, and its piece is done once more. Only pieces and results travel;
what is planned, shown and noted down stays with the process that asks.
"""

from __future__ import annotations

import heapq
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from i2icli.errors import ConfigError, I2IError
from i2icli.system.allocator import claim_process, limit_kernels
from i2icli.system.processes.child import Child, Parent
from i2icli.system.threads import threads_each

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")
P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Emit = Callable[[Any], None]
_AHEAD = 4  # pieces a process that may be done before the first that is not
_HOPELESS = 3  # pieces that end every process which takes them, until no more are tried


class Work(Protocol[P_contra, R_co]):
    """Work that comes in pieces; pickled, it travels to other processes."""

    def setup(self) -> Callable[[P_contra, Emit], R_co]:
        """Return the function that does a piece, made ready once in a process.

        It may emit events, which reach the one that asks before the result does.
        """

    def describe(self, piece: P_contra) -> str:
        """Return the name of a piece in messages."""


class Executor(Protocol):
    """What has work done: processes of this machine, and one day those of a cluster."""

    @property
    def count(self) -> int:
        """Pieces that are done at once."""

    def run(
        self, work: Work[P, R], pieces: Sequence[P], on_event: Emit = ...
    ) -> Iterator[tuple[int, R]]:
        """Yield the number and the result of each piece, as they are done.

        Args:
            work: what is done.
            pieces: each is done once.
            on_event: called with what a piece emits, before its result is yielded.

        Raises:
            I2IError: what went wrong with a piece, or it ended two processes.
        """


class InProcess:
    """Does pieces here, one after the other; events come at once."""

    count = 1

    def run(
        self, work: Work[P, R], pieces: Sequence[P], on_event: Emit = lambda _event: None
    ) -> Iterator[tuple[int, R]]:
        """Yield the number and the result of each piece, in order."""
        handle = work.setup() if pieces else None
        for number, piece in enumerate(pieces):
            assert handle is not None, "there are pieces"
            yield number, handle(piece, on_event)


class Pool:
    """Processes that do pieces; they start with the first work and wait for more until the end.

    Within its `with`, SIGTERM does what Ctrl-C does.

    Args:
        count: processes, at most.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: dict[int, _Worker] = {}
        self._answers: SimpleQueue[tuple[_Worker, Any]] = SimpleQueue()

    def __enter__(self) -> Self:
        self._in_main = threading.current_thread() is threading.main_thread()
        if self._in_main:
            self._before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(list(self._workers.values()))
        if self._in_main:
            signal.signal(signal.SIGTERM, self._before)

    def run(
        self, work: Work[P, R], pieces: Sequence[P], on_event: Emit = lambda _event: None
    ) -> Iterator[tuple[int, R]]:
        """Yield the number and the result of each piece, as they are done.

        Events of a piece come with its result, so that one which is done again is told once.

        Raises:
            I2IError: what went wrong with a piece; or one ended two processes, and then the others
                are done first.
        """
        content = pickle.dumps(work)
        waiting, busy = list(range(len(pieces))), dict[_Worker, int]()
        deaths: Counter[int] = Counter()
        lost: list[str] = []
        try:
            while (waiting or busy) and len(lost) < _HOPELESS:
                self._hand_out(content, pieces, waiting, busy)
                worker, answer = self._answers.get()
                if worker not in busy:  # it died while it had nothing to do
                    self._end([worker])
                    continue
                number = busy.pop(worker)
                if answer is None:
                    cause = _cause(self._end([worker])[0])
                    deaths[number] += 1
                    if deaths[number] == 1:
                        heapq.heappush(waiting, number)
                    else:
                        lost.append(f"{work.describe(pieces[number])} ({cause})")
                    continue
                events, messages, result = answer
                for logger, level, text in messages:
                    logging.getLogger(logger).log(level, text)
                if isinstance(result, Exception):
                    raise result
                for event in events:
                    on_event(event)
                yield number, result
        finally:
            self._end(list(busy))
        if lost:
            raise I2IError(
                f"two processes ended, one after the other, at {'; '.join(lost)}. What is finished "
                "stays: run the command again, for files with --skip-existing."
            )

    def _hand_out(
        self, content: bytes, pieces: Sequence[object], waiting: list[int], busy: dict[_Worker, int]
    ) -> None:
        """Give pieces to processes that have none, not too far ahead of the first undone one."""
        first = min([*waiting[:1], *busy.values()])
        limit = first + _AHEAD * self.count
        while waiting and waiting[0] < limit and len(busy) < self.count:
            free = (n for n in range(self.count) if self._workers.get(n) not in busy)
            number = next(free)
            if number not in self._workers:
                self._workers[number] = _Worker(number, self.count, self._answers)
            worker = self._workers[number]
            busy[worker] = heapq.heappop(waiting)
            worker.give(content, pieces[busy[worker]])

    def _end(self, workers: Sequence[_Worker]) -> list[int]:
        """End processes and return their exit codes."""
        for worker in workers:
            worker.child.stop()
        codes = [worker.child.end(worker.listener) for worker in workers]
        for worker in workers:
            if self._workers.get(worker.number) is worker:
                del self._workers[worker.number]
        return codes


class _Worker:
    """One process of a pool."""

    def __init__(self, number: int, count: int, answers: SimpleQueue[tuple[_Worker, Any]]) -> None:
        self.number = number
        self._answers = answers
        self._work = b""
        # The same modules as here, wherever they were found.
        run = "from i2icli.system.processes.work_queue import serve; serve()"
        environment = {"LOCAL_RANK": str(number), "OMP_NUM_THREADS": str(threads_each(count))}
        self.child = Child(
            ["-c", f"import sys; sys.path[:] = {sys.path!r}; {run}"], environment=environment
        )
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def give(self, work: bytes, piece: object) -> None:
        """Have it do a piece; the work itself is told once."""
        with suppress(OSError):  # it has ended, as the end of its answers will tell
            self.child.send((None if work is self._work else work, piece))
        self._work = work

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put((self, self.child.receive()))
        except (EOFError, OSError):
            self._answers.put((self, None))


class _Forwarded(logging.Handler):
    """Keeps the messages of a process for the one that started it."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[str, int, str]] = []
        logger = logging.getLogger("i2icli")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append((record.name, record.levelno, record.getMessage()))

    def take(self) -> list[tuple[str, int, str]]:
        kept, self._kept = self._kept, []
        return kept


def serve() -> None:
    """Do pieces of work for the process that started this one, until it has no more."""
    claim_process()
    limit_kernels()
    parent = Parent()
    heard = _Forwarded()
    handle: Callable[[Any, Emit], Any] | None = None
    try:
        while True:
            work, piece = parent.receive()
            events: list[Any] = []
            result: object
            try:
                if work is not None:
                    handle = None  # what it holds is free before the next is made ready
                    handle = pickle.loads(work).setup()
                assert handle is not None, "the work comes with its first piece"
                result = handle(piece, events.append)
            except (I2IError, OSError) as fault:
                result = fault
            except Exception:  # noqa: BLE001 - told where it can be seen
                result = RuntimeError(traceback.format_exc())
            parent.send((events, heard.take(), result))
    except (EOFError, KeyboardInterrupt):
        os._exit(0)  # at once: nothing is open that has to be closed


@contextmanager
def executor(count: int) -> Iterator[Executor]:
    """Yield an executor of `count` processes; for 1 it is this one alone.

    Raises:
        ConfigError: this process is one of several itself.
    """
    if count == 1:
        yield InProcess()
        return
    if "WORLD_SIZE" in os.environ:
        raise ConfigError("--nproc is for a command of its own: leave it out under torchrun.")
    with Pool(count) as pool:
        yield pool


def cut(items: Sequence[T], count: int, *, most: int, multiple: int = 1) -> list[Sequence[T]]:
    """Cut items into pieces for `count` processes; one process takes all as one piece.

    Args:
        items: in order, which the pieces keep.
        count: processes.
        most: items in a piece.
        multiple: the items of each piece but the last are a multiple of this.
    """
    if count == 1:
        return [items] if items else []
    size = min(most, -(-len(items) // (4 * count)))  # four pieces each even out what they take
    size = max(1, -(-size // multiple)) * multiple
    return [items[start : start + size] for start in range(0, len(items), size)]


def in_order(results: Iterable[tuple[int, R]]) -> Iterator[R]:
    """Yield the results of pieces in the order of the pieces."""
    early: dict[int, R] = {}
    due = 0
    for number, result in results:
        early[number] = result
        while due in early:
            yield early.pop(due)
            due += 1


def _cause(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
