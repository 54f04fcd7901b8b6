"""Intervals of means over pictures, by resampling the pictures.

For means and for ratios of sums over independent pictures. The Frechet distance is none:
resampling biases it upwards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from i2icli.metrics.results import Interval

LEVEL = 0.95
RESAMPLES = 1000


def bootstrap_interval(
    statistic: Callable[[NDArray[np.float64]], float], count: int, *, seed: int = 0
) -> Interval | None:
    """Return the percentile interval of a statistic over resampled pictures.

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
    draws = random.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES)
    values = np.array([statistic(times) for times in draws.astype(np.float64)])
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(
        low=float(low),
        high=float(high),
        level=LEVEL,
        method=f"percentile bootstrap over pictures, {RESAMPLES} draws",
    )


def mean_interval(values: NDArray[np.float64]) -> Interval | None:
    """Return the 95 % bootstrap interval of the mean of one number a picture, (N,)."""
    return bootstrap_interval(lambda times: float(times @ values / values.size), values.size)
