"""The time that gpu.py gives its parts."""

from __future__ import annotations

import os
import time


class Allowance:
    """The seconds of a part, I2I_GPU_SECONDS from its start; none given: without end."""

    def __init__(self) -> None:
        self._mark = time.monotonic()
        self._end = self._mark + float(os.environ.get("I2I_GPU_SECONDS", "inf"))
        self._longest = 0.0

    def suffices(self) -> bool:
        """Say, between two measurements, whether one as long as the longest so far has time."""
        now = time.monotonic()
        self._longest, self._mark = max(self._longest, now - self._mark), now
        return now + self._longest < self._end
