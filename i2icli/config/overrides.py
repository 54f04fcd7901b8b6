"""`--set KEY=VALUE`: values that lie over the preset."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2icli.config.document import Document, look_up
from i2icli.config.shape import Shape
from i2icli.errors import ConfigError


@dataclass(frozen=True)
class Override:
    """One `--set`: the keys, the value read as TOML, and the text as it was typed."""

    path: tuple[str, ...]
    value: Any
    text: str


def parse_overrides(typed: Sequence[str]) -> list[Override]:
    """Read `KEY=VALUE` texts.

    A value is TOML (`0.5`, `true`, `[0, 4]`, `"text"`); what is not TOML is plain text, and `null`
    leaves an optional value open.

    Raises:
        ConfigError: naming every text that has no key or no `=`.
    """
    wrong = [text for text in typed if not _is_assignment(text)]
    if wrong:
        shown = ", ".join(f"--set {text!r}" for text in wrong)
        raise ConfigError(
            f"{shown}: expected KEY=VALUE, for example --set data.batch_size=4; "
            "`i2i presets show NAME --full` lists the keys."
        )
    return [_parse_one(text) for text in typed]


def nest(overrides: Sequence[Override]) -> Document:
    """Return overrides as a nested document; of two for one key the later wins."""
    document: Document = {}
    for override in overrides:
        table = document
        for key in override.path[:-1]:
            if not isinstance(table.get(key), dict):
                table[key] = {}
            table = table[key]
        table[override.path[-1]] = override.value
    return document


def resolve(document: Document, overrides: Sequence[Override], shape: Shape) -> Document:
    """Resolve the overrides whose reading depends on what the key holds.

    Text keys keep what was typed (`data.root=2024` is a folder, not a number), and `none` leaves a
    key open that can be left open.

    Args:
        document: the merged document.
        overrides: what was typed.
        shape: what a configuration may hold.
    """
    for override in overrides:
        here = shape.at(override.path, document)
        if here is None or look_up(document, override.path) != override.value:
            continue
        if override.value == "none" and here.takes_null:
            document = _replace(document, override.path, None)
        elif here.takes_text_only and not isinstance(override.value, str | None):
            document = _replace(document, override.path, override.text)
    return document


def _is_assignment(text: str) -> bool:
    key, equals, _ = text.partition("=")
    return bool(equals) and all(part.strip() for part in key.split("."))


def _parse_one(text: str) -> Override:
    key, _, value = text.partition("=")
    return Override(tuple(part.strip() for part in key.split(".")), _parse_value(value), value)


def _parse_value(text: str) -> Any:
    """Read TOML, else take the text as it is."""
    if text.strip() == "null":
        return None
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if list(document) == ["value"] else text


def _replace(document: Mapping[str, Any], path: Sequence[str], value: object) -> Document:
    """Return a copy of a document with one value replaced."""
    first, *rest = path
    return {**document, first: _replace(document[first], rest, value) if rest else value}
