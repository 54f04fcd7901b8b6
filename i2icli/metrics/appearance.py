"""What a picture looks like in a few numbers: thumbnails, contrast at the ends, regular patterns.

Pictures are (H, W, C), 8 or 16 bits, C 1 or 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2icli.pictures.images import Pixels

Plane = NDArray[np.float64]

_SIDE = 16  # of a thumbnail, pixels
_LEVEL = 1 / 255
_NEAR, _FAR = 2, 8  # a peak's surroundings, in frequency bins from it
_PEAK = np.outer((1, 4, 1), (1, 4, 1)) / 36  # how the window spreads one frequency
_SMALLEST = 32  # the side that a spectrum needs, pixels
_MOST_SPREAD = 64  # pictures whose distances are averaged


@dataclass(frozen=True)
class References:
    """Real pictures of a domain, as far as translations are compared with them.

    Attributes:
        thumbnails: luminance without its mean, (N, 256).
        spacing: median distance of a thumbnail to its nearest other one, mirrored or not;
            infinite for fewer than two.
        spread: mean distance between two of the pictures; None for fewer than two.
        saturated: share of the values that are black or white.
    """

    thumbnails: Plane
    spacing: float
    spread: float | None
    saturated: float


def describe_references(pictures: Iterable[Pixels]) -> References:
    """Take in real pictures, one after the other; none of them is kept."""
    thumbnails, colours, shares = [], [], []
    for pixels in pictures:
        thumbnails.append(_embedding(pixels))
        colours.append(_colours(pixels))
        shares.append(saturated_share(pixels))
    embedded = np.array(thumbnails).reshape(-1, _SIDE * _SIDE)
    every = -(-len(colours) // _MOST_SPREAD) if colours else 1
    return References(
        thumbnails=embedded,
        spacing=_spacing(embedded),
        spread=_mean_distance(colours[::every]),
        saturated=float(np.mean(shares)) if shares else 0.0,
    )


def luminance(pixels: Pixels) -> Plane:
    """Return luminance in [0, 1], (H, W) (ITU-R 601)."""
    values = _unit(pixels)
    if values.shape[2] == 1:
        return values[..., 0]
    weighted: Plane = values @ np.array([0.299, 0.587, 0.114])
    return weighted


def thumbnail(plane: Plane, side: int) -> Plane:
    """Return means over the cells of a `side` x `side` grid."""
    image = Image.fromarray(plane.astype(np.float32))
    small = image.resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


def spread(pictures: Sequence[Pixels]) -> float | None:
    """Return the mean distance between two of the pictures in [0, 1]; None for fewer than two."""
    return _mean_distance([_colours(pixels) for pixels in pictures])


def saturated_share(pixels: Pixels) -> float:
    """Return the share of the values within one 8-bit level of black or white."""
    # In whole numbers: this runs over every reference picture.
    top = int(np.iinfo(pixels.dtype).max)
    level = top // 255
    return float(((pixels <= level) | (pixels >= top - level)).mean())


def nearest_distances(pictures: Sequence[Pixels], references: References) -> Plane:
    """Return the distance of each picture to its nearest reference, mirrored or not, (N,)."""
    found = np.array([_embedding(pixels) for pixels in pictures])
    both = np.concatenate([references.thumbnails, _mirrored(references.thumbnails)])
    nearest: Plane = _distances(found, both).min(axis=1)
    return nearest


def pattern_strength(pixels: Pixels) -> float | None:
    """Return the strength of patterns of period 2 or 4 pixels in the spectrum of luminance.

    About 1 to 5 for photographs; None for pictures under 32 pixels. Patterns fainter than one
    8-bit level count for nothing.
    """
    plane = luminance(pixels)
    height, width = (side // 4 * 4 for side in plane.shape)
    if min(height, width) < _SMALLEST:
        return None
    plane = plane[:height, :width]
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    # What rounding to 8 bits gives everywhere; a flat picture has no other surroundings.
    floor = _LEVEL**2 / 12 * float((window**2).sum())
    strongest = 0.0
    for row in (0, height // 4, height // 2):
        for column in (0, width // 4, width // 2, 3 * width // 4):
            if row == column == 0 or (row == 0 and column == 3 * width // 4):
                continue
            around = np.roll(power, (_FAR - row, _FAR - column), axis=(0, 1))
            around = around[: 2 * _FAR + 1, : 2 * _FAR + 1]
            amplitude = 2 * float(np.sqrt(around[_FAR, _FAR])) / float(window.sum())
            if amplitude >= _LEVEL:
                strongest = max(strongest, _ratio(around, floor))
    return strongest


def _ratio(around: Plane, floor: float) -> float:
    # The power in the middle of a square of the spectrum, over the median power around it: over the
    # square, the row and the column, whichever has most, since pictures are strong along the axes.
    middle = slice(_FAR - 1, _FAR + 2)
    outer = np.ones(around.shape[0], dtype=bool)
    outer[_FAR - _NEAR : _FAR + _NEAR + 1] = False
    far = outer[:, None] | outer[None, :]
    surroundings = (around[far], around[outer, _FAR], around[_FAR, outer])
    background = max(float(np.median(part)) for part in surroundings)
    peak = float((around[middle, middle] * _PEAK).sum())
    return peak / (background + floor)


def _unit(pixels: Pixels) -> Plane:
    values = pixels if pixels.ndim == 3 else pixels[..., None]
    return values.astype(np.float64) / np.iinfo(pixels.dtype).max


def _colours(pixels: Pixels) -> Plane:
    values = _unit(pixels)
    planes = [thumbnail(values[..., i], _SIDE).ravel() for i in range(values.shape[2])]
    return np.concatenate(planes if len(planes) == 3 else planes * 3)


def _embedding(pixels: Pixels) -> Plane:
    small = thumbnail(luminance(pixels), _SIDE).ravel()
    centred: Plane = small - small.mean()
    return centred


def _mirrored(thumbnails: Plane) -> Plane:
    return thumbnails.reshape(-1, _SIDE, _SIDE)[..., ::-1].reshape(-1, _SIDE * _SIDE)


def _distances(one: Plane, two: Plane) -> Plane:
    # root mean square, (N, M)
    squares = (one**2).sum(axis=1)[:, None] + (two**2).sum(axis=1) - 2 * one @ two.T
    distances: Plane = np.sqrt(np.maximum(squares, 0) / one.shape[1])
    return distances


def _spacing(thumbnails: Plane) -> float:
    if len(thumbnails) < 2:
        return float("inf")
    distances = np.minimum(
        _distances(thumbnails, thumbnails), _distances(thumbnails, _mirrored(thumbnails))
    )
    np.fill_diagonal(distances, np.inf)
    # Not 0 where most pictures are there twice: a translation as near as rounding is a copy then.
    return max(float(np.median(distances.min(axis=1))), _LEVEL)


def _mean_distance(vectors: Sequence[Plane]) -> float | None:
    if len(vectors) < 2:
        return None
    distances = _distances(np.array(vectors), np.array(vectors))
    return float(distances[np.triu_indices(len(vectors), 1)].mean())
