"""Repeats that are taken in turn, and their spread: never one number without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2icli.bench.measure import Result
from i2icli.bench.rig import Variant
from i2icli.bench.worker import Worker


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


def take_turns(workers: Sequence[Worker], what: str, *, rounds: int, **given: Any) -> Result:
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
