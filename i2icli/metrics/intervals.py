"""Intervals of FID and KID: where the number would lie had other pictures been drawn.

FID of few pictures is too high, and resampling them makes it higher still: the plain percentile
bootstrap gives an interval that often does not hold the number itself (with fewer pictures than
features, never). So the interval of FID is the number plus and minus what the influence of each
picture says (infinitesimal jackknife), which needs no resampling and has no such bias. It speaks
of the expected FID at this number of pictures, not of the limit of many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from i2icli.metrics.distances import Features, kernel_blocks, kernel_diagonal, row_blocks
from i2icli.metrics.results import Interval

_NORMAL = {0.9: 1.6448536269514722, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}
_Weights = NDArray[np.float64]


def fid_interval(features1: Features, features2: Features, *, level: float = 0.95) -> Interval:
    """Return the interval of `fid`, which always holds that number.

    Args:
        features1: (N1, D), N1 of 2 or more.
        features2: (N2, D), N2 of 2 or more.
        level: 0.9, 0.95 or 0.99.
    """
    return interval_about(*fid_with_error(features1, features2), level=level)


def interval_about(value: float, error: float, *, level: float = 0.95) -> Interval:
    """Return the interval of an FID with its standard error, both from `fid_with_error`."""
    reach = _NORMAL[level] * error
    return Interval(max(0.0, value - reach), value + reach, level, "infinitesimal jackknife")


def fid_with_error(features1: Features, features2: Features) -> tuple[float, float]:
    """Return the FID and its standard error, from one decomposition.

    The influence of a picture x of the first set is, with m, C the mean and covariance of its set
    and T = C1^(-1/2) (C1^(1/2) C2 C1^(1/2))^(1/2) C1^(-1/2),
    2 (m1 - m2).(x - m1) + |x - m1|^2 - (x - m1)^T T (x - m1), up to a constant. With the
    decomposition U S V^T of X Y^T the last term is read off U and S without any inverse.

    Args:
        features1: (N1, D), N1 of 2 or more.
        features2: (N2, D), N2 of 2 or more.
    """
    means = [_mean(features) for features in (features1, features2)]
    shift = means[0] - means[1]
    spread1, spread2 = _Spread(features1, means[0]), _Spread(features2, means[1])
    left, values, right = np.linalg.svd(spread1.core @ spread2.core.T, full_matrices=False)
    total = np.square(spread1.core).sum() + np.square(spread2.core).sum() - 2.0 * values.sum()
    variance = 0.0
    for spread, vectors, sign in ((spread1, left, 1.0), (spread2, right.T, -1.0)):
        influence = spread.influence(vectors, values, sign * shift)
        variance += float(np.var(influence, ddof=1)) / len(influence)
    # Of equal sets, rounding may leave less than nothing.
    return max(0.0, float(shift @ shift + total)), float(np.sqrt(variance))


def kid_interval(
    features1: Features,
    features2: Features,
    value: float,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the bootstrap interval of a kernel distance.

    Pictures are drawn with repetition; pairs of a picture with itself are left out, since they
    would raise every draw. The spread of the draws about their own mean is laid about `value`.

    Args:
        features1: (N1, D), N1 of 2 or more.
        features2: (N2, D), N2 of 2 or more.
        value: the kernel distance of the whole sets.
        level: share of the draws inside.
        draws: how many.
        seed: of the draws.
    """
    one, two = features1, features2
    random = np.random.default_rng(seed)
    weights1, weights2 = (_resampled(len(features), draws, random) for features in (one, two))
    across = _weighted(one, two, weights1, weights2) / (len(one) * len(two))
    values = _within(one, weights1) + _within(two, weights2) - 2.0 * across
    tail = (1.0 - level) / 2.0
    # With a handful of pictures the draws can all lie on one side of their mean.
    low, high = np.quantile(values - values.mean(), [tail, 1.0 - tail])
    method = f"bootstrap of {draws} draws"
    return Interval(value + min(0.0, float(low)), value + max(0.0, float(high)), level, method)


class _Spread:
    """Features about their mean, X (N, D): a matrix of at most D rows with X^T X / (N - 1).

    Rows are gone through a block at a time, so that memory does not grow with N.
    """

    def __init__(self, features: Features, mean: Features) -> None:
        self._features, self._mean = features, mean
        self._scale = len(features) - 1
        self.core: Features
        self._back: Features | None = None
        if len(features) <= features.shape[1]:
            self.core = (np.asarray(features, dtype=np.float64) - mean) / np.sqrt(self._scale)
            return
        rows = np.zeros((0, features.shape[1]))
        for _, block in row_blocks(features):
            rows = np.asarray(np.linalg.qr(np.concatenate([rows, block - mean]), mode="r"))
        self.core = rows / np.sqrt(self._scale)
        # X = Q R, so Q = X R^+; a direction in which there is but rounding says nothing.
        left, values, right = np.linalg.svd(rows)
        is_kept = values > values[0] * max(features.shape) * np.finfo(np.float64).eps
        self._back = (right[is_kept].T / values[is_kept]) @ left[:, is_kept].T

    def influence(self, vectors: Features, values: Features, shift: Features) -> Features:
        """Return that of each picture, up to a constant, (N,).

        Args:
            vectors: of the decomposition, on the side of this set.
            values: of the decomposition.
            shift: mean of this set less that of the other.
        """
        onto = None if self._back is None else self._back @ vectors
        found = []
        for rows, block in row_blocks(self._features):
            centred = block - self._mean
            places = vectors[rows] if onto is None else centred @ onto
            transported = self._scale * (np.square(places) @ values)
            found.append(2.0 * centred @ shift + np.square(centred).sum(axis=1) - transported)
        return np.concatenate(found)


def _mean(features: Features) -> Features:
    total = sum(block.sum(axis=0) for _, block in row_blocks(features))
    return np.asarray(total / len(features), dtype=np.float64)


def _resampled(count: int, draws: int, random: np.random.Generator) -> _Weights:
    """Return how often each picture is drawn, (N, draws)."""
    return random.multinomial(count, np.full(count, 1.0 / count), size=draws).T.astype(np.float64)


def _weighted(one: Features, two: Features, weights1: _Weights, weights2: _Weights) -> _Weights:
    """Return the weighted sums of the kernel over all pairs, one a draw."""
    total = np.zeros(weights1.shape[1])
    for rows, columns, block in kernel_blocks(one, two):
        total += (weights1[rows] * (block @ weights2[columns])).sum(axis=0)
    return total


def _within(features: Features, weights: _Weights) -> _Weights:
    """Return the weighted mean of the kernel over pairs of different pictures, one a draw."""
    squares = np.square(weights)
    total = _weighted(features, features, weights, weights) - kernel_diagonal(features) @ squares
    pairs = np.square(weights.sum(axis=0)) - squares.sum(axis=0)
    # A draw of one picture alone has no pairs; it says nothing.
    mean: _Weights = np.divide(total, pairs, out=np.zeros_like(total), where=pairs > 0)
    return mean
