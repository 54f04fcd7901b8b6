"""Locks on files and folders, where the system has them; the end of a process releases its own."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import IO


def _found(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl = _found("fcntl")  # not on Windows
_msvcrt = _found("msvcrt")  # on Windows alone


def lock_opened(handle: int) -> bool:
    """Lock a file or folder for all that hold this handle; False where that cannot be done."""
    if _fcntl is None:
        return False
    try:
        _fcntl.flock(handle, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def lock_for_process(file: IO[str]) -> bool:
    """Lock a file for this process alone; False where another has it.

    True too where the system has no locks: then nobody can say.
    """
    try:
        if _fcntl is not None:
            # A record lock: loader workers that outlive a killed parent for some seconds do not
            # hold it.
            _fcntl.lockf(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        elif _msvcrt is not None:
            _msvcrt.locking(file.fileno(), _msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def is_locked(file: IO[str]) -> bool:
    """Say whether another process has a file by `lock_for_process`; asking takes nothing.

    False on Windows, where asking would take the lock.
    """
    if _fcntl is None:
        return False
    try:
        _fcntl.lockf(file, _fcntl.LOCK_SH | _fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def wait_for(handle: int) -> bool:
    """Wait for a file or folder to be locked by nobody else; False where that cannot be done."""
    if _fcntl is None:
        return False
    try:
        _fcntl.flock(handle, _fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True


HAS_FOLDER_HANDLES = _fcntl is not None  # Windows cannot open folders
