"""What must be said of a set of pictures beside a number: how many, which formats, which sizes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import DataError
from i2icli.pictures.decode import open_picture
from i2icli.pictures.listing import list_pictures
from i2icli.pictures.tar_sets import PackedPicture, find_shards, index_shards
from i2icli.system.download import file_sha256

_NAMED = 5  # broken files that an error names
_AT_ONCE = 1024  # pictures that are looked at before their number is taken in

AnyPicture = Path | PackedPicture  # a file, or one inside a shard


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


def find_set(named: Path) -> tuple[AnyPicture, ...]:
    """Return the pictures of a folder, at any depth, sorted; or those of shards, in their order.

    Args:
        named: a folder of pictures; or, as for `shard_sets.find_shards`, a shard, a folder that
            holds shards, a pattern or a range.

    Raises:
        ConfigError: a shard is missing, or a folder holds shards and pictures.
        DataError: there is no folder, nothing in it, or a shard is damaged.
    """
    shards = find_shards(str(named))
    pictures = tuple(list_pictures(named)) if shards is None else index_shards(shards)
    if not pictures:
        raise DataError(f"no pictures in {named}: nothing can be measured.")
    return pictures


def check_set(named: Path) -> None:
    """Refuse what `find_set` would, but for what is inside shards.

    Raises:
        ConfigError: as `find_set`.
        DataError: as `find_set`.
    """
    if find_shards(str(named)) is None:
        find_set(named)


def describe_set(pictures: Sequence[AnyPicture]) -> SetFacts:
    """Read the headers and hash the contents of pictures.

    Raises:
        DataError: naming those that cannot be read.
    """
    broken: list[DataError] = []
    formats: Counter[str] = Counter()
    sizes: set[tuple[int, int]] = set()
    total = hashlib.sha256()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(pictures), _AT_ONCE):
            for seen in pool.map(_look, pictures[start : start + _AT_ONCE]):
                if isinstance(seen, DataError):
                    broken.append(seen)
                    continue
                name, size, content = seen
                formats[name] += 1
                sizes.add(size)
                total.update(bytes.fromhex(content))
    if broken:
        raise broken_pictures(broken, len(pictures))
    return SetFacts(len(pictures), _formats(formats), _sizes(sizes), total.hexdigest())


def broken_pictures(faults: Sequence[Exception], count: int) -> DataError:
    """Return the error for pictures that cannot be measured, the first of them named."""
    shown = "; ".join(str(fault).rstrip(".") for fault in faults[:_NAMED])
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return DataError(
        f"{len(faults)} of {count} pictures cannot be read, and no number leaves pictures out "
        f"silently: {shown}{more}. Repair or remove them, then measure again."
    )


def _look(picture: AnyPicture) -> tuple[str, tuple[int, int], str] | DataError:
    try:
        path, content = contents_of(picture)
        with open_picture(path, content) as image:
            name = "JPEG" if image.format == "MPO" else str(image.format)
            digest = file_sha256(path) if content is None else hashlib.sha256(content).hexdigest()
            return name, image.size, digest
    except DataError as fault:
        return fault


def contents_of(picture: AnyPicture) -> tuple[Path, bytes | None]:
    """Return where a picture is and, of one inside a shard, its bytes: what readers ask for.

    Raises:
        DataError: the shard cannot be read.
    """
    return (picture, None) if isinstance(picture, Path) else (picture.path, picture.content())


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
