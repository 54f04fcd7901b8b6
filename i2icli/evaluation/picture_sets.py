"""What must be said of a set of pictures beside a number: how many, which formats, which sizes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from i2icli.data.decode import open_picture
from i2icli.data.download import file_sha256
from i2icli.data.folders import list_pictures
from i2icli.errors import DataError

_NAMED = 5  # broken files that an error names


@dataclass(frozen=True)
class SetFacts:
    """Facts of a set of pictures.

    Attributes:
        count: pictures.
        formats: of their contents, in Pillow's words, the most frequent first: "JPEG", or
            "JPEG 138, PNG 2".
        sizes: as stored, "256x256", or "178x218 to 256x256 (3 sizes)".
        digest: SHA-256 over the contents of all files in their order.
    """

    count: int
    formats: str
    sizes: str
    digest: str


def find_set(folder: Path) -> tuple[Path, ...]:
    """Return the pictures of a folder, at any depth, sorted.

    Raises:
        DataError: there is no folder, or nothing in it.
    """
    paths = tuple(list_pictures(folder))
    if not paths:
        raise DataError(f"no pictures in {folder}: nothing can be measured.")
    return paths


def describe_set(paths: Sequence[Path]) -> SetFacts:
    """Read the headers and hash the contents of pictures.

    Raises:
        DataError: naming those that cannot be read.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(_look, paths))
    broken = [entry for entry in seen if isinstance(entry, DataError)]
    if broken:
        raise broken_pictures(broken, len(paths))
    found = [entry for entry in seen if not isinstance(entry, DataError)]
    total = hashlib.sha256()
    for _, _, content in found:
        total.update(bytes.fromhex(content))
    return SetFacts(
        count=len(found),
        formats=_formats(Counter(name for name, _, _ in found)),
        sizes=_sizes({size for _, size, _ in found}),
        digest=total.hexdigest(),
    )


def broken_pictures(faults: Sequence[Exception], count: int) -> DataError:
    """Return the error for pictures that cannot be measured, the first of them named."""
    shown = "; ".join(str(fault).rstrip(".") for fault in faults[:_NAMED])
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return DataError(
        f"{len(faults)} of {count} pictures cannot be read, and no number leaves pictures out "
        f"silently: {shown}{more}. Repair or remove them, then measure again."
    )


def _look(path: Path) -> tuple[str, tuple[int, int], str] | DataError:
    try:
        with open_picture(path) as image:
            name = "JPEG" if image.format == "MPO" else str(image.format)
            return name, image.size, file_sha256(path)
    except DataError as fault:
        return fault


def _formats(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _sizes(sizes: set[tuple[int, int]]) -> str:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    words = [f"{width}x{height}" for width, height in ordered]
    if len(words) == 1:
        return words[0]
    return f"{words[0]} to {words[-1]} ({len(words)} sizes)"
