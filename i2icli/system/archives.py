"""Unpacks zip and tar archives that nobody has looked into: nothing is written outside the target.

Only folders and ordinary files are unpacked. Links, devices, absolute paths, paths that climb out
with `..`, encrypted members and archives that swell beyond reason are refused, and then nothing at
all is left behind.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.system.capped import CappedReader
from i2icli.system.faults import refusal
from i2icli.system.files import whole_folder

_BLOCK = 1 << 20
_BOMB_RATIO = 200  # pictures hardly compress: an archive that grows more than this is no data set
_BOMB_FLOOR = 1 << 28  # smaller contents are let through whatever their ratio
_MOST_READ = 1 << 26  # bytes at once: a header that asks for more is none of ours
_COMPRESSED: Mapping[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db")


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to: files, and bytes in all."""

    files: int = 2_000_000
    total: int = 500 * (1 << 30)


@dataclass(frozen=True)
class Member:
    """An ordinary file in an archive: its safe path, its declared size and its content."""

    path: PurePosixPath
    size: int
    stream: IO[bytes]


def unpack(archive: Path, folder: Path, *, limits: Limits | None = None) -> int:
    """Unpack `archive` to `folder`, which appears complete or not at all.

    A single folder at the top of the archive is left out, with the clutter of some systems.

    Args:
        archive: .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, known by its content.
        folder: does not exist, or is empty.
        limits: the largest contents; an archive that grows 200-fold is refused in any case.

    Returns:
        Files written.

    Raises:
        ConfigError: `folder` holds something.
        DataError: the archive is missing, damaged, unsafe or too large.
        I2IError: the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty and nothing is overwritten; give --out NEW.")
    if not archive.is_file():
        raise DataError(f"{archive} is not a file; give the archive's path.")
    with whole_folder(folder, top=_top) as fresh, _readable(archive):
        return _write_members(archive, fresh, limits or Limits())


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn what the archive modules raise on damaged files into one error that names the file."""
    try:
        yield
    except I2IError:
        raise
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise DataError(
            f"{archive} uses one name for a file and a folder; unpack it yourself."
        ) from error
    except OSError as error:
        if error.errno is None:  # raised by a decompressor, not by the system
            raise DataError(
                f"{archive} is damaged or incomplete ({error}); get it again."
            ) from error
        raise I2IError(f"{archive} could not be unpacked: {refusal(error)}") from error
    except Exception as error:  # what lies in its headers makes these modules raise anything
        raise DataError(f"{archive} is damaged or incomplete ({error}); get it again.") from error


def _write_members(archive: Path, fresh: Path, limits: Limits) -> int:
    packed = archive.stat().st_size
    count, total = 0, 0
    for member in _members(archive):
        count += 1
        if count > limits.files:
            raise DataError(f"{archive} holds more than {limits.files} files and is refused.")
        target = fresh.joinpath(*member.path.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        size = total + member.size
        if size > limits.total or size > max(_BOMB_FLOOR, packed * _BOMB_RATIO):
            raise DataError(
                f"{archive} ({packed} bytes) unpacks to more than {min(size, limits.total)} bytes: "
                "this is no set of pictures, and it is refused."
            )
        with target.open("wb") as file:
            total += _copy(member, file, archive)
    if not count:
        raise DataError(f"{archive} holds no files.")
    return count


def _copy(member: Member, file: IO[bytes], archive: Path) -> int:
    """Copy no more than the declared size; less or more means a damaged or lying archive."""
    left = member.size
    while left:
        block = member.stream.read(min(left, _BLOCK))
        if not block:
            raise DataError(f"{archive} is incomplete: {member.path} ends early; get it again.")
        file.write(block)
        left -= len(block)
    if member.stream.read(1):
        raise DataError(f"{archive}: {member.path} is longer than it says; the archive is refused.")
    return member.size


def _members(archive: Path) -> Iterator[Member]:
    # Zip first: a zip that begins with other bytes is still known by its directory at the end.
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    else:
        yield from _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(_refusal(archive, info.filename, "a link or a device"))
            if not info.orig_filename:
                raise DataError(_refusal(archive, "", "a file without a name"))
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # Of the others Python's module unpacks a block whole, however large it becomes.
                raise DataError(f"{archive} is packed in a rare way; unpack it yourself.")
            path = _safe_path(archive, info.orig_filename)
            if info.is_dir() or path is None:
                continue
            if info.flag_bits & 1:
                raise DataError(f"{archive} is encrypted; unpack it yourself.")
            with opened.open(info) as stream:
                yield Member(path, info.file_size, stream)


def _tar_members(archive: Path) -> Iterator[Member]:
    # Python's own filter where this Python has it (3.11.4), besides the checks here.
    check = getattr(tarfile, "data_filter", None)
    with _open_tar(archive) as opened:
        for info in opened:
            if not (info.isreg() or info.isdir()):
                raise DataError(_refusal(archive, info.name, "a link or a device"))
            path = _safe_path(archive, info.name)
            if check is not None:
                check(info, "/i2i-unpack")
            if info.isdir() or path is None:
                continue
            stream = opened.extractfile(info)
            assert stream is not None, "a regular file has content"
            yield Member(path, info.size, stream)


@contextmanager
def _open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as file:
        start = file.read(6)
    opens = (open_it for magic, open_it in _COMPRESSED.items() if start.startswith(magic))
    opener = cast(Callable[[Path], IO[bytes]], next(opens, None) or partial(open, mode="rb"))
    with opener(archive) as stream:
        capped = cast(IO[bytes], CappedReader(stream, most=_MOST_READ))
        try:
            opened = tarfile.open(fileobj=capped, mode="r:")  # noqa: SIM115 - below
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise DataError(
                f"{archive} is not a .zip or .tar archive, or it is incomplete; get it again."
            ) from error
        with opened:
            yield opened


def _safe_path(archive: Path, name: str) -> PurePosixPath | None:
    """Return the path of a member below the target; None for the target itself."""
    plain = name.replace("\\", "/")
    path, windows = PurePosixPath(plain), PureWindowsPath(name)
    if path.is_absolute() or windows.drive or windows.root:
        raise DataError(_refusal(archive, name, "an absolute path"))
    if ".." in path.parts:
        raise DataError(_refusal(archive, name, "a path that climbs out of the folder"))
    if "\0" in plain:
        raise DataError(_refusal(archive, name.replace("\0", "\\0"), "a broken name"))
    return path if path.parts else None


def _refusal(archive: Path, name: str, what: str) -> str:
    return f"{archive} holds {what} ({name}), so nothing was unpacked; do not trust this archive."


def _top(folder: Path) -> Path:
    """Return the one folder in `folder` where there is nothing beside it, else `folder`."""
    entries = [entry for entry in folder.iterdir() if entry.name not in _CLUTTER]
    is_wrapped = len(entries) == 1 and entries[0].is_dir()
    has_layout = is_wrapped and entries[0].name in ("trainA", "trainB", "train")
    return entries[0] if is_wrapped and not has_layout else folder
