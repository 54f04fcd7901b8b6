"""The measurements of a run, the best of them, and whether there is still a gain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from i2icli.metrics.alarms import Alarm, stall_alarm

Best = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """The numbers of one step."""

    step: int
    scores: Mapping[str, float]


@dataclass
class Scoreboard:
    """What was measured under one protocol.

    All of it follows from metrics.jsonl and the checkpoint's best, so a run that goes on knows
    what the one that never stopped knows.

    Attributes:
        judge: name of the number that decides, lower is better.
        protocol: what the numbers were computed from.
        points: the measurements in order of their steps.
    """

    judge: str
    protocol: str
    points: list[Point] = field(default_factory=list)

    def read(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take in lines of metrics.jsonl; those of another protocol are left out."""
        for line in lines:
            if line.get("protocol") == self.protocol:
                scores = {key: value for key, value in line.items() if key.startswith("eval/")}
                self.points.append(Point(line["step"], scores))

    def add(self, step: int, scores: Mapping[str, float]) -> None:
        """Take in a measurement."""
        self.points.append(Point(step, dict(scores)))

    def is_comparable(self, best: Best) -> bool:
        """Say whether a best number was measured as these are; none at all is."""
        return not best or (best["name"], best.get("protocol")) == (self.judge, self.protocol)

    def improved(self, best: Best) -> Best | None:
        """Return the new best if the newest measurement is lower than `best`, else None."""
        newest = self.points[-1]
        value = newest.scores[self.judge]
        # The first number is the best whatever it is; one that is none is never lower.
        if best and not value < best["value"]:
            return None
        return {
            "name": self.judge,
            "value": value,
            "step": newest.step,
            "protocol": self.protocol,
        }

    def stall(self, best: Best, *, patience: int) -> Alarm | None:
        """Return the advice to stop, if `patience` measurements brought no gain; 0: never."""
        if not patience or not best:
            return None
        count = sum(point.step > best["step"] for point in self.points)
        if count < patience:
            return None
        return stall_alarm(
            metric=self.judge, best=best["value"], best_step=best["step"], count=count
        )
