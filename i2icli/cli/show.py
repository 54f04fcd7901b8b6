"""The one way from a result to text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

import typer


class Result(Protocol):
    """What a command has found out or made."""

    def as_document(self) -> Any:
        """Return it as JSON has it."""

    def lines(self) -> Iterable[str]:
        """Return it for people."""


def show(result: Result, *, as_json: bool, indent: int | None = 2) -> None:
    """Print a result on stdout."""
    if as_json:
        show_document(result.as_document(), indent=indent)
    else:
        for line in result.lines():
            typer.echo(line)


def show_document(document: object, *, indent: int | None = 2) -> None:
    """Print plain values on stdout, as JSON."""
    typer.echo(json.dumps(document, indent=indent))
