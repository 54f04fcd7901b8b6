"""Finds groups of equal and nearly equal pictures without comparing all with all.

Two hashes of 128 bits that differ in at most 7 bits agree in at least one of their eight parts of
16 bits, so only pictures that share such a part are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2icli.datasets.fingerprints import HASH_BYTES, Print

MAX_BITS = 7  # of 128, for nearly equal pictures
MAX_DIFFERENCE = 6.0  # mean difference of the thumbnails, of 255
_BANDS = MAX_BITS + 1
_WINDOW = 512  # pictures compared with each in a crowded bucket


@dataclass(frozen=True)
class Group:
    """Pictures that look the same: all with equal pixels, or nearly equal."""

    is_exact: bool
    prints: tuple[Print, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the data set that they lie in, sorted."""
        return tuple(sorted({one.part for one in self.prints}))


def find_groups(prints: Sequence[Print]) -> list[Group]:
    """Return groups of two and more pictures, exact ones first, in the order of their paths.

    A picture with exact copies takes part in the search for near ones with its first copy, and a
    near group then lists all of them.
    """
    readable = sorted((one for one in prints if one.error is None), key=lambda p: p.path)
    by_pixels: dict[bytes, list[Print]] = defaultdict(list)
    for one in readable:
        by_pixels[one.pixels].append(one)
    exact = [Group(True, tuple(copies)) for copies in by_pixels.values() if len(copies) > 1]
    firsts = [copies[0] for copies in by_pixels.values()]
    near = [
        Group(False, tuple(copy for one in members for copy in by_pixels[one.pixels]))
        for members in _near_groups(firsts)
    ]
    return exact + near


def _near_groups(prints: Sequence[Print]) -> list[list[Print]]:
    if len(prints) < 2:
        return []
    looks = _stack(prints, "look", HASH_BYTES)
    thumbnails = _stack(prints, "thumbnail", len(prints[0].thumbnail)).astype(np.int16)
    parents = np.arange(len(prints))
    for band in range(_BANDS):
        _join_band(looks, thumbnails, parents, band)
    groups: dict[int, list[Print]] = defaultdict(list)
    for index, one in enumerate(prints):
        groups[_root(parents, index)].append(one)
    return [members for members in groups.values() if len(members) > 1]


def _stack(prints: Sequence[Print], name: str, width: int) -> NDArray[np.uint8]:
    data = b"".join(getattr(one, name) for one in prints)
    return np.frombuffer(data, np.uint8).reshape(len(prints), width)


def _join_band(
    looks: NDArray[np.uint8], thumbnails: NDArray[np.int16], parents: NDArray[np.int64], band: int
) -> None:
    width = HASH_BYTES // _BANDS
    keys = looks[:, band * width : (band + 1) * width].astype(np.int64)
    values = keys[:, 0] * 256 + keys[:, 1]
    # Within a bucket by brightness: in a crowded one only neighbours are compared.
    order = np.lexsort((thumbnails.sum(axis=1, dtype=np.int64), values))
    starts = np.flatnonzero(np.diff(values[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        bucket = order[start:end]
        for position in range(len(bucket) - 1):
            others = bucket[position + 1 : position + 1 + _WINDOW]
            for other in others[_alike(looks, thumbnails, bucket[position], others)]:
                _join(parents, int(bucket[position]), int(other))


def _alike(
    looks: NDArray[np.uint8], thumbnails: NDArray[np.int16], one: int, others: NDArray[np.int64]
) -> NDArray[np.bool_]:
    bits = _BIT_COUNTS[looks[others] ^ looks[one]].sum(axis=1)
    near: NDArray[np.bool_] = bits <= MAX_BITS
    if near.any():
        candidates = np.flatnonzero(near)
        gaps = np.abs(thumbnails[others[candidates]] - thumbnails[one]).mean(axis=1)
        near[candidates] = gaps <= MAX_DIFFERENCE
    return near


_BIT_COUNTS = np.array([value.bit_count() for value in range(256)], np.uint8)


def _root(parents: NDArray[np.int64], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index


def _join(parents: NDArray[np.int64], one: int, other: int) -> None:
    first, second = sorted((_root(parents, one), _root(parents, other)))
    parents[second] = first
