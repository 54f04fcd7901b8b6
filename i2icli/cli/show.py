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
from i2icli.system.faults import advice


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
        said = f"the folder {folder} cannot be made: {fault.strerror}. {advice(fault)}"
        raise ConfigError(said) from None


@contextmanager
def results_folder(out: Path | None, name: str, *, stem: str) -> Iterator[tuple[Path, Path]]:
    """Yield a folder for STEM.png and then STEM.json, and the name that it has in the end.

    That is `out`, which holds no earlier results, or NAME/NAME-001 or the next number, which is
    there whole or not at all.

    Raises:
        ConfigError: results would be replaced, or files that i2i did not make, or `out` is named
            like a picture, or the system refuses it.
    """
    from i2icli.pictures.mark import refuse_foreign
    from i2icli.system.files import next_number, whole_folder
    from i2icli.translation.targets import check_folder_name

    if out is None:
        folder = next_number(Path(name), name)
        with writing_to(folder), whole_folder(folder) as fresh:
            yield fresh, folder
        return
    check_folder_name(out)
    if (out / f"{stem}.json").exists():
        raise ConfigError(
            f"{out} holds {stem}.json already, and results are never overwritten: name another "
            f"folder with --out, or leave it out for the next of {name}/{name}-001, -002, ..."
        )
    refuse_foreign([out / f"{stem}.png"])
    is_new = not out.exists()
    make_folder(out)
    try:
        with writing_to(out):
            yield out, out
    finally:
        if is_new and not any(out.iterdir()):
            out.rmdir()


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turn a refusal of the system to write into one sentence.

    Raises:
        ConfigError: naming `out`.
    """
    try:
        yield
    except OSError as fault:
        said = f"{out} cannot be written to: {fault.strerror}. {advice(fault)}"
        raise ConfigError(said) from None
