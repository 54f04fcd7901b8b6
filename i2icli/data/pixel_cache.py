"""Training pictures kept decoded and resized, in one mapped file a domain, beside the originals.

A cache holds what `transforms.resize_first` returns, so crops from it equal crops from the files,
bit for bit. It lies in `ROOT/.i2i-cache`, where no listing looks, so the data set and its
fingerprint stay what they are. The original stays the truth: a picture is taken from the cache
only while its file has the size and times that it had, and is read from its file otherwise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from i2icli.data.transforms import CropPlan
from i2icli.pictures.decode import Pixels, max_pixels

_log = logging.getLogger(__name__)
FORMAT = 2  # raised when pictures are decoded, resized or kept in another way
FOLDER = ".i2i-cache"
ABOUT, INDEX, PIXELS = "about.json", "index.npz", "pixels.u8"
# The columns of the index: the size of the kept picture and of the original, where it begins in
# the file of pixels (-1: not kept), its checksum, and the size of the original's file, the time of
# its content and, since that one is easily set, of its last change of any kind.
COLUMNS = (
    *("height", "width", "source_width", "source_height", "start", "crc"),
    *("bytes", "time_ns", "changed_ns"),
)
_LOOKED_AT = 1000


class UnusableCacheError(Exception):
    """A cache cannot be used; the text says why."""


@dataclass(frozen=True)
class FirstStep:
    """The first step from a picture to a crop, which decides the kept pixels."""

    way: str  # `resize`, `scale-width`, `scale-shorter` or `as-is`
    width: int  # as `CropPlan` means them, pixels; 0 where they do not count
    height: int
    least: int  # height that scaling by the width does not go below, pixels; else 0
    interpolation: str  # bicubic or bilinear
    channels: int  # 1 or 3

    @classmethod
    def of(cls, plan: CropPlan, channels: int) -> FirstStep | None:
        """Return the first step of a plan; None where it is drawn at random."""
        way = plan.preprocess.removesuffix("-and-crop")
        if way in ("crop", "none"):
            return cls("as-is", 0, 0, 0, "", channels)
        if way not in ("resize", "scale-width", "scale-shorter"):
            return None
        height = plan.height if way == "resize" else 0
        least = plan.crop if way == "scale-width" else 0
        return cls(way, plan.width, height, least, plan.interpolation, channels)

    def facts(self) -> dict[str, Any]:
        """Return all that decides the pixels; decoders differ between versions of Pillow."""
        return {"format": FORMAT, "pillow": PIL.__version__, **vars(self)}

    def folder(self, pictures: Path) -> Path:
        """Return the folder of the cache of a folder of training pictures."""
        digest = hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()
        return pictures.parent / FOLDER / f"{pictures.name}-{digest[:12]}"

    def __str__(self) -> str:
        colours = "grey" if self.channels == 1 else "colour"
        if self.way == "as-is":
            return f"pictures as they are, {colours}"
        sizes = {
            "resize": f"{self.width} x {self.height}",
            "scale-width": f"width {self.width}",
            "scale-shorter": f"shorter side {self.width}",
        }
        return f"{sizes[self.way]}, {self.interpolation}, {colours}"


@dataclass(frozen=True)
class Kept:
    """A picture from the cache."""

    pixels: Pixels  # (h, w, C) uint8, after the first step; not to be written to
    size: tuple[int, int]  # width and height of the original, pixels


class PixelCache:
    """The kept pictures of one domain, looked up by their position in the list of files.

    Processes that load share its pages; each maps the file when it first needs it.

    Raises:
        UnusableCacheError: it is missing, made for something else, damaged or incomplete.
    """

    def __init__(self, folder: Path, files: Sequence[str], pictures: Path, step: FirstStep) -> None:
        self.folder = folder
        self._channels = step.channels
        names, self._index = _read(folder, step)
        start = len(os.path.join(str(pictures), ""))
        self._rows = _match(names, [file[start:].replace(os.sep, "/") for file in files])
        self._map: NDArray[np.uint8] | None = None
        self._checked: NDArray[np.bool_] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_map": None, "_checked": None}

    def kept(self) -> int:
        """Return the number of files of which the cache holds pixels."""
        rows = self._rows[self._rows >= 0]
        return int((self._index["start"][rows] >= 0).sum())

    def missing(self) -> int:
        """Return the number of files that the cache does not know."""
        return int((self._rows < 0).sum())

    def changed(self, files: Sequence[str], most: int = _LOOKED_AT) -> tuple[int, int]:
        """Return the numbers of known files that have changed since, and of those looked at.

        Of `files`, as they were given when opening, `most` are looked at, evenly spaced.
        """
        positions = range(0, len(files), max(1, -(-len(files) // most)))
        known = [at for at in positions if self._rows[at] >= 0]
        is_same = [self._is_current(files[at], int(self._rows[at])) for at in known]
        return is_same.count(False), len(is_same)

    def take(self, position: int, file: str) -> Kept | None:
        """Return the picture at a position; None where `file`, which lies there, is to be read."""
        row = int(self._rows[position])
        index = self._index
        if row < 0 or index["start"][row] < 0 or not self._is_current(file, row):
            return None
        size = int(index["source_width"][row]), int(index["source_height"][row])
        if size[0] * size[1] > max_pixels():  # the file would be refused
            return None
        height, width = int(index["height"][row]), int(index["width"][row])
        start = int(index["start"][row])
        try:
            flat = self._pixels()[start : start + height * width * self._channels]
        except (OSError, ValueError) as error:
            self._warn(str(error))
            return None
        return Kept(flat.reshape(height, width, -1), size) if self._is_whole(row, flat) else None

    def _is_current(self, file: str, row: int) -> bool:
        try:
            status = os.stat(file)
        except (OSError, ValueError):
            return False
        now = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return now == tuple(int(self._index[name][row]) for name in COLUMNS[-3:])

    def _is_whole(self, row: int, flat: NDArray[np.uint8]) -> bool:
        # Each picture once a process.
        if self._checked is None:
            self._checked = np.zeros(len(self._index["crc"]), dtype=np.bool_)
        if not self._checked[row]:
            if zlib.crc32(flat.data) != int(self._index["crc"][row]):
                self._warn("pixels are not what was written")
                return False
            self._checked[row] = True
        return True

    def _pixels(self) -> NDArray[np.uint8]:
        if self._map is None:
            # A plain array over the map: slicing a `memmap` costs more than the slice.
            self._map = np.asarray(np.memmap(self.folder / PIXELS, np.uint8, "r"))
        return self._map

    def _warn(self, reason: str) -> None:
        _log.warning(
            "the cache %s is damaged (%s): such pictures are read from their files; remove that "
            "folder and make it anew",
            self.folder,
            reason,
        )


def _read(folder: Path, step: FirstStep) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    if not folder.is_dir():
        kind = folder.name.rpartition("-")[0]
        raise UnusableCacheError(f"there is none of {kind} for {step}")
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        if about["step"] != step.facts():
            raise UnusableCacheError(f"{folder} was made for something else")
        # Reading checks the CRC. The file is opened here, because NumPy leaves a bad one open.
        with (folder / INDEX).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            index = {name: archive[name].astype(np.int64) for name in COLUMNS}
            text = archive["names"].tobytes().decode("utf-8", "surrogateescape")
        size = (folder / PIXELS).stat().st_size
    except FileNotFoundError as error:
        raise UnusableCacheError(f"{error.filename} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UnusableCacheError(f"{folder} is damaged") from error
    names = text.split("\0") if text else []
    if size != about["bytes"] or {len(names)} != {len(column) for column in index.values()}:
        raise UnusableCacheError(f"{folder} is damaged")
    return names, index


def _match(names: list[str], wanted: list[str]) -> NDArray[np.int64]:
    if names == wanted:
        return np.arange(len(names), dtype=np.int64)
    rows = {name: row for row, name in enumerate(names)}
    return np.array([rows.get(name, -1) for name in wanted], dtype=np.int64)
