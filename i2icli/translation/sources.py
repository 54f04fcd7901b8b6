"""Find the pictures that a command line names: a file, a folder, a pattern or a list."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.listing import WILDCARDS, list_pictures, split_pattern

_BYTE_ORDER_MARK = "\ufeff"  # as standard input, which is decoded before it comes here, has it


@dataclass(frozen=True)
class Source:
    """One picture to read."""

    path: Path
    relative: Path  # its path below what the user named, which its output mirrors


def find_sources(named: str, *, lines: Sequence[str] = (), out: Path | None = None) -> list[Source]:
    """Return the pictures that `named` stands for, in a fixed order, each once.

    Args:
        named: a picture; a folder, searched at any depth; a pattern with `*`, `?`, `[...]` and
            `**`, whose brackets are part of a name where there is one; a text file (.txt) with one
            path a line; or `-` for `lines`.
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
        sources = _relative_to(list_pictures(path), path, skipped=out)
    elif path.is_file():
        sources = _listed(_read_list(path)) if is_list(path) else [Source(path, Path(path.name))]
    elif WILDCARDS & set(named):
        sources = _matching(path, skipped=out)
    else:
        raise ConfigError(
            f"{named} does not exist: give a picture, a folder, a quoted pattern or -."
        )
    if not sources:
        kinds = ", ".join(sorted(SUFFIXES))
        raise DataError(f"no pictures in {named}: expected files ending in {kinds}.")
    return sources


def is_list(path: Path) -> bool:
    """Say whether a file is taken for a list of paths."""
    return path.suffix.lower() == ".txt"


def is_picture(path: Path) -> bool:
    """Say whether the name ends in a suffix of a picture."""
    return path.suffix.lower() in SUFFIXES


def _read_list(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not a list of paths: it is not UTF-8 text.") from None


def _listed(lines: Sequence[str]) -> list[Source]:
    # Relative to the deepest folder that holds them all.
    texts = [line.strip().removeprefix(_BYTE_ORDER_MARK) for line in lines]
    paths = list(dict.fromkeys(Path(text).expanduser() for text in texts if text))
    if not paths:
        return []
    absolute = [Path(os.path.abspath(path)) for path in paths]
    try:
        base = Path(os.path.commonpath([path.parent for path in absolute]))
    except ValueError:  # on Windows, paths on different drives
        return [Source(path, Path(path.name)) for path in paths]
    return [Source(p, a.relative_to(base)) for p, a in zip(paths, absolute, strict=True)]


def _matching(pattern: Path, *, skipped: Path | None) -> list[Source]:
    base, parts = split_pattern(pattern)
    files = set(_expand(base, parts)) if base.is_dir() else set()
    return _relative_to(sorted(files), base, skipped=skipped)


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    head, rest = parts[0], parts[1:]
    if head == "**":
        paths = list_pictures(folder)
        for pattern in ([_literal(part) for part in parts], parts):
            if found := [p for p in paths if _is_match(p.relative_to(folder).parts, pattern)]:
                yield from found
                break
        return
    children = [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    named = [child for child in children if fnmatch.fnmatchcase(child.name, _literal(head))]
    for child in named or [c for c in children if fnmatch.fnmatchcase(c.name, head)]:
        if rest and child.is_dir():
            yield from _expand(child, rest)
        elif not rest and is_picture(child) and not child.is_dir():
            yield child


def _literal(pattern: str) -> str:
    """Return a pattern whose brackets stand for themselves."""
    return pattern.replace("[", "[[]")


def _is_match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not parts or not pattern:
        return not parts and not pattern
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return any(_is_match(parts[i:], rest) for i in range(len(parts)))
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _is_match(parts[1:], pattern[1:])


def _relative_to(paths: Sequence[Path], base: Path, *, skipped: Path | None) -> list[Source]:
    inner = skipped.resolve() if skipped else None
    is_inside: dict[Path, bool] = {}
    for folder in {path.parent for path in paths}:
        is_inside[folder] = inner is not None and folder.resolve().is_relative_to(inner)
    return [Source(p, p.relative_to(base)) for p in paths if not is_inside[p.parent]]


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, the same for every path to it; None where missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)
