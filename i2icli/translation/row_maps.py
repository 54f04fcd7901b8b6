"""Feature maps that are written and read by rows, in memory as long as there is room, else on disk.

Files are read and written, not mapped: mapped pages would count as the process's own memory.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import IO, Any

import torch
from torch import Tensor

from i2icli.errors import I2IError
from i2icli.system.files import NO_ROOM


class RowMap:
    """A map of C channels, H rows and W columns.

    Attributes:
        shape: (C, H, W).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def read(self, first: int, last: int) -> Tensor:
        """Return rows `first` up to `last`, (1, C, last - first, W); not to be written to."""
        raise NotImplementedError

    def write(self, first: int, rows: Tensor) -> None:
        """Take over rows, (1, C, h, W), from row `first` on."""
        raise NotImplementedError

    def free(self) -> None:
        """Give the memory or the disk space back; the map is of no use afterwards."""
        raise NotImplementedError


class MemoryMap(RowMap):
    """A map in memory.

    Args:
        tensor: (C, H, W); it is read and written as it is, not copied.
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__((tensor.shape[0], tensor.shape[1], tensor.shape[2]))
        self._tensor: Tensor | None = tensor

    def read(self, first: int, last: int) -> Tensor:
        """Return a view."""
        assert self._tensor is not None, "freed"
        return self._tensor[None, :, first:last]

    def write(self, first: int, rows: Tensor) -> None:
        """Copy rows in."""
        assert self._tensor is not None, "freed"
        self._tensor[:, first : first + rows.shape[2]] = rows[0]

    def free(self) -> None:
        """Drop the tensor."""
        self._tensor = None


class FileMap(RowMap):
    """A map in a nameless temporary file, row after row, which goes with the process.

    Args:
        shape: (C, H, W).
        dtype: of the numbers.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
        super().__init__(shape)
        self._dtype = dtype
        self._row_bytes = shape[0] * shape[2] * dtype.itemsize
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see free

    def read(self, first: int, last: int) -> Tensor:
        """Read rows from the file."""
        channels, _, width = self.shape
        rows = torch.empty(last - first, channels, width, dtype=self._dtype)
        target = _bytes_of(rows)
        self._file.seek(first * self._row_bytes)
        done = 0
        while done < len(target):
            got = self._file.readinto(target[done:])  # type: ignore[attr-defined]
            assert got, "read before it was written"
            done += got
        return rows.permute(1, 0, 2)[None]

    def write(self, first: int, rows: Tensor) -> None:
        """Write rows to the file.

        Raises:
            I2IError: if the disk is full.
        """
        left = _bytes_of(rows[0].permute(1, 0, 2).contiguous())
        self._file.seek(first * self._row_bytes)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as fault:
            if fault.errno not in NO_ROOM:
                raise
            raise _no_room(self.shape) from None

    def free(self) -> None:
        """Close the file, which removes it."""
        self._file.close()


class MapStore:
    """Makes maps, in memory up to a bound.

    Args:
        in_memory: bytes of maps that may be in memory at once.

    Attributes:
        spilled: bytes of all maps that went to disk.
    """

    def __init__(self, in_memory: int) -> None:
        self._room = in_memory
        self._held: dict[RowMap, int] = {}
        self.spilled = 0

    def make(self, shape: tuple[int, int, int], dtype: torch.dtype) -> RowMap:
        """Return a map to write to.

        Raises:
            I2IError: if neither memory nor disk has room.
        """
        size = shape[0] * shape[1] * shape[2] * dtype.itemsize
        if size <= self._room:
            self._room -= size
            made: RowMap = MemoryMap(torch.empty(shape, dtype=dtype))
            self._held[made] = size
            return made
        if shutil.disk_usage(tempfile.gettempdir()).free < size:
            raise _no_room(shape)
        self.spilled += size
        made = FileMap(shape, dtype)
        self._held[made] = 0
        return made

    def free(self, used: RowMap) -> None:
        """Free a map that this store made, or any other."""
        used.free()
        self._room += self._held.pop(used, 0)

    def close(self) -> None:
        """Free all maps that are left."""
        for left in list(self._held):
            self.free(left)


def _bytes_of(tensor: Tensor) -> memoryview:
    buffer: Any = tensor.view(torch.uint8).numpy()
    return memoryview(buffer).cast("B")


def _no_room(shape: tuple[int, int, int]) -> I2IError:
    return I2IError(
        f"the folder for temporary files, {tempfile.gettempdir()}, has no room for a feature map "
        f"of {shape[0]} x {shape[1]} x {shape[2]} numbers: name another in TMPDIR, or give more "
        "memory (--memory)."
    )
