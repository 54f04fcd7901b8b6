"""A stream of which no header can ask for more than memory holds."""

from __future__ import annotations

import os
import tarfile
from typing import IO


class CappedReader:
    """Reads a stream in pieces of at most `most` bytes, whatever is asked for.

    Raises:
        tarfile.ReadError: from `read`, where more is asked for.
    """

    def __init__(self, stream: IO[bytes], *, most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or what there is."""
        if not 0 <= size <= self._most:
            raise tarfile.ReadError(f"a header asks for {size} bytes")
        return self._stream.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()
