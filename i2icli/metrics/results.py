"""A measured number, its interval, and all that must be said with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2icli.config.words import as_plain
from i2icli.errors import ConfigError

Fact = str | int | float | None
_LEVEL, _RESAMPLES = 0.95, 1000


@dataclass(frozen=True)
class Interval:
    """An interval that the number would lie in, had other pictures of the same kind been drawn.

    Attributes:
        low, high: the ends, in the unit of the value.
        level: the share of such draws that it is meant to hold, for example 0.95.
        method: how it was computed, in words.
    """

    low: float
    high: float
    level: float
    method: str

    as_document = as_plain


@dataclass(frozen=True)
class Measurement:
    """One number with its protocol.

    Attributes:
        name: as the JSON output calls it, for example "fid".
        value: the number.
        interval: its interval; None where there is none.
        counts: pictures it was computed from, for example {"real": 140, "fake": 120}.
        protocol: how it was computed: whatever changes the number. Two numbers are compared only
            if these are equal.
        about: what was measured and with which files (checkpoint, step, folders, SHA-256 of the
            weights): free to differ between numbers that are compared.
        parts: further numbers beside the value, for example its standard deviation.
        warnings: what limits the number, in sentences.
    """

    name: str
    value: float
    interval: Interval | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    protocol: Mapping[str, Fact] = field(default_factory=dict)
    about: Mapping[str, Fact] = field(default_factory=dict)
    parts: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Return everything but the name for JSON."""
        return {key: value for key, value in as_plain(self).items() if key != "name"}

    def with_facts(
        self, *, protocol: Mapping[str, Fact] | None = None, about: Mapping[str, Fact] | None = None
    ) -> Measurement:
        """Return the same number with more said of it."""
        return replace(
            self,
            protocol={**self.protocol, **(protocol or {})},
            about={**self.about, **(about or {})},
        )

    def comparable_with(self, other: Measurement) -> None:
        """Refuse to put unlike numbers side by side.

        Raises:
            ConfigError: naming every field in which the two protocols or counts differ.
        """
        if self.name != other.name:
            raise ConfigError(
                f"{self.name} and {other.name} are different metrics and cannot be compared: "
                "name one metric."
            )
        one, two = _facts(self), _facts(other)
        differences = [
            f"{name} is {_word(one, name)} in one and {_word(two, name)} in the other"
            for name in dict.fromkeys((*one, *two))
            if name not in one or name not in two or one[name] != two[name]
        ]
        if differences:
            raise ConfigError(
                f"these two numbers of {self.name} were not measured alike and cannot be compared: "
                f"{'; '.join(differences)}. Measure both with one `i2i eval` protocol."
            )


def bootstrap_interval(
    statistic: Callable[[NDArray[np.float64]], float], count: int, *, seed: int = 0
) -> Interval | None:
    """Return the percentile interval of a statistic over resampled pictures.

    It is for means and ratios of sums over independent pictures. The Frechet distance is none:
    resampling biases it upwards.

    Args:
        statistic: computes the number from how often each picture was drawn, (count,), whose sum
            is `count`; NaN where it is not defined for a draw.
        count: pictures.
        seed: of the draws; the same pictures give the same interval.

    Returns:
        The central 95 %, or None for fewer than two pictures.
    """
    if count < 2:
        return None
    random = np.random.default_rng(seed)
    draws = random.multinomial(count, np.full(count, 1.0 / count), size=_RESAMPLES)
    values = np.array([statistic(times) for times in draws.astype(np.float64)])
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    tail = 50.0 * (1.0 - _LEVEL)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(
        low=float(low),
        high=float(high),
        level=_LEVEL,
        method=f"percentile bootstrap over pictures, {_RESAMPLES} draws",
    )


def mean_interval(values: NDArray[np.float64]) -> Interval | None:
    """Return the 95 % bootstrap interval of the mean of one number a picture, (N,)."""
    return bootstrap_interval(lambda times: float(times @ values / values.size), values.size)


def mean_measurement(
    name: str,
    values: NDArray[np.float64],
    *,
    counts: Mapping[str, int],
    protocol: Mapping[str, Fact],
    about: Mapping[str, Fact],
) -> Measurement:
    """Return the mean of one number a picture, (N,), with its interval and standard deviation."""
    spread = float(values.std(ddof=1)) if values.size > 1 else None
    return Measurement(
        name=name,
        value=float(values.mean()),
        interval=mean_interval(values),
        counts=counts,
        protocol=protocol,
        about=about,
        parts={"standard deviation": spread},
    )


def _facts(measurement: Measurement) -> dict[str, Fact]:
    counts = {f"N {name}": count for name, count in measurement.counts.items()}
    return {**measurement.protocol, **counts}


def _word(facts: Mapping[str, Fact], name: str) -> str:
    return str(facts[name]) if name in facts else "not said"
