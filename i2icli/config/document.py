"""Configurations as plain nested dicts: reading TOML, merging layers, comparing, writing."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from i2icli.config.shape import Shape
from i2icli.config.words import toml_like
from i2icli.errors import ConfigError

Document = dict[str, Any]
DEEPEST = 32  # tables and lists in each other


@dataclass(frozen=True)
class Change:
    """One value that differs between two documents; None stands for an absent value."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        sides = (self.before, self.after)
        words = ("not set" if value is None else toml_like(value) for value in sides)
        return f"{self.path}: {' -> '.join(words)}"


def parse_toml(text: str, *, source: str) -> Document:
    """Read TOML text of `source`, the file that the error names.

    Raises:
        ConfigError: it is not TOML, with the line.
    """
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # also of numbers with more digits than Python reads
        raise ConfigError(f"{source} is not valid TOML: {error}.") from None
    except RecursionError:
        document = {}
        depth = DEEPEST + 1
    else:
        depth = _depth(document)
    if depth > DEEPEST:
        raise ConfigError(
            f"{source} nests tables or lists deeper than {DEEPEST}, and no configuration does."
        )
    return document


def _depth(document: Document) -> int:
    depth = 0
    level: list[Any] = [document]
    while level and depth <= DEEPEST:
        depth += 1
        inner = (
            each
            for value in level
            for each in (value.values() if isinstance(value, dict) else value)
        )
        level = [each for each in inner if isinstance(each, dict | list)]
    return depth


def read_text(path: Path) -> str:
    """Read a text file, without the byte order mark that editors on Windows put first.

    Raises:
        ConfigError: if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason}.") from None


def write_toml(document: Mapping[str, Any]) -> str:
    """Return a document as TOML text; TOML has no null, so absent values are left out."""
    return tomli_w.dumps(without_nulls(document))


def config_document(config: BaseModel) -> Document:
    """Return a configuration as a plain nested dict, as `methods.restore_config` takes it."""
    return without_nulls(config.model_dump(mode="json"))


def without_nulls(document: Mapping[str, Any]) -> Document:
    """Return a copy without absent values, the key that names a table's kind in front."""
    keys = sorted(document, key=lambda key: key not in ("name", "policy"))
    kept = {key: document[key] for key in keys if document[key] is not None}
    return {
        key: without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in kept.items()
    }


def merge(base: Mapping[str, Any], over: Mapping[str, Any], shape: Shape | None) -> Document:
    """Lay one document over another, table by table; lists replace lists.

    `shape` is what the configuration may hold here, or None where it is unknown.
    """
    merged = dict(base)
    for key, value in over.items():
        held = merged.get(key)
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            inner = None if shape is None else shape.child(key, {**base, **over})
            tag = None if inner is None else inner.tag
            # A table whose kind changes (`schedule.policy`, say) starts over: the keys of the old
            # kind mean nothing in the new one.
            if tag is not None and value.get(tag, held.get(tag)) != held.get(tag):
                held = {}
            merged[key] = merge(held, value, inner)
        else:
            merged[key] = value
    return merged


def flatten(document: Mapping[str, Any], prefix: str = "") -> Document:
    """Return every value by its dotted path."""
    flat: Document = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def look_up(document: object, path: Sequence[str]) -> Any:
    """Return the value at a path, None where there is none."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the values in which two documents differ, in the order of `after`."""
    old, new = flatten(before), flatten(after)
    paths = [*new, *(path for path in old if path not in new)]
    changes = [Change(path, old.get(path), new.get(path)) for path in paths]
    return [change for change in changes if change.before != change.after]


def annotate(document: Mapping[str, Any], shape: Shape) -> str:
    """Return a document as commented TOML, in the order of the model.

    It has every value of a configuration; one left open is absent, and appears as a comment.
    """
    return "\n".join(_table(document, shape, ())) + "\n"


def _table(document: Mapping[str, Any], shape: Shape, path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(path)}]"
    # A table's own values stand before the tables inside it.
    children = list(shape.children(document))
    for key, child in children:
        if not isinstance(document.get(key), Mapping):
            meaning, allowed = child.description.rstrip("."), child.allowed()
            comment = f"{meaning} ({allowed})." if meaning else f"Allowed: {allowed}."
            yield from textwrap.wrap(comment, 98, initial_indent="# ", subsequent_indent="# ")
            # An absent value has no way to be written in TOML.
            value = document.get(key)
            unset = f"# {key} is not set"
            yield unset if value is None else tomli_w.dumps({key: value}).rstrip()
    for key, child in children:
        if isinstance(document.get(key), Mapping):
            yield from _table(document[key], child, (*path, key))
