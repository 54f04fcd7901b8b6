"""Distances between two sets of features: Frechet (FID) and kernel (KID).

All in float64. No matrix square root is ever taken: the trace that the Frechet distance needs is
a sum of singular values, which exists and is real for singular covariances too, as those of fewer
pictures than features always are.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Indices = NDArray[np.integer]
_ROWS, _COLUMNS = 1024, 8192  # of a kernel matrix at once, which bounds memory for large sets
_READ = 4096  # rows of features at once


def frechet_distance(
    mean1: Features, covariance1: Features, mean2: Features, covariance2: Features
) -> float:
    """Return the squared Frechet distance of two Gaussians (Heusel et al. 2017, eq. 6).

    Tr sqrt(C1 C2) is the sum of the singular values of F1^T F2, where C = F F^T.

    Args:
        mean1: (D,).
        covariance1: (D, D), symmetric, positive semi-definite up to rounding.
        mean2: (D,).
        covariance2: (D, D), as the first.

    Raises:
        ValueError: the shapes differ, or a value is not finite.
    """
    mean1, mean2 = _checked(np.atleast_1d(mean1)), _checked(np.atleast_1d(mean2))
    covariance1, covariance2 = (_checked(np.atleast_2d(c)) for c in (covariance1, covariance2))
    if mean1.shape != mean2.shape or covariance1.shape != covariance2.shape:
        raise ValueError(
            f"shapes differ: means {mean1.shape}, {mean2.shape}, covariances "
            f"{covariance1.shape}, {covariance2.shape}"
        )
    cross = _factor(covariance1).T @ _factor(covariance2)
    shift = mean1 - mean2
    spread = np.trace(covariance1) + np.trace(covariance2) - 2.0 * _nuclear_norm(cross)
    return float(shift @ shift + spread)


def fid(features1: Features, features2: Features) -> float:
    """Return the Frechet distance of the Gaussians fitted to two sets of features.

    The same number as `frechet_distance` of their means and (N - 1) covariances, without forming
    them: for centred features X and Y, Tr sqrt(C1 C2) is the sum of the singular values of
    X Y^T / sqrt((N1 - 1)(N2 - 1)).

    Args:
        features1: (N1, D), N1 of 2 or more.
        features2: (N2, D), N2 of 2 or more.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    features1, features2 = _pair(features1, features2)
    shift = features1.mean(axis=0) - features2.mean(axis=0)
    spread1, spread2 = _scaled(features1), _scaled(features2)
    total = np.square(spread1).sum() + np.square(spread2).sum()
    cross = _nuclear_norm(_reduced(spread1) @ _reduced(spread2).T)
    return float(shift @ shift + total - 2.0 * cross)


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
    those that clean-fid draws after `numpy.random.seed(seed)`.

    Args:
        features1: (N1, D), N1 of 2 or more.
        features2: (N2, D), N2 of 2 or more.
        subsets: how many.
        subset_size: pictures a subset; fewer where a set has fewer.
        seed: of the draws.

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

    Args:
        features1: (N1, D).
        features2: (N2, D).
        draws: rows of each set, without repetition, at least 2.
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

    Args:
        features1: (N1, D), N1 of 2 or more.
        features2: (N2, D), N2 of 2 or more.

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
    """Yield blocks of the kernel matrix (x.y / D + 1)^3, with their places among N1 and N2."""
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
    """Yield rows in float64, with their place, a bounded number in memory at a time.

    Those that lie on disk are read, not mapped: what was mapped would count as memory.

    Args:
        features: (N, D).
        size: rows at once.

    Raises:
        ValueError: one is not finite.
    """
    count, width = features.shape
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        if isinstance(features, np.memmap) and isinstance(features.base, mmap.mmap):
            at = features.offset + start * width * features.itemsize
            length = (rows.stop - start) * width
            block = np.fromfile(features.filename, features.dtype, length, offset=at)
        else:
            block = features[rows]
        yield rows, np.asarray(_checked(block.reshape(-1, width)), dtype=np.float64)


def _pair(features1: Features, features2: Features) -> tuple[Features, Features]:
    features1, features2 = _checked(features1), _checked(features2)
    _check_pair(features1, features2)
    return features1, features2


def _check_pair(features1: Features, features2: Features) -> None:
    for features in (features1, features2):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features of shape {features.shape}: (N, D) with N >= 2 is needed")
    if features1.shape[1] != features2.shape[1]:
        raise ValueError(f"features of {features1.shape[1]} and of {features2.shape[1]} numbers")


def _checked(values: Features) -> Features:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a feature, mean or covariance is not a finite number")
    return values


def _factor(covariance: Features) -> Features:
    """Return F, (D, R), with covariance = F F^T, R its numerical rank."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    # Below this an eigenvalue is rounding; its square root would not be small.
    is_kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    factor: Features = vectors[:, is_kept] * np.sqrt(values[is_kept])
    return factor


def _scaled(features: Features) -> Features:
    scaled: Features = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return scaled


def _reduced(features: Features) -> Features:
    """Return at most D rows with the same Gram matrix of columns, (min(N, D), D)."""
    if len(features) <= features.shape[1]:
        return features
    rows: Features = np.linalg.qr(features).R
    return rows


def _nuclear_norm(matrix: Features) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False).sum()) if matrix.size else 0.0
