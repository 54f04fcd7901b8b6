"""What repeats of one measurement say: never one number without how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


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
