"""Tar shards in the WebDataset convention, read and written as a stream.

A sample is a run of files of one key: the name up to the first dot of its last part
(`a/0001.jpg`, `a/0001.json` and `a/0001.seg.png` are the sample `a/0001`). Names never leave the
archive: nothing is unpacked. https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, cast

from i2icli.errors import DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.system.capped import CappedReader
from i2icli.system.files import WholeFile, remove_leftovers
from i2icli.system.processes.work_queue import Emit, Executor, InProcess

MOST_BYTES = 1 << 30  # of one file, since a sample is held in memory
_BLOCK = tarfile.BLOCKSIZE

NoteFailure = Callable[[str, str], None]


@dataclass
class Sample:
    """Files of one key."""

    key: str  # what their names have in common
    files: dict[str, bytes] = field(default_factory=dict)  # content by name, in order

    @property
    def pictures(self) -> list[str]:
        """Names of the files that are pictures by their suffix."""
        return [name for name in self.files if os.path.splitext(name)[1].lower() in SUFFIXES]


def split_name(name: str) -> tuple[str, str]:
    """Return a file's key and the rest of its name, which begins with a dot or is empty."""
    folder, slash, last = name.rpartition("/")
    stem, dot, rest = last.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{rest}"


def read_samples(shard: Path, note: NoteFailure) -> Iterator[Sample]:
    """Yield a tar shard's samples in order, one at a time in memory.

    A damaged stretch is passed over: reading goes on at the next header that is whole. `note` is
    told a name and a reason for what cannot be read: links, files that end early, a key that comes
    twice, a damaged stretch (with an empty name).

    Raises:
        DataError: the file cannot be read or is no tar archive.
    """
    seen: set[str] = set()
    sample: Sample | None = None
    for name, content in _read_files(shard, note):
        key, rest = split_name(name)
        if key.rpartition("/")[2] == "" or not rest:
            continue  # hidden files, and such without a suffix, as WebDataset has it
        if sample is None or key != sample.key:
            if sample is not None and sample.files:
                yield sample
            sample = Sample(key)
            if key in seen:
                note(key, "the key comes twice in this shard, and only its first sample counts")
        if key in seen and not sample.files:
            continue
        if name in sample.files:
            note(name, "the name comes twice in this shard, and only the first one counts")
            continue
        seen.add(key)
        sample.files[name] = content
    if sample is not None and sample.files:
        yield sample


def _read_files(shard: Path, note: NoteFailure) -> Iterator[tuple[str, bytes]]:
    try:
        with shard.open("rb") as stream:
            start: int | None = 0
            while start is not None:
                stream.seek(start)
                start = yield from _read_stretch(shard, stream, note)
    except OSError as fault:
        raise DataError(f"cannot read {shard}: {fault.strerror or fault}") from fault


def _read_stretch(
    shard: Path, stream: IO[bytes], note: NoteFailure
) -> Generator[tuple[str, bytes], None, int | None]:
    # Returns where to go on behind a damaged place, None at the end.
    at, total = stream.tell(), os.fstat(stream.fileno()).st_size
    try:
        with open_tar(stream) as archive:
            while (info := archive.next()) is not None:
                forget_members(archive)
                if (resumed := _lying(info, archive.offset, stream, total)) is not None:
                    return _pass_over(info.offset, resumed, note)
                at = archive.offset
                content = _content(archive, info, note)
                if content is not None:
                    yield info.name, content
            at = archive.offset
    except OSError:
        raise
    except Exception as fault:  # headers that lie make tarfile raise anything
        if at == 0 and _find_header(stream, _BLOCK) is None:
            raise DataError(f"{shard} is no tar archive, or all of it is damaged.") from fault
    return _go_on(stream, at, note)


def open_tar(stream: IO[bytes]) -> tarfile.TarFile:
    """Open an uncompressed tar archive; no header of it takes more memory than a file may."""
    return tarfile.open(
        fileobj=cast(IO[bytes], CappedReader(stream, most=max(MOST_BYTES, _BLOCK))), mode="r:"
    )


def _lying(info: tarfile.TarInfo, following: int, stream: IO[bytes], total: int) -> int | None:
    """Return where to go on where a header's size cannot be, -1: nowhere; None where it can.

    A size beyond the end of the file may be true of a file that was cut off; it is taken for
    damage where a whole header follows.
    """
    if info.size >= 0 and info.offset < following <= total + _BLOCK:
        return None
    found = _find_header(stream, info.offset_data)
    if found is None and 0 <= info.size <= MOST_BYTES and info.offset < following:
        return None
    return -1 if found is None else found


def _pass_over(at: int, found: int, note: NoteFailure) -> int | None:
    last = "the rest is lost" if found < 0 else f"reading goes on at byte {found}"
    note("", f"the shard is damaged at byte {at}, and {last}")
    return None if found < 0 else found


def forget_members(archive: tarfile.TarFile) -> None:
    """Empty the list of what was read or written, which would grow with the tar shard."""
    vars(archive)["members"] = []


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo, note: NoteFailure) -> bytes | None:
    if info.isdir():
        return None
    if not info.isreg() or info.issparse():
        note(info.name, "it is a link or a device, and shards hold files: pack its content")
        return None
    if info.size > MOST_BYTES:
        note(info.name, f"it has {info.size} bytes, more than the {MOST_BYTES} of a file in shards")
        return None
    stream = archive.extractfile(info)
    assert stream is not None, "a regular file has content"
    try:
        return stream.read()
    except tarfile.TarError:
        note(info.name, "it ends early: the shard is incomplete")
        return None


def _go_on(stream: IO[bytes], at: int, note: NoteFailure) -> int | None:
    stream.seek(at)
    block = stream.read(_BLOCK)
    if len(block) < _BLOCK:
        note("", f"the shard is incomplete: it has no end mark at byte {at}")
        return None
    if not any(block):
        return None
    found = _find_header(stream, at + _BLOCK)
    return _pass_over(at, -1 if found is None else found, note)


def _find_header(stream: IO[bytes], start: int) -> int | None:
    # A block is a header by its checksum.
    stream.seek(start)
    while len(block := stream.read(_BLOCK)) == _BLOCK:
        try:
            tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            start += _BLOCK
        else:
            return start
    return None


@dataclass(frozen=True)
class WrittenShard:
    """A tar shard that was written."""

    size: int  # bytes
    sha256: str  # hexadecimal


class ShardWriter:
    """Writes a tar shard under a temporary name; it gets its own when `finish` is called.

    The same samples give the same bytes. Leaving the `with` block without `finish` leaves nothing.
    Leftovers of a writer that was killed are removed. The folder of `target` is there.

    Raises:
        OSError: as the system says.
    """

    def __init__(self, target: Path) -> None:
        remove_leftovers(target.parent, target.name)
        self._whole = WholeFile(target, is_shared=True, is_synced=True)
        self._stream = _Summed(self._whole.stream)
        self._archive = tarfile.TarFile(mode="w", fileobj=cast(IO[bytes], self._stream))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._whole.discard()

    def add(self, files: Mapping[str, bytes]) -> None:
        """Append a sample's files, one behind the other."""
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            self._archive.addfile(info, BytesIO(content))
            forget_members(self._archive)

    def finish(self) -> WrittenShard:
        """Bring all of it to the disk and give it its name."""
        self._archive.close()
        self._whole.finish()
        return WrittenShard(self._stream.size, self._stream.digest.hexdigest())


class _Summed:
    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def tell(self) -> int:
        return self.size

    def write(self, content: bytes) -> int:
        self.size += len(content)
        self.digest.update(content)
        return self.file.write(content)


def pack_folder(
    pictures: Sequence[Path],
    root: Path,
    out: Path,
    *,
    size: int,
    progress: Callable[[int, int | None], None] | None = None,
    executor: Executor | None = None,
) -> list[tuple[str, int]]:
    """Write picture files below `root` to tar shards as they are, `size` pictures each, in order.

    Keys are the pictures' paths below `root`, without suffix; dots in them become `_`, since a
    key ends at the first. Where two pictures would have one key, the later gets a number.
    `executor` does a shard at a time, None: in this process.

    Returns:
        Name (`shard-000000.tar`, ...) and number of pictures of each shard.

    Raises:
        OSError: as the system says.
    """
    taken: set[str] = set()
    named = [
        (f"{_free_key(path.relative_to(root), taken)}{path.suffix.lower()}", path)
        for path in pictures
    ]
    pieces = [
        (f"shard-{start // size:06d}.tar", named[start : start + size])
        for start in range(0, len(named), size)
    ]
    done = 0
    for number, _ in (executor or InProcess()).run(_Packing(out), pieces):
        done += len(pieces[number][1])
        if progress is not None:
            progress(done, len(pictures))
    return [(name, len(files)) for name, files in pieces]


_Piece = tuple[str, Sequence[tuple[str, Path]]]  # a shard's name; names in it, and their files


@dataclass(frozen=True)
class _Packing:
    out: Path

    def setup(self) -> Callable[[_Piece, Emit], None]:
        return self._pack

    def describe(self, piece: _Piece) -> str:
        return piece[0]

    def _pack(self, piece: _Piece, _emit: Emit) -> None:
        shard, files = piece
        with ShardWriter(self.out / shard) as writer:
            for name, path in files:
                writer.add({name: path.read_bytes()})
            writer.finish()


def _free_key(relative: Path, taken: set[str]) -> str:
    # Keys that differ in case alone are one.
    wanted = relative.with_name(relative.stem.replace(".", "_")).as_posix()
    key, number = wanted, 2
    while key.casefold() in taken:
        key, number = f"{wanted}-{number}", number + 1
    taken.add(key.casefold())
    return key
