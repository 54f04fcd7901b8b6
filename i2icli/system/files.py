"""Files and folders that are written whole or not at all.

What is written has another name beside its target until it is complete; then it is renamed. A
killed process leaves `.NAME.partial` or `.NAME.PID-TOKEN.partial`, which no listing of ours shows.
The former is written over; of the latter, which are locked as long as their process lives, those of
ended ones are removed by the first write to the same folder.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from i2icli.errors import ConfigError
from i2icli.system.locks import HAS_FOLDER_HANDLES, lock_opened

log = logging.getLogger(__package__)

# Errors of a disk, quota or limit of a file's size that is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = ".partial"
_OF_PROCESS = re.compile(r"\..+\.(\d+)-[0-9a-f]{8}\.partial")
_YOUNG = 10.0  # seconds in which a living process may not have locked its file yet
_TRIES = 8
_swept: set[tuple[int, Path]] = set()  # processes and the folders they looked through


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
        if is_shared:
            _sweep(path.parent)
        self.stream = cast(BinaryIO, self.partial.open("xb" if is_shared else "wb"))
        lock_opened(self.stream.fileno())

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
            elif isinstance(fault, OSError):
                _name(fault, self._path)
        finally:
            self.discard()

    def finish(self) -> None:
        """Give the file its name."""
        try:
            if self._is_synced:
                self.stream.flush()
                os.fsync(self.stream.fileno())
            self.stream.close()
        except OSError as fault:
            _name(fault, self._path)
            raise
        install_file(self.partial, self._path, is_synced=self._is_synced)

    def discard(self) -> None:
        """Remove what is not finished."""
        with suppress(OSError):  # closing writes what is left, and a full disk refuses it again
            self.stream.close()
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)


def _name(fault: OSError, path: Path) -> None:
    # The system names no file where an open one refuses more.
    if fault.filename is None:
        fault.filename = str(path)


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
    _remove_dead(list(folder.glob(f".{stem}{_PARTIAL}")), folder)


def next_number(parent: Path, name: str) -> Path:
    """Return NAME-001 in a folder, or the next number that nobody has and nobody is writing."""
    _sweep(parent)
    pattern = re.compile(rf"\.?{re.escape(name)}-(\d+)(\.\d+-[0-9a-f]{{8}}\.partial)?")
    entries = parent.iterdir() if parent.is_dir() else ()
    taken = [int(match[1]) for entry in entries if (match := pattern.fullmatch(entry.name))]
    return parent / f"{name}-{max(taken, default=0) + 1:03d}"


def _sweep(folder: Path) -> None:
    # Once a process: a folder may hold very many files.
    key = (os.getpid(), folder.absolute())
    if key in _swept:
        return
    _swept.add(key)
    with suppress(OSError):
        _remove_dead(
            [Path(e.path) for e in os.scandir(folder) if _OF_PROCESS.fullmatch(e.name)], folder
        )


def _remove_dead(leftovers: Sequence[Path], folder: Path) -> None:
    dead = [path for path in leftovers if _is_dead(path)]
    for path in dead:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if dead:
        names = f"{dead[0].name}{f' and {len(dead) - 1} more' if len(dead) > 1 else ''}"
        log.info(f"removed from {folder} what a command that was killed left: {names}")


def _is_dead(partial: Path) -> bool:
    match = _OF_PROCESS.fullmatch(partial.name)
    try:
        is_young = time.time() - partial.stat().st_mtime < _YOUNG
        if match and is_young and _is_alive(int(match[1])):
            return False
        handle = os.open(partial, os.O_RDONLY)
    except OSError:
        return False
    try:
        return lock_opened(handle)
    finally:
        os.close(handle)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    if not HAS_FOLDER_HANDLES:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock_opened(handle)
        yield
    finally:
        os.close(handle)


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
    _sweep(folder.parent)
    fresh = _partial_of(folder, is_shared=True)
    try:
        fresh.mkdir()
        with _locked_folder(fresh):
            yield fresh
        if is_replaced:
            _replace_folder(top(fresh), folder, is_current)
        else:
            if folder.exists():
                folder.rmdir()
            top(fresh).rename(folder)
    except OSError as fault:
        # The name of what is not there any more helps nobody.
        names = (fault.filename, fault.filename2)
        if names == (None, None) or any(str(name).startswith(str(fresh)) for name in names):
            fault.filename, fault.filename2 = str(folder), None
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def filled_folder(folder: Path) -> Iterator[None]:
    """Keep a folder that is filled in place: what a killed command began to fill is emptied first.

    Raises:
        ConfigError: if it holds anything else.
        OSError: as the system says.
    """
    mark = folder / ".unfinished"
    if mark.exists() and _is_dead(mark):
        log.info(f"emptying {folder}, which a command that was killed left unfinished")
        shutil.rmtree(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("xb") as file:
        lock_opened(file.fileno())
        yield
    mark.unlink(missing_ok=True)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Yield a folder among the temporary ones; what killed processes left there is removed."""
    place = Path(tempfile.gettempdir())
    _sweep(place)
    folder = _partial_of(place / name, is_shared=True)
    try:
        folder.mkdir(mode=0o700)
        with _locked_folder(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
