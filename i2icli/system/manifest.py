"""What is finished, a line of JSON each, so that a kill at any time loses at most the last line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from i2icli.system.files import remove_leftovers, write_whole
from i2icli.system.locks import HAS_FOLDER_HANDLES, wait_for

NAME = "manifest.jsonl"
_OF_RANK = re.compile(r"manifest-(\d+)\.jsonl")

Entry = Mapping[str, Any]


class Manifest:
    """The manifest of a folder that one or several processes write to.

    A process that is alone appends to `manifest.jsonl`, one of several to `manifest-RANK.jsonl`;
    `merge` brings these together. Of lines that name the same thing the latest counts.

    Args:
        folder: is there.
        key: the entry that names what a line is about, a text.
        rank: number of this process.
        count: how many processes there are.
    """

    def __init__(self, folder: Path, *, key: str, rank: int = 0, count: int = 1) -> None:
        self._folder = folder
        self._key = key
        self._rank = rank
        self._count = count
        self._own = folder / (NAME if count == 1 else f"manifest-{rank}.jsonl")

    @property
    def path(self) -> Path:
        """The file that `merge` brings everything to."""
        return self._folder / NAME

    def read(self) -> dict[str, Entry]:
        """Return all entries by name; half lines that a kill left are passed over."""
        found: dict[str, Entry] = {}
        for path in (self.path, *(path for _, path in self._of_ranks())):
            for entry in _entries(path):
                name = entry.get(self._key)
                if isinstance(name, str) and _time_of(entry) >= _time_of(found.get(name, {})):
                    found[name] = entry
        return found

    def append(self, entry: Entry, *, is_synced: bool = True) -> None:
        """Add a line with the time; synced, it outlives even a machine that goes down."""
        dated = {**entry, "finished": round(time.time(), 3)}
        line = json.dumps(dated, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
        with self._own.open("a+b") as file:
            if file.tell() and not _ends_whole(file):
                line = b"\n" + line
            file.write(line)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())

    def merge(self) -> None:
        """Write what all processes have finished so far to `path`, sorted by name.

        Every process calls it when it ends; the last one makes it complete.
        """
        with _locked(self._folder) as is_alone:
            entries = self.read()
            lines = [json.dumps(entries[name], ensure_ascii=False) for name in sorted(entries)]
            content = "".join(f"{line}\n" for line in lines)
            raw = content.encode("utf-8", "surrogateescape")
            write_whole(self.path, raw, is_shared=True, is_synced=True)
            if not is_alone:
                return
            remove_leftovers(self._folder, NAME)
            for rank, path in self._of_ranks():
                # Of other ranks of this run, more may come; of an earlier one with more, nothing.
                if rank == self._rank or rank >= self._count:
                    path.unlink(missing_ok=True)

    def _of_ranks(self) -> list[tuple[int, Path]]:
        matches = ((_OF_RANK.fullmatch(p.name), p) for p in self._folder.glob("manifest-*.jsonl"))
        return sorted((int(match[1]), path) for match, path in matches if match)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):  # half a line, or bytes that are no text
            entry = json.loads(line.decode("utf-8", "surrogateescape"))
            if isinstance(entry, dict):
                yield entry


def _time_of(entry: Entry) -> float:
    finished = entry.get("finished")
    return finished if isinstance(finished, int | float) else 0.0


def _ends_whole(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Keep other processes out; yield whether that is possible here."""
    if not HAS_FOLDER_HANDLES:  # all is merged, and nothing removed
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield wait_for(handle)
    finally:
        os.close(handle)
