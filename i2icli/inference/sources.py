"""Find the pictures that a command line names: a file, a folder, a pattern or a list."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.data.decode import SUFFIXES
from i2icli.data.folders import list_pictures
from i2icli.errors import ConfigError, DataError

_MAGIC = frozenset("*?[")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class Source:
    """One picture to read.

    Attributes:
        path: where it is.
        relative: its place below what the user named, which its output mirrors.
    """

    path: Path
    relative: Path


def find_sources(named: str, *, lines: Sequence[str] = (), out: Path | None = None) -> list[Source]:
    """Return the pictures that `named` stands for, in a fixed order, each once.

    Args:
        named: a picture; a folder, searched at any depth; a pattern with `*`, `?`, `[...]` and
            `**`; a text file (.txt) with one path a line; or `-` for `lines`.
        lines: the lines of standard input, for `-`.
        out: a folder whose content is left out of folders and patterns: earlier results.

    Returns:
        The pictures. Those of a folder or pattern exist and end in a known suffix; a file or
        the entries of a list are returned as they are named.

    Raises:
        ConfigError: if `named` does not exist.
        DataError: if there is no picture.
    """
    path = Path(named).expanduser()
    if named == "-":
        sources = _listed(lines)
    elif path.is_dir():
        sources = _placed(list_pictures(path), path, skipped=out)
    elif path.is_file():
        sources = _listed(_read_list(path)) if is_list(path) else [Source(path, Path(path.name))]
    elif _MAGIC & set(named):
        sources = _matching(path, skipped=out)
    else:
        raise ConfigError(
            f"{named} does not exist: give a picture, a folder, a quoted pattern or -."
        )
    if not sources:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"no pictures in {named}: expected files ending in {kinds}.")
    return sources


def find_shards(named: str, *, out: Path | None = None) -> list[Path] | None:
    """Return the tar shards that `named` stands for, sorted by name; None where it means pictures.

    Args:
        named: a .tar file; a folder that holds such; a pattern that ends in .tar, with `*`, `?`,
            `[...]` and `**`; or one with ranges, `shard-{000000..000099}.tar`.
        out: where results go; must not be the folder of a shard.

    Raises:
        ConfigError: if a shard is missing, two have one name, a folder holds shards and
            pictures, or `out` is where a shard is.
        DataError: if a pattern matches nothing.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        shards = _shards_inside(path)
    elif path.suffix.lower() != ".tar":
        return None
    elif path.is_file() or not (_MAGIC & set(named) or _RANGE.search(named)):
        shards = [path]
    else:
        texts = _ranged(str(path))
        shards = [Path(name) for text in texts for name in _globbed(text)]
    if shards:
        _check_shards(shards, out)
    return sorted(shards, key=lambda shard: shard.name) or None


def _shards_inside(folder: Path) -> list[Path]:
    """Return the shards directly inside a folder, which must not hold pictures beside them."""
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    shards = [folder / name for name in names if name.lower().endswith(".tar")]
    picture = next((name for name in names if is_picture(Path(name))), None)
    if shards and picture:
        raise ConfigError(
            f"{folder} holds shards and pictures ({shards[0].name}, {picture}): give a pattern, "
            f"'{folder}/*.tar' or '{folder}/*{Path(picture).suffix}'."
        )
    return shards


def _ranged(text: str) -> list[str]:
    """Write out the ranges of numbers in a pattern; leading zeros count."""
    match = _RANGE.search(text)
    if match is None:
        return [text]
    first, last = match.groups()
    if int(first) > int(last):
        raise ConfigError(f"{match[0]} in {text} runs backwards: give the smaller number first.")
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    numbers = (f"{number:0{width}d}" for number in range(int(first), int(last) + 1))
    head, tail = text[: match.start()], text[match.end() :]
    return [rest for number in numbers for rest in _ranged(f"{head}{number}{tail}")]


def _globbed(text: str) -> list[str]:
    if not _MAGIC & set(text):
        return [text]
    found = glob.glob(text, recursive=True)
    if not found:
        raise DataError(f"no shards match {text}.")
    return found


def _check_shards(shards: Sequence[Path], out: Path | None) -> None:
    names: dict[str, Path] = {}
    for shard in shards:
        if not shard.is_file():
            raise ConfigError(f"the shard {shard} does not exist.")
        if out is not None and out.is_dir() and out.samefile(shard.parent):
            raise ConfigError(f"OUT is the folder of {shard}: give another one.")
        other = names.setdefault(shard.name.casefold(), shard)
        if other is not shard:
            raise ConfigError(f"{other} and {shard} have one name, and so would their results.")


def is_list(path: Path) -> bool:
    """Say whether a file is taken for a list of paths."""
    return path.suffix.lower() == ".txt"


def is_picture(path: Path) -> bool:
    """Say whether the name ends in a suffix of a picture."""
    return path.suffix.lower() in SUFFIXES


def _read_list(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a list of paths: it is not UTF-8 text.") from None


def _listed(lines: Sequence[str]) -> list[Source]:
    """Return the named files, placed below the deepest folder that holds them all."""
    paths = list(dict.fromkeys(Path(line.strip()).expanduser() for line in lines if line.strip()))
    if not paths:
        return []
    absolute = [Path(os.path.abspath(path)) for path in paths]
    try:
        base = Path(os.path.commonpath([path.parent for path in absolute]))
    except ValueError:  # on Windows, paths on different drives
        return [Source(path, Path(path.name)) for path in paths]
    return [Source(p, a.relative_to(base)) for p, a in zip(paths, absolute, strict=True)]


def _matching(pattern: Path, *, skipped: Path | None) -> list[Source]:
    """Return the pictures that a pattern matches, placed below its part without wildcards."""
    fixed = next(i for i, part in enumerate(pattern.parts) if _MAGIC & set(part))
    base = Path(*pattern.parts[:fixed])
    found = set(_expand(base, pattern.parts[fixed:])) if base.is_dir() else set()
    return _placed(sorted(found), base, skipped=skipped)


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Yield the pictures below `folder` that match."""
    head, rest = parts[0], parts[1:]
    if head == "**":
        for path in list_pictures(folder):
            if _is_match(path.relative_to(folder).parts, parts):
                yield path
        return
    for child in sorted(folder.iterdir()):
        if child.name.startswith(".") or not fnmatch.fnmatchcase(child.name, head):
            continue
        if rest and child.is_dir():
            yield from _expand(child, rest)
        elif not rest and is_picture(child) and not child.is_dir():
            yield child


def _is_match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not parts or not pattern:
        return not parts and not pattern
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return any(_is_match(parts[i:], rest) for i in range(len(parts)))
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _is_match(parts[1:], pattern[1:])


def _placed(paths: Sequence[Path], base: Path, *, skipped: Path | None) -> list[Source]:
    """Return the pictures with their places below `base`, without those inside `skipped`."""
    inner = skipped.resolve() if skipped else None
    is_inside: dict[Path, bool] = {}
    for folder in {path.parent for path in paths}:
        is_inside[folder] = inner is not None and folder.resolve().is_relative_to(inner)
    return [Source(p, p.relative_to(base)) for p in paths if not is_inside[p.parent]]


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from others, whatever path leads to it; None where it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
