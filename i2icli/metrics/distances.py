"""Distances between two sets of features: Frechet (FID) and kernel (KID), and their intervals.

All in float64. No matrix square root is ever taken: the trace that the Frechet distance needs is
a sum of singular values, which exists and is real for singular covariances too, as those of fewer
pictures than features always are.

FID of few pictures is too high, and resampling them makes it higher still: the plain percentile
bootstrap gives an interval that often does not hold the number itself (with fewer pictures than
features, never). So the interval of FID is the number plus and minus what the influence of each
picture says (infinitesimal jackknife), which needs no resampling and has no such bias. It speaks
of the expected FID at this number of pictures, not of the limit of many.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from i2icli.metrics.results import Interval

Features = NDArray[np.floating]
Indices = NDArray[np.integer]
_Weights = NDArray[np.float64]
_ROWS, _COLUMNS = 1024, 8192  # of a kernel matrix at once, which bounds memory for large sets
_READ = 4096  # rows of features at once
_NORMAL = {0.9: 1.6448536269514722, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}


def kid(
    features1: Features,
    features2: Features,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> float:
    """Return the kernel distance, the mean over random subsets, as clean-fid computes it.

    The kernel is (x.y / D + 1)^3, the estimate unbiased (Binkowski et al. 2018). The subsets are
    those that clean-fid draws after `numpy.random.seed(seed)`; smaller where a set is. Features are
    (N, D), N of 2 or more.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    _check_pair(features1, features2)
    size = min(len(features1), len(features2), subset_size)
    draws = draw_subsets(len(features1), len(features2), size=size, count=subsets, seed=seed)
    return float(kid_of_subsets(features1, features2, draws).mean())


def kid_of_subsets(
    features1: Features, features2: Features, draws: Iterable[tuple[Indices, Indices]]
) -> NDArray[np.float64]:
    """Return the unbiased kernel distance of each pair of subsets.

    `draws` are rows of each set, (N, D), without repetition, at least 2.
    """
    values = [kid_unbiased(features1[rows1], features2[rows2]) for rows1, rows2 in draws]
    return np.array(values, dtype=np.float64)


def draw_subsets(
    count1: int, count2: int, *, size: int, count: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Yield `count` pairs of subsets in the order in which clean-fid draws them."""
    # The legacy generator and the second set first: only so are the draws clean-fid's own.
    random = np.random.RandomState(seed)
    for _ in range(count):
        rows2 = random.choice(count2, size, replace=False)
        rows1 = random.choice(count1, size, replace=False)
        yield rows1, rows2


def kid_unbiased(features1: Features, features2: Features) -> float:
    """Return the unbiased kernel distance of two whole sets (squared MMD, U-statistic).

    Features are (N, D), N of 2 or more.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    _check_pair(features1, features2)
    within = 0.0
    for features in (features1, features2):
        count = len(features)
        total = sum(float(block.sum()) for _, _, block in kernel_blocks(features, features))
        within += (total - float(kernel_diagonal(features).sum())) / (count * (count - 1))
    across = sum(float(block.sum()) for _, _, block in kernel_blocks(features1, features2))
    return within - 2.0 * across / (len(features1) * len(features2))


def kernel_blocks(
    features1: Features, features2: Features
) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
    """Yield blocks of the kernel matrix (x.y / D + 1)^3, with their positions among N1 and N2."""
    for rows, one in row_blocks(features1, size=_ROWS):
        for columns, two in row_blocks(features2, size=_COLUMNS):
            yield rows, columns, (one @ two.T / one.shape[1] + 1.0) ** 3


def kernel_diagonal(features: Features) -> NDArray[np.float64]:
    """Return the kernel of each picture with itself, (N,)."""
    squares = [np.square(block).sum(axis=1) for _, block in row_blocks(features)]
    diagonal: NDArray[np.float64] = (np.concatenate(squares) / features.shape[1] + 1.0) ** 3
    return diagonal


def row_blocks(
    features: Features, *, size: int = _READ
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield rows of (N, D) in float64, with their positions, a bounded number in memory at a time.

    Raises:
        ValueError: one is not finite.
    """
    count, width = features.shape
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        # Rows on disk are read, not mapped: what was mapped would count as memory.
        if isinstance(features, np.memmap) and isinstance(features.base, mmap.mmap):
            at = features.offset + start * width * features.itemsize
            length = (rows.stop - start) * width
            block = np.fromfile(features.filename, features.dtype, length, offset=at)
        else:
            block = features[rows]
        values = np.asarray(block.reshape(-1, width), dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("a feature is not a finite number")
        yield rows, values


def _check_pair(features1: Features, features2: Features) -> None:
    for features in (features1, features2):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features of shape {features.shape}: (N, D) with N >= 2 is needed")
    if features1.shape[1] != features2.shape[1]:
        raise ValueError(f"features of {features1.shape[1]} and of {features2.shape[1]} numbers")


def interval_about(value: float, error: float, *, level: float = 0.95) -> Interval:
    """Return the interval of an FID with its standard error, both from `fid`."""
    reach = _NORMAL[level] * error
    return Interval(max(0.0, value - reach), value + reach, level, "infinitesimal jackknife")


def fid(features1: Features, features2: Features) -> tuple[float, float]:
    """Return the FID and its standard error, from one decomposition; (N, D), N of 2 or more.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    _check_pair(features1, features2)
    means = [_mean(features) for features in (features1, features2)]
    shift = means[0] - means[1]
    spread1, spread2 = _Spread(features1, means[0]), _Spread(features2, means[1])
    left, values, right = np.linalg.svd(spread1.core @ spread2.core.T, full_matrices=False)
    total = np.square(spread1.core).sum() + np.square(spread2.core).sum() - 2.0 * values.sum()
    # The influence of a picture x of the first set is, with m, C the mean and covariance of its set
    # and T = C1^(-1/2) (C1^(1/2) C2 C1^(1/2))^(1/2) C1^(-1/2),
    # 2 (m1 - m2).(x - m1) + |x - m1|^2 - (x - m1)^T T (x - m1), up to a constant. With the
    # decomposition U S V^T of X Y^T the last term is read off U and S without any inverse.
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
    """Return the bootstrap interval about `value`, the kernel distance of the whole sets.

    Pictures, of (N, D) with N of 2 or more, are drawn with repetition; `level` is the share of the
    draws inside.
    """
    one, two = features1, features2
    random = np.random.default_rng(seed)
    weights1, weights2 = (_resampled(len(features), draws, random) for features in (one, two))
    across = _weighted(one, two, weights1, weights2) / (len(one) * len(two))
    values = _within(one, weights1) + _within(two, weights2) - 2.0 * across
    # The spread of the draws about their own mean is laid about the value.
    tail = (1.0 - level) / 2.0
    # With a handful of pictures the draws can all lie on one side of their mean.
    low, high = np.quantile(values - values.mean(), [tail, 1.0 - tail])
    method = f"bootstrap of {draws} draws"
    return Interval(value + min(0.0, float(low)), value + max(0.0, float(high)), level, method)


class _Spread:
    """Features about their mean, X (N, D): a matrix of at most D rows with X^T X / (N - 1)."""

    def __init__(self, features: Features, mean: Features) -> None:
        self._features, self._mean = features, mean
        self._scale = len(features) - 1
        self.core: Features
        self._back: Features | None = None
        if len(features) <= features.shape[1]:
            self.core = (np.asarray(features, dtype=np.float64) - mean) / np.sqrt(self._scale)
            return
        # A block at a time, so that memory does not grow with N.
        rows = np.zeros((0, features.shape[1]))
        for _, block in row_blocks(features):
            rows = np.asarray(np.linalg.qr(np.concatenate([rows, block - mean]), mode="r"))
        self.core = rows / np.sqrt(self._scale)
        # X = Q R, so Q = X R^+; a direction in which there is but rounding says nothing.
        left, values, right = np.linalg.svd(rows)
        is_kept = values > values[0] * max(features.shape) * np.finfo(np.float64).eps
        self._back = (right[is_kept].T / values[is_kept]) @ left[:, is_kept].T

    def influence(self, vectors: Features, values: Features, shift: Features) -> Features:
        """Return the influence of each picture, up to a constant, (N,).

        Args:
            vectors: of the decomposition, on the side of this set.
            values: of the decomposition.
            shift: mean of this set less that of the other.
        """
        onto = None if self._back is None else self._back @ vectors
        found = []
        for rows, block in row_blocks(self._features):
            centred = block - self._mean
            along = vectors[rows] if onto is None else centred @ onto
            transported = self._scale * (np.square(along) @ values)
            found.append(2.0 * centred @ shift + np.square(centred).sum(axis=1) - transported)
        return np.concatenate(found)


def _mean(features: Features) -> Features:
    total = sum(block.sum(axis=0) for _, block in row_blocks(features))
    return np.asarray(total / len(features), dtype=np.float64)


def _resampled(count: int, draws: int, random: np.random.Generator) -> _Weights:
    return random.multinomial(count, np.full(count, 1.0 / count), size=draws).T.astype(np.float64)


def _weighted(one: Features, two: Features, weights1: _Weights, weights2: _Weights) -> _Weights:
    total = np.zeros(weights1.shape[1])  # over all pairs, one a draw
    for rows, columns, block in kernel_blocks(one, two):
        total += (weights1[rows] * (block @ weights2[columns])).sum(axis=0)
    return total


def _within(features: Features, weights: _Weights) -> _Weights:
    # Pairs of a picture with itself are left out: they would raise every draw.
    squares = np.square(weights)
    total = _weighted(features, features, weights, weights) - kernel_diagonal(features) @ squares
    pairs = np.square(weights.sum(axis=0)) - squares.sum(axis=0)
    # A draw of one picture alone has no pairs; it says nothing.
    mean: _Weights = np.divide(total, pairs, out=np.zeros_like(total), where=pairs > 0)
    return mean
