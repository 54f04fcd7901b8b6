"""Advice for a run that would take longer than a day: what fits, as commands to copy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from i2icli.config.presets import default_preset
from i2icli.config.words import human_time
from i2icli.methods.shared.configure import AnyRunConfig

LONG = 86400.0  # seconds; a run that takes more is worth a warning
_SHARES = (1.0, 0.75, 0.5, 0.375, 0.25)  # of the crop that are proposed
_MULTIPLE, _SMALLEST_CROP, _SMALLEST_WIDTH = 32, 64, 16
# Convolutions take time by the square of the width, all else by the width itself.
_WIDTH_POWER = 1.5


@dataclass(frozen=True)
class Smaller:
    """Changes to a run that make it shorter.

    Attributes:
        settings: `KEY=VALUE` texts, none where nothing changes.
        factor: of the time, estimated.
    """

    settings: tuple[str, ...]
    factor: float


def advise(
    config: AnyRunConfig, *, steps: int, step_seconds: float, device: str, command: str
) -> list[str]:
    """Return advice where a run takes longer than a day: first how long, then what to type instead.

    Args:
        config: of the run.
        steps: that it has to take.
        step_seconds: of one of them, measured or estimated.
        device: its kind, "cpu", "cuda" or "mps".
        command: that starts the run, to which options can be added.

    Returns:
        Sentences; none for a run of a day at the most, or one that a budget ends.
    """
    seconds = steps * step_seconds
    if seconds <= LONG or config.train.budget is not None:
        return []
    said = [
        f"this takes about {human_time(seconds)} here: {steps:,} steps, "
        f"{human_time(step_seconds)} each"
    ]
    if smaller := _largest_that_fits(config, seconds):
        options = " ".join(f"--set {setting}" for setting in smaller.settings)
        about = human_time(seconds * smaller.factor)
        # The smallest there is may still be long.
        end = " --budget 1d" if seconds * smaller.factor > LONG else ""
        said.append(f"smaller, about {about} (estimated): `{command} {options}{end}`")
    said.append(f"as far as it comes in a time of your choice: `{command} --budget 8h`")
    if (preset := default_preset(device)) != config.preset and device == "cpu":
        root = config.data.root
        data = f" --data {shlex.quote(root)}" if root is not None else ""
        said.append(f"made for a machine without a GPU: `i2i train --preset {preset}{data}`")
    return said


def _largest_that_fits(config: AnyRunConfig, seconds: float) -> Smaller | None:
    """Return the least change that brings a run under a day, else the greatest there is."""
    choices = [
        Smaller((*crop.settings, *width.settings), crop.factor * width.factor)
        for crop, width in product(_crops(config), _widths(config))
    ]
    choices = sorted(choices, key=lambda each: -each.factor)[1:]
    fitting = (each for each in choices if seconds * each.factor <= LONG)
    return next(fitting, choices[-1] if choices else None)


def _crops(config: AnyRunConfig) -> Iterator[Smaller]:
    data = config.data
    yield Smaller((), 1.0)
    # What does not crop shows whole pictures, and patches are small as they are.
    if not data.is_cropped or data.preprocess == "zoom-and-patch":
        return
    sides = dict.fromkeys(int(data.crop * share) // _MULTIPLE * _MULTIPLE for share in _SHARES)
    for side in sides:
        if _SMALLEST_CROP <= side < data.crop:
            # Pictures squashed to the small crop would show another scale in the last epochs.
            jitter = () if data.jitter_in_decay else ("data.jitter_in_decay=true",)
            yield Smaller((f"data.crop={side}", *jitter), (side / data.crop) ** 2)


def _widths(config: AnyRunConfig) -> Iterator[Smaller]:
    yield Smaller((), 1.0)
    width = getattr(getattr(config.method, "generator", None), "width", None)
    if not isinstance(width, int):
        return
    for part in (2, 4):
        if width % part == 0 and width // part >= _SMALLEST_WIDTH:
            setting = f"method.generator.width={width // part}"
            yield Smaller((setting,), (1 / part) ** _WIDTH_POWER)
