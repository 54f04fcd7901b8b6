"""Find the tar shards that a command line names: one, a folder of them, a pattern or a range."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import SUFFIXES

_MAGIC = frozenset("*?[")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


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
    picture = next((name for name in names if Path(name).suffix.lower() in SUFFIXES), None)
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
