"""Where in tar shards each picture lies, so that any of them can be read on its own."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.tar_shards import split_name


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """A picture inside a shard.

    Attributes:
        shard: the .tar file.
        name: of the file in it.
        start: its first byte in the shard.
        size: bytes.
    """

    shard: Path
    name: str
    start: int
    size: int

    @property
    def path(self) -> Path:
        """What messages call it; nothing is there."""
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
    """Return the pictures of all shards, in the order of the shards and of each archive.

    By the rules of `shards.read_samples` for what a sample is, but nothing is passed over: what
    that function would only note is an error here.

    Args:
        shards: .tar files.

    Raises:
        DataError: naming a shard that cannot be read, is damaged or incomplete, or holds links or
            a key twice.
    """
    return tuple(picture for shard in shards for picture in _index(shard))


def _index(shard: Path) -> Iterator[PackedPicture]:
    try:
        with shard.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            last, seen, names = "", set[str](), set[str]()
            while (info := archive.next()) is not None:
                vars(archive)["members"] = []  # else its list grows with the shard
                if info.isdir():
                    continue
                _check_plain(shard, info)
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
    except tarfile.TarError as fault:
        raise _refused(shard, f"it is no tar archive, or damaged ({fault})") from fault


def _check_plain(shard: Path, info: tarfile.TarInfo) -> None:
    if not info.isreg() or info.issparse():
        raise _refused(shard, f"{info.name} is a link, a device or sparse, and shards hold files")


def _refused(shard: Path, reason: str) -> DataError:
    return DataError(
        f"{shard} cannot be measured, since no number leaves pictures out silently: {reason}. "
        "Pack it anew."
    )
