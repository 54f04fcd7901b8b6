"""A process that holds one side of a comparison and works only when it is told to.

Each side has a process of its own, so that threads, the allocator and compiled code of one never
show in the other; the one that tells them what to do lets one work at a time, in turn, and gives
the spread of what they answer: never one number without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np

from i2icli.bench.rig import Variant
from i2icli.errors import I2IError
from i2icli.system.processes.child import Child, Parent
from i2icli.system.waiting import not_looking

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
        """Start one that holds a variant, see `bench.measure`."""
        words = ("-m", "i2icli.bench.measure")
        return cls(variant.name, words, {"variant": variant.document()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            with not_looking():  # another side may be at work now
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


@dataclass(frozen=True)
class Spread:
    """Repeats of one measurement.

    Attributes:
        n: how many.
        low: the smallest.
        q1: the lower quartile.
        median: the middle one.
        q3: the upper quartile.
        high: the largest.
    """

    n: int
    low: float
    q1: float
    median: float
    q3: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        low, q1, median, q3, high = (
            float(value) for value in np.quantile(np.asarray(values), (0, 0.25, 0.5, 0.75, 1))
        )
        return cls(len(values), low, q1, median, q3, high)

    def document(self, unit: str = "") -> dict[str, float | int | list[float]]:
        """Return it for JSON, the unit in the names, as `median_s`."""
        end = f"_{unit}" if unit else ""
        return {
            f"min{end}": self.low,
            f"median{end}": self.median,
            f"max{end}": self.high,
            f"quartiles{end}": [self.q1, self.q3],
            "n": self.n,
        }

    def text(self, form: str = "{:.3g}") -> str:
        """Return it for people: the median, the quartiles, the extremes and the number."""
        low, q1, median, q3, high = (
            form.format(value) for value in (self.low, self.q1, self.median, self.q3, self.high)
        )
        return f"median {median} (quartiles {q1} to {q3}, {low} to {high}, n {self.n})"


def in_turn(rounds: int, count: int) -> Iterator[tuple[int, ...]]:
    """Yield the order of each round so that a drift of the machine hits all alike.

    Two variants go A B, B A, A B, and so on: each is as often first as second.

    Args:
        rounds: how many.
        count: variants.
    """
    for number in range(rounds):
        forward = tuple(range(count))
        yield forward if number % 2 == 0 else forward[::-1]


def take_turns(
    workers: Sequence[Worker], what: str, *, rounds: int, **given: Any
) -> dict[str, Any]:
    """Ask all workers for the same, in turn, and each for the machine's limit right after.

    Returns:
        `answers`, by worker one a round; `rates`, by worker and kind one a round; `order` of the
        workers in each round.
    """
    answers: list[list[Any]] = [[] for _ in workers]
    rates: list[list[dict[str, float]]] = [[] for _ in workers]
    orders = list(in_turn(rounds, len(workers)))
    for order in orders:
        for index in order:
            answers[index].append(workers[index].ask(what, **given))
            rates[index].append(workers[index].ask("rates"))
    return {
        "answers": answers,
        "rates": [{kind: [rate[kind] for rate in own] for kind in own[0]} for own in rates],
        "order": orders,
    }


@contextmanager
def measuring(variants: Sequence[Variant]) -> Iterator[list[Worker]]:
    """Start a process for each variant, and end them all."""
    with ExitStack() as stack:
        yield [stack.enter_context(Worker.of(variant)) for variant in variants]
