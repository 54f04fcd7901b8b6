"""A process that holds one side of a comparison and works only when it is told to.

Each side has a process of its own, so that threads, the allocator and compiled code of one never
show in the other; the one that tells them what to do lets one work at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

from i2icli.bench.rig import Variant
from i2icli.errors import I2IError
from i2icli.system.processes.child import Child, Parent

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]

Answers = Mapping[str, Callable[..., Any]]


class Worker:
    """The other process, seen from the one that asks.

    Args:
        name: what it is called in errors.
        words: arguments of Python that start it.
        given: the keywords of what `serve` builds there.

    Raises:
        I2IError: it could not build what it was given; of the class that was raised there.
    """

    def __init__(self, name: str, words: Sequence[str], given: Mapping[str, Any]) -> None:
        self.name = name
        # The very package that runs here, wherever the process starts.
        paths = [str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
        self._errors = TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        path = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._child = Child(words, environment=path, stderr=self._errors)
        try:
            self.ask("build", **given)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, variant: Variant) -> Worker:
        """Return one that holds a variant, see `bench.measure`."""
        words = ("-m", "i2icli.bench.measure")
        return cls(variant.name, words, {"variant": variant.document()})

    def __enter__(self) -> Self:
        """Leave it running."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def ask(self, what: str, **given: Any) -> Any:
        """Have it do something, and return what it answers.

        Raises:
            I2IError: what went wrong there, as the same kind of error; or it ended.
        """
        try:
            self._child.send((what, given))
            answer = self._child.receive()
        except (OSError, EOFError):
            raise self._failure(what) from None
        if isinstance(answer, I2IError):
            raise answer
        return answer

    def close(self) -> None:
        """End it and wait until its memory is free again."""
        self._child.end()
        self._errors.close()

    def _failure(self, what: str) -> I2IError:
        """Return what to say of a process that ended without an answer."""
        code = self._child.end()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
        was_killed = code == -9 or "out of memory" in last.lower()
        hint = "for want of memory; try a smaller --size or --batch" if was_killed else last
        return I2IError(f"measuring the {what} of {self.name} ended with {code}: {hint}")


def serve(build: Callable[..., Answers]) -> None:
    """Answer what the process that started this one asks for, until it has no more.

    Args:
        build: makes of what the worker was given the functions that answer, by their names.
    """
    parent = Parent()
    answers: Answers = {}
    while True:
        try:
            what, given = parent.receive()
        except EOFError:
            return
        answer: object = None
        try:
            if what == "build":
                answers = build(**given)
            else:
                answer = answers[what](**given)
        except I2IError as error:
            answer = error
        parent.send(answer)
