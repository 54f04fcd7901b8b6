"""The one way from a result to text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import typer

from i2icli.config.words import as_plain
from i2icli.errors import ConfigError


class Result(Protocol):
    """What a command has found out or made."""

    def as_document(self) -> Any:
        """Return it as JSON has it."""

    def lines(self) -> Iterable[str]:
        """Return it for people."""


@dataclass(frozen=True)
class Told:
    """A result that one command makes for itself."""

    document: object
    text: Sequence[str]

    def as_document(self) -> Any:
        """Return it as JSON has it."""
        return as_plain(self.document)

    def lines(self) -> Sequence[str]:
        """Return it for people."""
        return self.text


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


def make_folder(folder: Path) -> None:
    """Make a folder that results go into, and those above it.

    Raises:
        ConfigError: the system refuses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"the folder {folder} cannot be made: {fault.strerror}.") from None


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turn a refusal of the system to write into one sentence.

    Raises:
        ConfigError: naming `out`.
    """
    try:
        yield
    except OSError as fault:
        raise ConfigError(f"{out} cannot be written to: {fault.strerror}.") from None
