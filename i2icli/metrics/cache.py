"""Features on disk, found by the contents of the pictures they were computed from.

The name of an entry is a hash of everything that decides its numbers: the contents of all pictures
in their order, the mode, the weights, the kind of device, the libraries that decode and resize.
So an entry can be missing, but never out of date.

While features are computed they lie in `KEY.parts`: each process appends rows to a file of its own
and then a line to its manifest, which says of which pictures they are and their checksum. A kill
loses the rows since the last line, no more. When all are there they are put in order in one file,
`KEY.npz`. Large ones are not read into memory, which so does not grow with the set.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2icli.home import home
from i2icli.metrics.inception import FEATURES
from i2icli.system.files import WholeFile
from i2icli.system.manifest import Manifest

_FORMAT = 2  # raised when this project reads or prepares pictures in another way
_ROW = 4 * FEATURES  # bytes
_AT_ONCE = 4096  # rows in memory
MAPPED_FROM = 16_384  # pictures; the rows of fewer, 128 MiB, are simply read
_MEMBER = "features.npy"

Rows = NDArray[np.float32]
Positions = NDArray[np.int64]


def features_folder() -> Path:
    """Return the folder of features, unless the user names another."""
    return home() / "features"


def features_key(content: str, *, mode: str, weights: str, device: str) -> str:
    """Return the name under which features are kept.

    `content` is the digest of the pictures, see `picture_sets.SetFacts`, `weights` the SHA-256 of
    their file, `device` its kind: a GPU rounds otherwise.
    """
    libraries = [f"{name} {version(name)}" for name in ("pillow", "clean-fid", "torch")]
    facts = [str(_FORMAT), content, mode, weights, device, *libraries]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


class KeptFeatures:
    """The features of one set of `count` pictures: whole, in parts, or not there yet.

    The folder is made when something is written.
    """

    def __init__(self, folder: Path, key: str, count: int) -> None:
        self._count = count
        self._whole = folder / f"{key}.npz"
        self._parts = folder / f"{key}.parts"

    def load(self) -> Rows | None:
        """Return all rows, (count, 2048), many as they lie on disk; None if damaged or not there.

        Whoever goes through many should do so with `distances.row_blocks`, in little memory.
        """
        try:
            start = _checked(self._whole, self._count)
            shape = (self._count, FEATURES)
            if self._count >= MAPPED_FROM:
                return np.memmap(self._whole, np.float32, "r", start, shape)
            numbers = np.fromfile(self._whole, np.float32, self._count * FEATURES, offset=start)
            return numbers.reshape(shape)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def store(self, rows: Rows) -> None:
        """Keep rows that are in memory; a full or read-only disk is no fault."""
        with suppress(OSError):
            self._write(rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE))

    def open_parts(self) -> str | None:
        """Make the folder of the parts; return a mark that is in it now, by which others know it.

        None if it cannot be made, or the disk has no room for all.
        """
        mark = self._parts / f"mark-{secrets.token_hex(4)}"
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            mark.touch()
            has_room = shutil.disk_usage(self._parts).free > 3 * _ROW * self._count
        except OSError:
            return None
        return mark.name if has_room else None

    def sees(self, mark: str) -> bool:
        """Return whether this process sees the folder in which another left a mark."""
        return (self._parts / mark).is_file()

    def missing(self) -> Positions:
        """Return the pictures of which no part has a row that is whole."""
        is_there = np.zeros(self._count, dtype=bool)
        for positions, _ in self._blocks():
            is_there[positions] = True
        return np.flatnonzero(~is_there)

    def assemble(self) -> None:
        """Put the parts together and remove them; none must be missing.

        Raises:
            OSError: as the system says.
        """
        ordered = self._parts / f"ordered-{secrets.token_hex(4)}.f32"
        with ordered.open("w+b") as file:
            for positions, block in self._blocks():
                for position, row in zip(positions, block, strict=True):
                    file.seek(position * _ROW)
                    file.write(row.tobytes())
            file.seek(0)
            contents = iter(lambda: file.read(_AT_ONCE * _ROW), b"")
            self._write(np.frombuffer(content, "<f4").reshape(-1, FEATURES) for content in contents)
        shutil.rmtree(self._parts, ignore_errors=True)

    def remove(self) -> None:
        """Take everything off the disk."""
        with suppress(OSError):
            self._whole.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)

    def part(self, rank: int, count: int) -> FeaturePart:
        """Return the part that one of several processes puts its rows into."""
        return FeaturePart(self._parts, rank, count)

    def _blocks(self) -> Iterator[tuple[list[int], Rows]]:
        for entry in Manifest(self._parts, key="block").read().values():
            with suppress(OSError, KeyError, TypeError, ValueError):
                positions = list(map(int, entry["pictures"]))
                with (self._parts / Path(entry["file"]).name).open("rb") as file:
                    file.seek(entry["at"])
                    content = file.read(len(positions) * _ROW)
                is_whole = len(content) == len(positions) * _ROW
                is_ours = all(0 <= position < self._count for position in positions)
                # A kill or a crash may leave less than the manifest says.
                if is_whole and is_ours and zlib.crc32(content) == entry["crc32"]:
                    yield positions, np.frombuffer(content, np.float32).reshape(-1, FEATURES)

    def _write(self, blocks: Iterator[Rows]) -> None:
        self._whole.parent.mkdir(parents=True, exist_ok=True)
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._count, FEATURES)}
        with (
            WholeFile(self._whole, is_shared=True) as stream,
            zipfile.ZipFile(stream, "w") as archive,
            archive.open(_MEMBER, "w", force_zip64=True) as file,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())


class FeaturePart:
    """Rows of one process, appended to a file that is its own."""

    def __init__(self, folder: Path, rank: int, count: int) -> None:
        # The token keeps it apart from what an earlier run, killed or not, has under this rank.
        self._path = folder / f"rows-{rank}-{secrets.token_hex(4)}.f32"
        self._manifest = Manifest(folder, key="block", rank=rank, count=count)
        self._at = 0

    def append(self, positions: list[int], rows: Rows) -> None:
        """Add the rows, (n, 2048), of some pictures.

        Raises:
            OSError: as the system says.
        """
        content = np.ascontiguousarray(rows, dtype="<f4").tobytes()
        with self._path.open("ab") as file:
            file.write(content)
        name = self._path.name
        entry = {"file": name, "at": self._at, "pictures": positions, "crc32": zlib.crc32(content)}
        # Not synced: what a machine that goes down leaves of both is told by the checksum.
        self._manifest.append({"block": f"{name}@{self._at}", **entry}, is_synced=False)
        self._at += len(content)


def _checked(path: Path, count: int) -> int:
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        member = archive.getinfo(_MEMBER)
        with archive.open(member) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("a header of another version")
            shape, is_fortran, kind = np.lib.format.read_array_header_1_0(file)
            header = file.tell()
            while file.read(1 << 22):  # to the end, where the checksum is compared
                pass
        is_plain = member.compress_type == zipfile.ZIP_STORED and not is_fortran
        if shape != (count, FEATURES) or kind != np.dtype("<f4") or not is_plain:
            raise ValueError(f"{path} holds other features")
        # The numbers begin after the local header, whose name and extra field lie behind 30 bytes,
        # and numpy's own header.
        stream.seek(member.header_offset + 26)
        lengths = np.frombuffer(stream.read(4), "<u2")
        return int(member.header_offset + 30 + lengths.sum(dtype=np.int64) + header)
