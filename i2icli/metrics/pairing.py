"""Which picture of one folder belongs to which of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from i2icli.errors import DataError
from i2icli.metrics.picture_sets import describe_set
from i2icli.metrics.results import Fact
from i2icli.pictures.listing import list_pictures
from i2icli.pictures.tar_sets import find_shards

_SHOWN = 3


class Pair(NamedTuple):
    """Two pictures of one name.

    Attributes:
        name: path below either folder, without suffix.
        first: the picture in the first folder.
        second: its partner in the second.
    """

    name: str
    first: Path
    second: Path


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """Map the names of a folder's pictures, with subfolder and without suffix, to their paths.

    Raises:
        DataError: the folder is missing or holds no pictures, or two that differ in suffix alone.
    """
    refuse_shards(folder)
    found: dict[str, Path] = {}
    for path in list_pictures(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError(
                f"{folder} holds both {found[stem].name} and {path.name}: pictures are matched by "
                "their names without suffix, so keep one of them."
            )
        found[stem] = path
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


def match_folders(first: Path, second: Path) -> list[Pair]:
    """Pair the pictures of two folders by name; suffixes may differ, subfolders count.

    Raises:
        DataError: a folder has no pictures, or a picture has no partner: a mean over the others
            would be another number than asked for.
    """
    ours, theirs = pictures_by_stem(first), pictures_by_stem(second)
    for here, there, folders in ((ours, theirs, (first, second)), (theirs, ours, (second, first))):
        alone = [name for name in here if name not in there]
        if alone:
            raise DataError(_missing(alone, len(here), folders, next(iter(there))))
    return [Pair(name, path, theirs[name]) for name, path in sorted(ours.items())]


def pair_facts(pairs: Sequence[Pair], first: str, second: str) -> dict[str, Fact]:
    """Return what of the files changes a number: `size` (of the first), `<role>_format` of each.

    Args:
        pairs: one or more.
        first: role of the first pictures, for example "input".
        second: role of their partners.

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
