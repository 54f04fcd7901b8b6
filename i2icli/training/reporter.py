"""The watchers of a run; the command line draws it, the Python API is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The point that a run has reached."""

    step: int
    last_step: int
    epoch: int  # epoch of the last step, counted from 1


class Reporter:
    """Someone who watches a run; by itself silent."""

    def started(self, progress: Progress) -> None:
        """Training begins, or goes on, from here."""

    def stepped(self, progress: Progress) -> None:
        """One more step is done; its losses may still be on the device."""

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """A line was added to metrics.jsonl."""

    def glanced(self, progress: Progress, terms: Mapping[str, float]) -> None:
        """The means of all terms so far, where the first line is long in coming."""

    def finished(self) -> None:
        """Training has ended, for whatever reason."""


Silent = Reporter
