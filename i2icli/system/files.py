"""Files and folders that are written whole or not at all.

What is written has another name beside its target until it is complete; then it is renamed. A
killed process leaves `.NAME.partial` or `.NAME.TOKEN.partial`, which no listing of ours shows.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from i2icli.errors import ConfigError

# Errors of a disk, quota or limit of a file's size that is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = ".partial"
_TRIES = 8


class WholeFile:
    """A file that is being written; as a context manager it yields its stream.

    Args:
        path: the target; its folder is there.
        is_shared: several processes may write the target at once.
        is_synced: brought to the disk before it gets its name.

    Raises:
        OSError: as the system says; nothing is left then.
    """

    def __init__(self, path: Path, *, is_shared: bool = False, is_synced: bool = False) -> None:
        self._path, self._is_synced = path, is_synced
        self.partial = _partial_of(path, is_shared=is_shared)
        self.stream = cast(BinaryIO, self.partial.open("xb" if is_shared else "wb"))

    def __enter__(self) -> BinaryIO:
        return self.stream

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.discard()

    def finish(self) -> None:
        """Give the file its name."""
        if self._is_synced:
            self.stream.flush()
            os.fsync(self.stream.fileno())
        self.stream.close()
        install_file(self.partial, self._path, is_synced=self._is_synced)

    def discard(self) -> None:
        """Remove what is not finished."""
        with suppress(OSError):  # closing writes what is left, and a full disk refuses it again
            self.stream.close()
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)


def write_whole(
    path: Path, content: bytes | str, *, is_shared: bool = False, is_synced: bool = False
) -> None:
    """Write a file; text as UTF-8.

    Raises:
        OSError: as the system says; the file that was there is untouched.
    """
    with WholeFile(path, is_shared=is_shared, is_synced=is_synced) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def link_whole(source: Path, path: Path) -> None:
    """Give a file a second name, as a hard link.

    Raises:
        OSError: where the disk has no hard links.
    """
    partial = _partial_of(path, is_shared=False)
    try:
        partial.unlink(missing_ok=True)
        os.link(source, partial)
        install_file(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def install_file(source: Path, path: Path, *, is_synced: bool = False) -> None:
    """Rename a complete file over its target."""
    source.replace(path)
    # A rename is on the disk only once the folder is; Windows cannot open folders.
    if is_synced and os.name == "posix":
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed writes of the file `name`, or of all files, left in a folder."""
    stem = "*" if name is None else f"{glob.escape(_stem(name))}.*"
    for leftover in folder.glob(f".{stem}{_PARTIAL}"):
        leftover.unlink(missing_ok=True)


@contextmanager
def whole_folder(
    folder: Path,
    *,
    top: Callable[[Path], Path] = lambda fresh: fresh,
    is_replaced: bool = False,
    is_current: Callable[[], bool] = lambda: False,
) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its name at the end of the block.

    Args:
        folder: absent or empty, unless `is_replaced`.
        top: the part of what was made that takes the name.
        is_replaced: what is there makes way.
        is_current: what is there by then, perhaps made by another process, is to stay.

    Raises:
        ConfigError: if what is there does not make way.
        OSError: as the system says; nothing is left then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = _partial_of(folder, is_shared=True)
    try:
        fresh.mkdir()
        yield fresh
        if is_replaced:
            _replace_folder(top(fresh), folder, is_current)
        else:
            if folder.exists():
                folder.rmdir()
            top(fresh).rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _replace_folder(fresh: Path, folder: Path, is_current: Callable[[], bool]) -> None:
    for _ in range(_TRIES):  # others may do the same at the same time
        if is_current():
            return
        with suppress(OSError):
            fresh.rename(folder)
            return
        old = _partial_of(folder, is_shared=True)
        with suppress(OSError):
            folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
    raise ConfigError(f"{folder} cannot be replaced; remove it and try again.")


def _partial_of(path: Path, *, is_shared: bool) -> Path:
    token = f".{os.getpid()}-{secrets.token_hex(4)}" if is_shared else ""
    return path.with_name(f".{_stem(path.name)}{token}{_PARTIAL}")


def _stem(name: str) -> str:
    # A name may already be as long as the file system allows.
    raw = os.fsencode(name)
    return name if len(raw) <= 200 else hashlib.sha256(raw).hexdigest()[:32]
