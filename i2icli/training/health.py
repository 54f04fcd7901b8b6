"""Watching a run for faults: which alarms are up, and when one is worth saying.

All that is remembered follows from metrics.jsonl, where every alarm is written when it goes up
and when it clears. A run that goes on reads it there, so its log is that of a run that never
stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2icli.config.sections import HealthConfig
from i2icli.data.folders import Domains
from i2icli.errors import DataError
from i2icli.methods import method_of
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.metrics.alarms import Alarm, discriminator_alarm, discriminator_won, picture_alarms
from i2icli.metrics.appearance import References, describe_references
from i2icli.pictures.images import Pixels, read_picture
from i2icli.pictures.listing import evenly_spaced
from i2icli.training.samples import Drawn

_PICTURES = (
    "inversion",
    "collapse",
    "saturation",
    "checkerboard",
    "copying",
    "mask-empty",
    "mask-full",
)
_DISCRIMINATOR = "discriminator-won"
_STALL = "no-improvement"

Line = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """An alarm that goes up, or that clears."""

    name: str  # of the alarm
    direction: str  # of the translations that show it; "" where it is about the run as a whole
    alarm: Alarm | None  # what it says; None: it clears

    def line(self) -> Line:
        """Return the event for metrics.jsonl, step and epoch left to the caller."""
        line: Line = {"direction": self.direction} if self.direction else {}
        if self.alarm is None:
            return {"cleared": self.name, **line}
        return {"alarm": self.name, **line, "saw": self.alarm.saw, "remedy": self.alarm.remedy}

    def sentence(self) -> str:
        """Return the event for people."""
        which = f" ({self.direction})" if self.direction else ""
        if self.alarm is None:
            return f"alarm cleared: {self.name}{which}"
        return f"alarm: {self.name}{which}: {self.alarm.saw}. Remedy: {self.alarm.remedy}"


class HealthWatch:
    """Tells the alarms that changed since it last looked, or since `lines` of metrics.jsonl."""

    def __init__(
        self, config: AnyRunConfig, domains: Domains, lines: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._config = config
        self._limits: HealthConfig = config.health
        # Drawings of label maps are flat and few-coloured by nature.
        self._is_segmenter = method_of(config).data == "labelled"
        self._domains = domains
        self._up: set[tuple[str, str]] = set()
        self._references: dict[str, References | None] = {}
        self._won_since: int | None = None
        self._last_step = 0
        for line in lines:
            self._recall(line)

    def look_at_samples(self, step: int, drawn: Sequence[Drawn]) -> list[Event]:
        """Return the alarms that the sample pictures of a step raise or clear."""
        if not self._limits.enabled or step < self._limits.warmup_steps or self._is_segmenter:
            return []
        events: list[Event] = []
        for direction in dict.fromkeys(one.sample.direction for one in drawn):
            chosen = [one for one in drawn if one.sample.direction == direction]
            alarms = picture_alarms(
                [one.sample.picture.pixels for one in chosen],
                [one.output for one in chosen],
                references=self._references_of(direction),
                limits=self._limits,
                masks={name: [one.masks[name] for one in chosen] for name in chosen[0].masks},
            )
            events += self._changes(_PICTURES, direction, alarms)
        return events

    def look_at_terms(self, line: Mapping[str, Any]) -> list[Event]:
        """Return the alarms that a log line of terms raises or clears."""
        if not self._limits.enabled or line.get("partial"):
            return []
        won = self._follow(line)
        step, alarms = line["step"], []
        if won is not None and self._won_since is not None and step >= self._limits.warmup_steps:
            held = step - self._won_since
            if held >= self._limits.discriminator_steps:
                alarms.append(discriminator_alarm(*won, steps=held))
        return self._changes((_DISCRIMINATOR,), "", alarms)

    def look_at_measurements(self, stall: Alarm | None) -> list[Event]:
        """Return the advice to stop, once, or that there is a gain again."""
        return self._changes((_STALL,), "", [] if stall is None else [stall])

    def _changes(
        self, names: Sequence[str], direction: str, alarms: Sequence[Alarm]
    ) -> list[Event]:
        now: dict[str, Alarm] = {alarm.name: alarm for alarm in alarms}
        events = []
        for name in names:
            if (name in now) != ((name, direction) in self._up):
                event = Event(name, direction, now.get(name))
                self._recall(event.line())
                events.append(event)
        return events

    def _recall(self, line: Mapping[str, Any]) -> None:
        direction = str(line.get("direction", ""))
        if "alarm" in line:
            self._up.add((line["alarm"], direction))
        elif "cleared" in line:
            self._up.discard((line["cleared"], direction))
        elif not line.get("partial"):
            self._follow(line)

    def _follow(self, line: Mapping[str, Any]) -> tuple[str, float, float] | None:
        terms = {
            key: value
            for key, value in line.items()
            if "/" in key and not key.startswith("eval/") and not key.endswith("/lr")
        }
        if not terms:
            return None
        method = self._config.method
        won = discriminator_won(
            terms,
            # A method without these has no adversary that the figures here are about.
            mode=str(getattr(method, "gan_mode", "")),
            weight=float(getattr(method, "lambda_gan", 1.0)),
            share=self._limits.discriminator,
        )
        if won is None:
            self._won_since = None
        elif self._won_since is None:
            self._won_since = self._last_step
        self._last_step = line["step"]
        return won

    def _references_of(self, direction: str) -> References | None:
        if direction in self._references:
            return self._references[direction]
        domains, data = self._domains, self._config.data
        paths = domains.train_b if direction == "a2b" else domains.train_a
        channels = data.channels_from("b2a" if direction == "a2b" else "a2b")
        chosen = (
            evenly_spaced(paths, count=self._limits.references) if self._limits.references else ()
        )
        pictures = (_read(path, channels) for path in chosen)
        references = describe_references(pixels for pixels in pictures if pixels is not None)
        self._references[direction] = references if len(references.thumbnails) else None
        return self._references[direction]


def _read(path: Path, channels: int) -> Pixels | None:
    try:
        return read_picture(path, channels=channels).pixels
    except DataError:
        return None  # training names such files
