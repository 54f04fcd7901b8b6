"""Builds trainA, trainB, testA and testB from two plain folders, or video files.

Which pictures are for testing depends on the seed and their names alone, so adding pictures moves
few of the others. The result appears complete or not at all; nothing is overwritten.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2icli.config.words import as_plain
from i2icli.datasets.placing import Placer, Resize, unique_names
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.frames import VIDEO_SUFFIXES, extract_frames
from i2icli.pictures.listing import list_pictures
from i2icli.system.files import whole_folder

Transfer = Literal["link", "copy"]


@dataclass(frozen=True)
class SplitRule:
    """The number of pictures of each domain that are for testing."""

    fraction: float = 0.1  # their share, used where `count` is None
    count: int | None = None  # their number
    seed: int = 0  # draws which

    def check(self) -> None:
        """Refuse impossible numbers.

        Raises:
            ConfigError: a fraction outside [0, 1) or a negative count.
        """
        if not 0 <= self.fraction < 1:
            raise ConfigError(
                f"--test-fraction is {self.fraction:g}; give 0 or more and less than 1."
            )
        if self.count is not None and self.count < 0:
            raise ConfigError(f"--test-count is {self.count}; give 0 or more.")

    def number(self, total: int) -> int:
        """Return the number of test pictures among `total`; at least one stays for training."""
        wanted = round(self.fraction * total) if self.count is None else self.count
        if self.count is None and self.fraction > 0:
            wanted = max(1, wanted)
        return min(wanted, max(0, total - 1))


@dataclass(frozen=True)
class Prepared:
    """The data set that was built."""

    folder: Path
    counts: Mapping[str, int]  # pictures of each part
    linked: int  # files that share their content with the source
    copied: int
    written: int  # decoded and written anew
    failed: tuple[str, ...] = ()  # pictures that could not be read, with the reason
    unmatched: tuple[str, ...] = ()  # pictures of a paired set without a partner

    as_document = as_plain

    def lines(self) -> list[str]:
        """Return what was built, and the next command."""
        counts = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        ways = {"linked": self.linked, "copied": self.copied, "written": self.written}
        done = ", ".join(f"{number} {way}" for way, number in ways.items() if number)
        lines = [f"{self.folder}: {counts}", f"files: {done or 'none'}"]
        if self.failed:
            lines.append(f"{len(self.failed)} unreadable pictures were left out")
        if self.unmatched:
            lines.append(f"{len(self.unmatched)} pictures without a partner were left out")
        lines.append(f"Next: i2i data check {self.folder}")
        return lines


def prepare_folders(
    domain_a: Path,
    domain_b: Path,
    out: Path,
    *,
    rule: SplitRule | None = None,
    transfer: Transfer = "link",
    resize: Resize | None = None,
    every: int = 1,
) -> Prepared:
    """Build a data set from two folders of any depth, either of which may be a video file.

    A tenth is for testing, or by `rule`. The test frames of a video are its last ones: neighbouring
    frames are alike, and a random split would leak. `every` takes one frame in so many.

    Raises:
        ConfigError: `out` is in use, or numbers are out of range.
        DataError: a folder is missing or empty.
    """
    rule = rule or SplitRule()
    rule.check()
    check_out(out, (domain_a, domain_b))
    if domain_a.resolve() == domain_b.resolve():
        raise ConfigError(f"{domain_a} is given as both domains; name a folder for each.")
    placer = Placer(transfer=transfer, resize=resize)
    with whole_folder(out) as fresh:
        for letter, source in (("A", domain_a), ("B", domain_b)):
            _prepare_domain(letter, source, fresh, rule=rule, placer=placer, every=every)
    return describe(out, placer)


def _prepare_domain(
    letter: str, source: Path, fresh: Path, *, rule: SplitRule, placer: Placer, every: int
) -> None:
    if source.suffix.lower() in VIDEO_SUFFIXES and not source.is_dir():
        frames = fresh / f"frames{letter}"
        extract_frames(source, frames, every=every)
        paths = list_pictures(frames)
        first_test = len(paths) - rule.number(len(paths))
        parts = {"train": paths[:first_test], "test": paths[first_test:]}
        _place_domain(letter, parts, frames, fresh, placer.moving())
        placer.written += len(paths)
        shutil.rmtree(frames)
        return
    paths = some_pictures(source)
    _place_domain(letter, split(paths, source, letter, rule), source, fresh, placer)


def _place_domain(
    letter: str, parts: Mapping[str, Sequence[Path]], source: Path, fresh: Path, placer: Placer
) -> None:
    everything = sorted(path for paths in parts.values() for path in paths)
    names = unique_names(everything, source, suffix=placer.suffix)
    for part, paths in parts.items():
        folder = fresh / f"{part}{letter}"
        folder.mkdir()
        for path in paths:
            try:
                placer.place(path, folder / names[path])
            except DataError as error:
                placer.failed.append(str(error))


def split(
    paths: Sequence[Path], source: Path, letter: str, rule: SplitRule
) -> Mapping[str, Sequence[Path]]:
    """Divide pictures into train and test by the seed and their names below `source`."""

    def key(path: Path) -> bytes:
        name = f"{rule.seed}/{letter}/{path.relative_to(source).as_posix()}"
        return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()

    order = sorted(paths, key=key)
    number = rule.number(len(order))
    return {"train": sorted(order[number:]), "test": sorted(order[:number])}


def some_pictures(folder: Path) -> list[Path]:
    """List the pictures of a folder, of which there must be some.

    Raises:
        DataError: the folder is missing or holds no pictures.
    """
    paths = list_pictures(folder)
    if not paths:
        raise DataError(f"{folder} and the folders inside it hold no pictures.")
    return paths


def check_out(out: Path, sources: Sequence[Path]) -> None:
    """Refuse an output folder that is in use or lies inside a source.

    Raises:
        ConfigError: saying which.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty and nothing is overwritten; give --out NEW_FOLDER.")
    for source in sources:
        if out.resolve().is_relative_to(source.resolve()):
            raise ConfigError(
                f"--out {out} lies inside {source}, which it is built from; choose another place."
            )


def describe(out: Path, placer: Placer) -> Prepared:
    """Return a description of the set in `out` and of its making."""
    folders = sorted(entry for entry in out.iterdir() if entry.is_dir())
    return Prepared(
        folder=out,
        counts={folder.name: len(list_pictures(folder)) for folder in folders},
        linked=placer.linked,
        copied=placer.copied,
        written=placer.written,
        failed=tuple(placer.failed),
        unmatched=tuple(placer.unmatched),
    )
