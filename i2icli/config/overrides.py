"""`--set KEY=VALUE`: values that lie over the preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2icli.config.document import DEEPEST, Document, look_up, parse_toml
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
    read: list[Override] = []
    wrong: list[str] = []
    for text in typed:
        key, equals, value = text.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if equals and all(path) and len(path) <= DEEPEST:
            read.append(Override(path, _parse_value(value), value))
        else:
            wrong.append(text)
    if wrong:
        shown = ", ".join(f"--set {text!r}" for text in wrong)
        raise ConfigError(
            f"{shown}: expected KEY=VALUE, for example --set data.batch_size=4; "
            "`i2i presets show NAME --full` lists the keys."
        )
    return read


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
    """Resolve the overrides whose reading depends on what the key of the merged document holds.

    Text keys keep what was typed (`data.root=2024` is a folder, not a number), and `none` leaves a
    key open that can be left open.
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


def _parse_value(text: str) -> Any:
    if text.strip() == "null":
        return None
    try:
        document = parse_toml(f"value = {text}", source="a value")
    except ConfigError:
        return text  # plain text, as it is
    return document["value"] if list(document) == ["value"] else text


def _replace(document: Mapping[str, Any], path: Sequence[str], value: object) -> Document:
    """Return a copy of a document with one value replaced."""
    first, *rest = path
    return {**document, first: _replace(document[first], rest, value) if rest else value}
