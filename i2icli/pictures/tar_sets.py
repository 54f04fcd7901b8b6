"""The tar shards that a command line names, and where in them each picture lies."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.listing import WILDCARDS, split_pattern
from i2icli.pictures.tar_shards import forget_members, open_tar, split_name

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def find_shards(named: str, *, out: Path | None = None) -> list[Path] | None:
    """Return the tar shards that `named` stands for, sorted by name; None where it means pictures.

    That is a .tar file; a folder that holds such; a pattern that ends in .tar, with `*`, `?`,
    `[...]` and `**`; or one with ranges, `shard-{000000..000099}.tar`.

    Raises:
        ConfigError: if a shard is missing, two have one name, a folder holds shards and
            pictures, or `out`, where results go, is the folder of a shard.
        DataError: if a pattern matches nothing.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        shards = _shards_inside(path)
    elif path.suffix.lower() != ".tar":
        return None
    elif path.is_file() or not (WILDCARDS & set(named) or _RANGE.search(named)):
        shards = [path]
    else:
        texts = _ranged(str(path))
        shards = [Path(name) for text in texts for name in _globbed(text)]
    if shards:
        _check_shards(shards, out)
    return sorted(shards, key=lambda shard: shard.name) or None


def _shards_inside(folder: Path) -> list[Path]:
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
    if not WILDCARDS & set(text):
        return [text]
    base, parts = split_pattern(Path(text))
    shards = glob.glob(os.path.join(glob.escape(str(base)), *parts), recursive=True)
    if not shards:
        raise DataError(f"no shards match {text}.")
    return shards


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


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """A picture inside a tar shard."""

    shard: Path  # the .tar file
    name: str  # of the file in it
    start: int  # its first byte in the shard
    size: int

    @property
    def path(self) -> Path:
        """Its name in messages; no file has this path."""
        return self.shard / self.name

    def content(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            DataError: if the shard cannot be read, or has become shorter.
        """
        try:
            with self.shard.open("rb") as stream:
                stream.seek(self.start)
                content = stream.read(self.size)
        except OSError as fault:
            raise DataError(f"cannot read {self.shard}: {fault.strerror or fault}") from fault
        if len(content) < self.size:
            raise DataError(f"{self.path} ends early: the shard is incomplete")
        return content


def index_shards(shards: Sequence[Path]) -> tuple[PackedPicture, ...]:
    """Return the pictures of all tar shards, in the order of the shards and of each archive.

    By the rules of `tar_shards.read_samples` for what a sample is, but nothing is passed over: what
    that function would only note is an error here.

    Raises:
        DataError: naming a shard that cannot be read, is damaged or incomplete, or holds links or
            a key twice.
    """
    return tuple(picture for shard in shards for picture in _index(shard))


def _index(shard: Path) -> Iterator[PackedPicture]:
    try:
        with shard.open("rb") as stream, open_tar(stream) as archive:
            last, seen, names = "", set[str](), set[str]()
            while (info := archive.next()) is not None:
                forget_members(archive)
                if info.size < 0 or archive.offset <= info.offset:
                    raise _refused(shard, f"it is damaged at byte {info.offset}")
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    said = f"{info.name} is a link, a device or sparse, and shards hold files"
                    raise _refused(shard, said)
                key, rest = split_name(info.name)
                if key.rpartition("/")[2] == "" or not rest:
                    continue  # hidden files, and such without a suffix, as WebDataset has it
                if key != last:
                    if key in seen:
                        raise _refused(shard, f"the key {key} comes twice")
                    last, names = key, set()
                    seen.add(key)
                if info.name in names:
                    raise _refused(shard, f"the name {info.name} comes twice")
                names.add(info.name)
                if os.path.splitext(info.name)[1].lower() in SUFFIXES:
                    yield PackedPicture(shard, info.name, info.offset_data, info.size)
            stream.seek(archive.offset)
            mark = stream.read(tarfile.BLOCKSIZE)
            if len(mark) < tarfile.BLOCKSIZE or any(mark):
                raise _refused(shard, f"it is damaged or incomplete at byte {archive.offset}")
    except OSError as fault:
        raise DataError(f"cannot read {shard}: {fault.strerror or fault}") from fault
    except DataError:
        raise
    except Exception as fault:  # headers that lie make tarfile raise anything
        raise _refused(shard, f"it is no tar archive, or damaged ({fault})") from fault


def _refused(shard: Path, reason: str) -> DataError:
    return DataError(
        f"{shard} cannot be measured, since no number leaves pictures out silently: {reason}. "
        "Pack it anew."
    )
