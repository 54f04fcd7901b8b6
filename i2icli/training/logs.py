"""metrics.jsonl, and TensorBoard events where the extra is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from i2icli.config.sections import LogConfig
from i2icli.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Line = Mapping[str, float | int | bool | str]


class MetricsLog:
    """Appends one JSON object a line; what is written is readable at once by others."""

    def __init__(self, folder: RunFolder, config: LogConfig, *, first_step: int) -> None:
        self._file = folder.metrics.open("a", encoding="utf-8")
        self._board = _open_board(folder, config, first_step=first_step)

    def write(self, line: Line) -> None:
        """Add a line; `step` is the x axis of the TensorBoard curves.

        Text, such as an alarm's, is no curve.
        """
        self._file.write(json.dumps(dict(line)) + "\n")
        self._file.flush()
        if self._board is not None:
            for key, value in line.items():
                if not isinstance(value, bool | str) and key != "step":
                    self._board.add_scalar(key, value, int(line["step"]))

    def sync(self) -> None:
        """Put the lines on the disk, so that no checkpoint is newer than its log."""
        os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


class NoLog:
    """Stands for the log where another process writes it."""

    def write(self, line: Line) -> None:
        """Write nothing."""

    def sync(self) -> None:
        """Have nothing to sync."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Have nothing to close."""


def _open_board(folder: RunFolder, config: LogConfig, *, first_step: int) -> SummaryWriter | None:
    if config.tensorboard == "off" or importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    # Events from `purge_step` on are hidden: those of steps that a killed run did in vain.
    writer: SummaryWriter = SummaryWriter(
        str(folder.path / "tensorboard"), purge_step=first_step + 1 if first_step else None
    )
    return writer
