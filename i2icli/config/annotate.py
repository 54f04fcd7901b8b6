"""A configuration as TOML with the meaning of every value written above it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from i2icli.config.shape import Shape


def annotate(document: Mapping[str, Any], shape: Shape) -> str:
    """Return a document as commented TOML, in the order of the model.

    Args:
        document: every value of a configuration; a value left open is absent, and appears as a
            comment.
        shape: what the configuration may hold.
    """
    return "\n".join(_table(document, shape, ())) + "\n"


def _table(document: Mapping[str, Any], shape: Shape, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of one table, its own values before the tables inside it."""
    if path:
        yield f"\n[{'.'.join(path)}]"
    children = list(shape.children(document))
    for key, child in children:
        if not isinstance(document.get(key), Mapping):
            yield from _value(key, document.get(key), child)
    for key, child in children:
        if isinstance(document.get(key), Mapping):
            yield from _table(document[key], child, (*path, key))


def _value(key: str, value: object, shape: Shape) -> Iterator[str]:
    """Yield the comment above a value, and the value."""
    meaning = shape.description.rstrip(".")
    comment = f"{meaning} ({shape.allowed()})." if meaning else f"Allowed: {shape.allowed()}."
    yield from textwrap.wrap(comment, 98, initial_indent="# ", subsequent_indent="# ")
    # An absent value has no way to be written in TOML.
    yield f"# {key} is not set" if value is None else tomli_w.dumps({key: value}).rstrip()
