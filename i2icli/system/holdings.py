"""The content of `I2I_HOME`: what lies there, what for, and how it is freed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2icli.config.words import nearest
from i2icli.errors import ConfigError, I2IError
from i2icli.home import home

_IN_USE_SECONDS = 600.0  # parts of features that are younger may be another process' work


@dataclass(frozen=True)
class Holding:
    """One kind of content.

    Attributes:
        name: what it is called when it is to be removed.
        purpose: what it is good for.
        again: how it comes back once it is removed; empty where it does so by itself.
        folders: where it lies, files or folders below the home.
    """

    name: str
    purpose: str
    again: str
    folders: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """The files and folders that are there."""
        return [path for folder in self.folders if (path := home() / folder).exists()]

    def sizes(self) -> list[int]:
        """Return the sizes of its files, bytes."""
        return [size for path in self.paths for size in _sizes_below(path)]

    def as_document(self) -> dict[str, Any]:
        """Return it as plain values."""
        sizes = self.sizes()
        facts = {"name": self.name, "purpose": self.purpose, "again": self.again or None}
        paths = [str(path) for path in self.paths]
        return {**facts, "bytes": sum(sizes), "files": len(sizes), "paths": paths}


HOLDINGS = (
    Holding("features", "Inception features of pictures, for FID and KID", "", ("features",)),
    Holding("compiled", "kernels of compiled networks", "", ("cache/compiled",)),
    Holding("listings", "names of pictures in large folders", "", ("cache/listings",)),
    Holding("tensors", "tensors of weights, read from a slower file", "", ("cache/weights",)),
    Holding("trials", "the fastest settings of this machine", "", ("cache/trials.json",)),
    Holding("downloads", "downloads not finished yet", "", ("downloads",)),
    Holding(
        "datasets",
        "data sets that i2i made or downloaded",
        "by `i2i data get NAME`, `i2i data demo`",
        ("datasets",),
    ),
    Holding("weights", "pretrained weights", "by `i2i weights get NAME`", ("weights",)),
    Holding("zoo", "translators of your own", "by no command", ("zoo",)),
)
_BY_NAME = {holding.name: holding for holding in HOLDINGS}


def free(names: Sequence[str]) -> tuple[int, list[Path]]:
    """Remove kinds of content; of none named all that come back by themselves.

    Features that a process may be computing stay.

    Returns:
        The bytes that are free now, and what was left.

    Raises:
        ConfigError: no such name, or one that cannot come back.
        I2IError: something cannot be removed.
    """
    for name in names:
        if name not in _BY_NAME:
            meant = nearest(name, list(_BY_NAME))
            hint = f"did you mean {meant}?" if meant else f"use {', '.join(_BY_NAME)}."
            raise ConfigError(
                f"I2I_HOME holds nothing called {name!r}; {hint}",
                meant={name: meant} if meant else None,
            )
        if name == "zoo":
            raise ConfigError(
                f"{home() / 'zoo'} holds what no command brings back: remove it by hand."
            )
    chosen = [_BY_NAME[name] for name in names] or [one for one in HOLDINGS if not one.again]
    freed, left = 0, []
    for path in (path for holding in chosen for path in holding.paths):
        kept = [part for part in path.glob("*.parts") if _is_in_use(part)]
        left += kept
        for entry in [e for e in path.iterdir() if e not in kept] if path.is_dir() else [path]:
            size = sum(_sizes_below(entry))
            try:
                if _is_folder(entry):
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
            except OSError as fault:
                raise I2IError(
                    f"{entry} cannot be removed: {fault.strerror or fault}. {freed} bytes are free."
                ) from None
            freed += size
    return freed, left


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _sizes_below(path: Path) -> Iterator[int]:
    if not _is_folder(path):
        with suppress(OSError):
            yield path.lstat().st_size
        return
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):  # it may go at any time
                yield Path(folder, name).lstat().st_size


def _is_in_use(part: Path) -> bool:
    times = [path.stat().st_mtime for path in (part, *part.iterdir())]
    return time.time() - max(times) < _IN_USE_SECONDS
