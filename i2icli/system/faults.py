"""Words for what the system refuses: which path, why, and what to type next."""

from __future__ import annotations

import errno
from pathlib import Path

from i2icli.home import home
from i2icli.system.files import NO_ROOM

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate",
    "cannot allocate",
    "failed to map segment",
    "can't start new thread",
)
_INSTEAD = "Name another path, or get the right to read and write there."
_SAME = "type the same command again"


def refusal(fault: OSError, *, path: Path | None = None, again: str = _SAME) -> str:
    """Return a sentence on what was refused, and one on what to do.

    Args:
        fault: as the system raised it.
        path: what it is about, where the fault does not say.
        again: what to do when its cause is mended, in the words of an order.
    """
    named = fault.filename2 or fault.filename or path
    where = f"{_text(named)}: " if named is not None else ""
    return f"{where}{fault.strerror or fault}. {advice(fault, again=again)}"


def advice(fault: OSError, *, again: str = _SAME, instead: str = _INSTEAD) -> str:
    """Return the sentence on what to do alone; `instead` where there is nothing to mend."""
    if fault.errno == errno.EFBIG:
        return f"Raise the limit on a file's size (ulimit -f), then {again}."
    if fault.errno in NO_ROOM:
        return f"Make room, then {again}."
    if fault.errno in (errno.EMFILE, errno.ENFILE):
        return f"Raise the limit on open files (ulimit -n), then {again}."
    if fault.errno == errno.ENOMEM:
        return f"Free some memory, or raise its limit (ulimit -v), then {again}."
    named = fault.filename2 or fault.filename
    if named is not None and _is_home(Path(_text(named))):
        return f"Name a folder that can be written in I2I_HOME, then {again}."
    return (
        instead
        if fault.errno in READ_ONLY or instead != _INSTEAD
        else (f"When that is mended, {again}.")
    )


def is_out_of_memory(fault: BaseException) -> bool:
    """Say whether memory ran out, also where torch or the loader of libraries says so in words."""
    if isinstance(fault, MemoryError):
        return True
    text = str(fault).lower()
    return any(sign in text for sign in _OUT_OF_MEMORY)


def _is_home(path: Path) -> bool:
    try:
        return path.absolute().is_relative_to(home().absolute())
    except (OSError, RuntimeError, ValueError):
        return False


def _text(name: object) -> str:
    if isinstance(name, bytes):
        return name.decode("utf-8", "surrogateescape")
    return str(name)
