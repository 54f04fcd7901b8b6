"""The pictures below a folder; of many, kept on disk until a folder changes.

Every change of what a folder holds changes its times, so a kept listing is good as long as all
folders have theirs. Listings are kept of trees without links only (what a link leads to can change
alone) and not while a folder's times are so young that a change in the same tick could be missed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from i2icli.errors import DataError
from i2icli.home import home
from i2icli.pictures.decode import SUFFIXES
from i2icli.system.files import write_whole

T = TypeVar("T")
WILDCARDS = frozenset("*?[")
_FORMAT = 1  # raised when other names are listed
_WORTH_KEEPING = 2000
# The coarsest clock of a file system in use (FAT) has ticks of two seconds.
_YOUNG_SECONDS = 3.0

# Device, number, and times of change of a folder: of its content, and of anything.
Stamp = tuple[int, int, int, int]


@dataclass
class _Scan:
    names: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    entered: set[tuple[int, int]] = field(default_factory=set)
    has_links: bool = False


def list_names(folder: Path) -> list[str]:
    """List the pictures below a folder, as `list_pictures` does: paths with `/`, sorted.

    Raises:
        DataError: when a folder is not readable.
    """
    directory = os.path.abspath(folder)
    if (kept := _load(directory)) is not None:
        return kept
    started = time.time()
    scan = _scan(str(folder))
    scan.names.sort()
    youngest = max((max(stamp[2:]) for stamp in scan.stamps.values()), default=0) / 1e9
    is_settled = youngest < started - _YOUNG_SECONDS
    if len(scan.names) >= _WORTH_KEEPING and is_settled and not scan.has_links:
        _store(directory, scan)
    return scan.names


def _scan(top: str) -> _Scan:
    scan = _Scan()
    waiting = deque([""])
    while waiting:
        # Links wait until all real folders are done: a picture is listed under its own name.
        links: list[str] = []
        while waiting:
            _scan_one(top, waiting.popleft(), scan, waiting, links)
        waiting.extend(links)
    return scan


def _scan_one(top: str, below: str, scan: _Scan, folders: deque[str], links: list[str]) -> None:
    # `below` is empty for `top`, and else ends in `/`.
    directory = os.path.join(top, below) if below else top
    try:
        # Before its content is read: a change in between then shows.
        stamp = _stamp(directory)
        if stamp[:2] in scan.entered:
            return
        scan.entered.add(stamp[:2])
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"cannot read the folder {Path(directory)}: {error.strerror or error}"
        ) from error
    scan.stamps[below] = stamp
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        is_link = entry.is_symlink()
        scan.has_links |= is_link
        if _is_folder(entry):
            (links if is_link else folders).append(f"{below}{name}/")
        elif name[name.rfind(".") :].lower() in SUFFIXES:
            scan.names.append(below + name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _stamp(folder: str) -> Stamp:
    status = os.stat(folder)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _load(directory: str) -> list[str] | None:
    try:
        digest, body = _path(directory).read_bytes().split(b"\n", 1)
        if digest != hashlib.sha256(body).hexdigest().encode():
            return None
        kept: dict[str, Any] = json.loads(body)
        if kept["format"] != _FORMAT or kept["folder"] != directory:
            return None
        for below, stamp in kept["stamps"].items():
            if _stamp(os.path.join(directory, below)) != tuple(stamp):
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    names: list[str] = kept["names"]
    return names


def _store(directory: str, scan: _Scan) -> None:
    # Several processes may do so at once. A full or read-only disk is no fault.
    kept = {"format": _FORMAT, "folder": directory, "stamps": scan.stamps, "names": scan.names}
    body = json.dumps(kept).encode()  # names that are not UTF-8 are escaped
    path = _path(directory)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
        write_whole(path, content, is_shared=True)


def _path(directory: str) -> Path:
    name = hashlib.sha256(directory.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return home() / "cache" / "listings" / f"{name}.json"


def evenly_spaced(items: Sequence[T], *, count: int) -> tuple[T, ...]:
    """Return `count` of the items, evenly spaced from the first to the last; all if fewer."""
    if len(items) <= count:
        return tuple(items)
    last = max(count - 1, 1)
    return tuple(items[round(index * (len(items) - 1) / last)] for index in range(count))


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures in a folder and the folders inside it, sorted.

    A picture is known by its suffix. Hidden files and folders are left out. Links are followed,
    but each folder is entered once, so links may loop. Links to nowhere are listed: whoever
    reads them says so.

    Returns:
        Paths that start with `folder`, in the order of their text below it.

    Raises:
        DataError: when the folder is missing, no folder or not readable.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise missing_folder(folder)
    return [folder / name for name in list_names(folder)]


def list_by_stem(folder: Path, *, matched: str = "pictures") -> dict[str, Path]:
    """Map names below a folder, with subfolder and without suffix, to its pictures, sorted.

    Args:
        folder: as for `list_pictures`.
        matched: what is matched by such names, in the words of the error.

    Raises:
        DataError: as `list_pictures`, or two pictures differ in suffix alone.
    """
    pictures: dict[str, Path] = {}
    for path in list_pictures(folder):
        other = pictures.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        if other is not path:
            raise DataError(
                f"{folder} holds both {other.name} and {path.name}: {matched} are matched by "
                "their names without suffix, so keep one of them."
            )
    return pictures


def missing_folder(folder: Path) -> DataError:
    """Return the error of a folder that is not there, with the one that may have been meant."""
    if folder.exists():
        return DataError(f"{folder} is a file, not a folder")
    parent = folder.parent
    near = nearest_folder(folder.name, parent) if parent.is_dir() else None
    hint = f"; did you mean {parent / near}?" if near else ""
    meant = {str(folder): str(parent / near)} if near else None
    return DataError(f"the folder {folder} does not exist{hint}", meant=meant)


def nearest_folder(name: str, parent: Path) -> str | None:
    """Return the folder in `parent` whose name is most like `name`, other parts left out."""
    taken = {"trainA", "trainB", "testA", "testB"}
    names = {found.lower(): found for found in folder_names(parent) if found not in taken}
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return names[close[0]] if close else None


def folder_names(parent: Path) -> list[str]:
    """Return the names of the folders in another, sorted; hidden ones left out."""
    return sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def split_pattern(pattern: Path) -> tuple[Path, list[str]]:
    """Return the folder below which a pattern searches, and its parts from there on.

    A folder that is there is a name, whatever characters it has: `holiday [2020]/*.png`.
    """
    base, parts = Path(), list(pattern.parts)
    while len(parts) > 1 and (not WILDCARDS & set(parts[0]) or (base / parts[0]).is_dir()):
        base /= parts.pop(0)
    return base, parts
