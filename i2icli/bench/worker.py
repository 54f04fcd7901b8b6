"""A process that holds one side of a comparison and works only when it is told to.

Each side has a process of its own, so that threads, the allocator and compiled code of one never
show in the other; the one that tells them what to do lets one work at a time. What is said goes
over pipes, a line of JSON each way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import i2icli.errors as errors
from i2icli.bench.rig import Variant
from i2icli.errors import I2IError

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
        self._process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.ask("build", **given)
        except BaseException:
            self.close()
            raise

    @classmethod
    def of(cls, variant: Variant) -> Worker:
        """Return one that holds a variant, see `bench.child`."""
        words = ("-m", "i2icli.bench.child")
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, "given": given}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._failure(what)
        answer = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return answer["is"]

    def close(self) -> None:
        """End it and wait until its memory is free again."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._errors.close()

    def _failure(self, what: str) -> I2IError:
        """Return what to say of a process that ended without an answer."""
        code = self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
        was_killed = code == -9 or "out of memory" in last.lower()
        hint = "for want of memory; try a smaller --size or --batch" if was_killed else last
        return I2IError(f"measuring the {what} of {self.name} ended with {code}: {hint}")


def serve(build: Callable[..., Answers]) -> None:
    """Answer requests of the standard input, one at a time, until it ends.

    Args:
        build: makes of what the worker was given the functions that answer, by their names.
    """
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What code prints meanwhile must not spoil the answers.
    os.dup2(2, 1)
    answers: Answers = {}
    for line in requests:
        request = json.loads(line)
        what, given = request["do"], request["given"]
        answer: dict[str, Any]
        try:
            if what == "build":
                answers, answer = build(**given), {"is": None}
            else:
                answer = {"is": answers[what](**given)}
        except I2IError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()
