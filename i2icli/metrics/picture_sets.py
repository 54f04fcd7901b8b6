"""Sets of pictures to measure: which there are, what is said of them, and which belong together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from i2icli.errors import DataError
from i2icli.metrics.results import Fact
from i2icli.pictures.decode import open_picture
from i2icli.pictures.listing import list_by_stem, list_pictures
from i2icli.pictures.tar_sets import PackedPicture, find_shards, index_shards
from i2icli.system.cores import usable_cores
from i2icli.system.download import file_sha256

Batch = TypeVar("Batch")
Loaded = TypeVar("Loaded")

_NAMED = 5  # broken files that an error names
_SHOWN = 3  # pictures without partner that an error names
_AT_ONCE = 1024  # pictures that are looked at before their number is taken in
_PLAIN = 256 * 256  # pixels

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

    `named` is a folder of pictures; or, as for `tar_sets.find_shards`, a shard, a folder that
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
    """Refuse whatever `find_set` would, but for the insides of shards.

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
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
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
    """Return the path of a picture and, of one inside a shard, its bytes, as readers take them.

    Raises:
        DataError: the shard cannot be read.
    """
    return (picture, None) if isinstance(picture, Path) else (picture.path, picture.content())


def _formats(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))  # without its number, which is that of the set
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _sizes(sizes: set[tuple[int, int]]) -> str:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    words = [f"{width}x{height}" for width, height in ordered]
    if len(words) == 1:
        return words[0]
    return f"{words[0]} to {words[-1]} ({len(words)} sizes)"


class Pair(NamedTuple):
    """Two pictures of one name, which is their path below either folder, without suffix."""

    name: str
    first: Path
    second: Path


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """Map the names of a folder's pictures, with subfolder and without suffix, to their paths.

    Raises:
        DataError: the folder is missing or holds no pictures, or two that differ in suffix alone.
    """
    refuse_shards(folder)
    found = list_by_stem(folder)
    if not found:
        raise DataError(
            f"no pictures in {folder}: expected files such as .png or .jpg; "
            "check the path with `i2i data check`."
        )
    return found


def refuse_shards(named: Path) -> None:
    """Refuse shards where pictures are matched by their names.

    Raises:
        DataError: `named` stands for shards.
    """
    if find_shards(str(named)) is not None:
        raise DataError(
            f"{named} stands for shards, and those are measured by --fid and --kid alone: unpack "
            "them with tar for metrics that match pictures by their names."
        )


def match_folders(first: Path, second: Path, names: Collection[str] | None = None) -> list[Pair]:
    """Pair the pictures of two folders by name; suffixes may differ, subfolders count.

    Only `names`, without suffix, count; None: all.

    Raises:
        DataError: a folder has no pictures, or a picture has no partner: a mean over the others
            would be another number than asked for.
    """
    ours, theirs = (
        {name: path for name, path in found.items() if names is None or name in names}
        for found in (pictures_by_stem(first), pictures_by_stem(second))
    )
    for here, there, folders in ((ours, theirs, (first, second)), (theirs, ours, (second, first))):
        alone = [name for name in here if name not in there]
        if alone:
            raise DataError(_missing(alone, len(here), folders, next(iter(there))))
    return [Pair(name, path, theirs[name]) for name, path in sorted(ours.items())]


def pair_facts(pairs: Sequence[Pair], first: str, second: str) -> dict[str, Fact]:
    """Return the facts of files that change a number: `size` of the first, formats of both roles.

    Raises:
        DataError: naming the pictures that cannot be read.
    """
    ours = describe_set([pair.first for pair in pairs])
    theirs = describe_set([pair.second for pair in pairs])
    return {
        "size": ours.sizes,
        f"{first}_format": ours.formats,
        f"{second}_format": theirs.formats,
    }


def _missing(alone: list[str], count: int, folders: tuple[Path, Path], example: str) -> str:
    shown = ", ".join(alone[:_SHOWN]) + (", ..." if len(alone) > _SHOWN else "")
    return (
        f"{len(alone)} of {count} pictures in {folders[0]} have no partner of the same name in "
        f"{folders[1]}: {shown} (names there look like {example}). "
        "Translate or copy what is missing, or take out what has no partner."
    )


def load_ahead(
    batches: Sequence[Batch], load: Callable[[Batch], Loaded]
) -> Iterator[tuple[Batch, Loaded]]:
    """Yield each batch with its loaded form; the next one is loaded meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = [pool.submit(load, batch) for batch in batches[:1]]
        for number, batch in enumerate(batches):
            loaded = coming.pop().result()
            coming = [pool.submit(load, following) for following in batches[number + 1 :][:1]]
            yield batch, loaded


def batch_by_size(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Put pictures of one size together, in batches of positions in `sizes`, pixels.

    A batch holds `batch_size` at 256x256 at the most; fewer of larger pictures, so that memory
    stays as it is.
    """
    batches: list[list[int]] = []
    for size, group in groupby(sorted(range(len(sizes)), key=sizes.__getitem__), sizes.__getitem__):
        most = max(1, min(batch_size, batch_size * _PLAIN // (size[0] * size[1])))
        alike = list(group)
        batches += [alike[at : at + most] for at in range(0, len(alike), most)]
    return batches
