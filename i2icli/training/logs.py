"""The records of a run: means and times between two lines, metrics.jsonl, TensorBoard events."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from i2icli.config.sections import LogConfig
from i2icli.runs.folder import RunFolder
from i2icli.training.pace import Stretch
from i2icli.training.step import StepLosses

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TermMeter:
    """Mean of every term since the last line, summed on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, losses: StepLosses) -> None:
        """Take in the terms of one step."""
        for player, terms in losses.items():
            for term, value in terms.items():
                key = f"{player}/{term}"
                summed = self._sums.get(key)
                self._sums[key] = value.float() + (0.0 if summed is None else summed)
                self._counts[key] = self._counts.get(key, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the means by "player/term"; waits for the device once."""
        if not self._sums:
            return {}
        counts = torch.tensor(list(self._counts.values()), dtype=torch.float32)
        values = (torch.stack(list(self._sums.values())).cpu() / counts).tolist()
        return dict(zip(self._sums, values, strict=True))

    def reset(self) -> None:
        """Start the next interval."""
        self._sums, self._counts = {}, {}

    def state(self) -> dict[str, Any]:
        """Return the open interval."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take up what `state` returned."""
        self._sums = {key: value.to(device) for key, value in state.get("sums", {}).items()}
        self._counts = dict(state.get("counts", {}))


class Clock:
    """Seconds of training, and the part of them spent waiting for data.

    Loading, drawing, measuring and saving are in the seconds, as in the user's day; pauses between
    two parts of a run, and what comes before its first step, are not.
    """

    def __init__(self, *, seconds_before: float = 0.0) -> None:
        self._before = seconds_before
        self._start = self._mark = time.perf_counter()
        self._waited = self._aside = self._aside_before = 0.0
        self._images = self._steps = 0
        self.steps_here = 0  # taken in this part of the run

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the time inside out of the pace: it goes into no step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._aside += time.perf_counter() - start

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    def count(self, images: int) -> None:
        """Take in a step, with its pictures of one domain."""
        self._images += images
        self._steps += 1
        self.steps_here += 1

    def stretch(self) -> Stretch:
        """Return the steps since the last call of `interval`, with what they took."""
        length = time.perf_counter() - self._mark - self._aside
        return Stretch(self._steps, max(0.0, length - self._waited), self._waited)

    @property
    def seconds(self) -> float:
        """Seconds since the run's first start, pauses between resumes left out."""
        return self._before + self.here

    @property
    def here(self) -> float:
        """Seconds since this part of the run began."""
        return time.perf_counter() - self._start

    @property
    def in_steps(self) -> float:
        """Seconds of this part of the run that went into steps: all but those aside."""
        return self.here - self._aside_before - self._aside

    def interval(self) -> dict[str, float]:
        """Return speed and data wait since the last call."""
        now = time.perf_counter()
        length = max(now - self._mark, 1e-9)
        rates = {
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self._images / length, 3),
            "data_wait": round(min(1.0, self._waited / length), 4),
        }
        self._aside_before += self._aside
        self._mark, self._waited, self._aside = now, 0.0, 0.0
        self._images = self._steps = 0
        return rates


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

    def __exit__(self, *exception: object) -> None:
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
