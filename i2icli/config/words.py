"""Phrases of messages, and values as TOML or JSON has them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from difflib import get_close_matches
from typing import Any


def one_of(words: Sequence[str]) -> str:
    """Join words as a choice: `a`, `a or b`, `a, b or c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


def toml_like(value: object) -> str:
    """Write a value as it would stand in a TOML file, null apart."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {toml_like(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_like, value))}]"
    return str(value)


def as_plain(value: Any) -> Any:
    """Return a value, such as a dataclass, as JSON has it; paths and the like as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def nearest(word: str, names: Sequence[str]) -> str | None:
    """Return the name that a mistyped word most likely meant, or None."""
    folded = {name.lower().replace("-", "_"): name for name in names}
    found = get_close_matches(word.lower().replace("-", "_"), list(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS))


def human_time(seconds: float) -> str:
    """Return a duration as a person would say it, for example "3.2 hours" or "2 days 5 hours"."""
    if seconds >= 86400:
        days, hours = divmod(round(seconds / 3600), 24)
        counted = ((days, "day"), (hours, "hour"))
        return " ".join(f"{n} {unit}{'s' if n > 1 else ''}" for n, unit in counted if n)
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def parse_duration(text: str) -> float:
    """Return the seconds that a text such as "90m", "2h", "1d" or "1h30m" means.

    Raises:
        ValueError: it is no such text, or means no time at all.
    """
    found = _DURATION.fullmatch(text.strip())
    parts = found.groups() if found else ()
    seconds = sum(
        float(part or 0) * length for part, length in zip(parts, _UNITS.values(), strict=False)
    )
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time such as 90m, 2h, 1d or 1h30m")
    return seconds


def short_duration(seconds: float) -> str:
    """Return a text that `parse_duration` takes, minutes rounded up: "1h30m"."""
    left, parts = math.ceil(seconds / 60) * 60, []
    for unit, length in _UNITS.items():
        count, left = divmod(left, length)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)
