"""How a run tells whoever watches it; the command line draws it, the Python API is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        last_step: where it stops.
        epoch: epoch of the last step, counted from 1.
    """

    step: int
    last_step: int
    epoch: int


class Reporter(Protocol):
    """Someone who watches a run."""

    def started(self, progress: Progress) -> None:
        """Training begins, or goes on, from here."""

    def stepped(self, progress: Progress) -> None:
        """One more step is done; its losses may still be on the device."""

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """A line was added to metrics.jsonl."""

    def finished(self) -> None:
        """Training has ended, for whatever reason."""


class Silent:
    """A reporter that says nothing."""

    def started(self, progress: Progress) -> None:
        """Say nothing."""

    def stepped(self, progress: Progress) -> None:
        """Say nothing."""

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """Say nothing."""

    def finished(self) -> None:
        """Say nothing."""
