"""Commands that were typed wrongly, and the ones that were meant, to copy."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

import typer
import typer.core

from i2icli.config.words import nearest
from i2icli.errors import ConfigError, I2IError

# Of click, which newer versions of typer hold inside themselves.
_UsageError: Any = typer.BadParameter.__mro__[1]


class Command(typer.core.TyperCommand):
    """A command that answers a pattern without quotes, and an option that was mistyped."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command line, as click does.

        Raises:
            ConfigError: with the command that was meant.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as fault:
            if (files := _files_among(given)) and "extra argument" in fault.format_message():
                raise ConfigError(
                    f"{len(files)} pictures where `{_path_of(ctx)}` takes one: a pattern "
                    f"without quotes becomes its files. Quote it: `{quoted(files)}`."
                ) from None
            wrong = getattr(fault, "option_name", None)
            bare = [name.lstrip("-") for name in getattr(fault, "possibilities", None) or ()]
            if wrong and (near := nearest(wrong.lstrip("-"), bare)):
                near = f"{'-' if len(near) == 1 else '--'}{near}"
                raise ConfigError(
                    f"`{_path_of(ctx)}` has no option {wrong}; did you mean {near}?",
                    meant={wrong: near},
                ) from None
            raise


class Group(typer.core.TyperGroup):
    """Commands, the nearest of which is named where there is none of a name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names, as click does.

        Raises:
            ConfigError: with the command that was meant.
        """
        near = nearest(args[0], list(self.commands))
        if args[0] not in self.commands and near and not args[0].startswith("-"):
            raise ConfigError(
                f"`{_path_of(ctx)}` has no command {args[0]!r}; did you mean {near!r}?",
                meant={args[0]: near},
            )
        return super().resolve_command(ctx, args)


def _path_of(ctx: Any) -> str:
    """Return a command as it is typed, however the program was started."""
    names: list[str] = []
    while ctx.parent is not None:
        names, ctx = [ctx.info_name, *names], ctx.parent
    return " ".join(["i2i", *names])


def _files_among(words: Sequence[str]) -> list[str]:
    """Return the longest row of words that are files of one suffix, if it has several."""
    best: list[str] = []
    row: list[str] = []
    for word in words:
        is_more = not row or Path(word).suffix.lower() == Path(row[0]).suffix.lower()
        row = [*(row if is_more else ()), word] if os.path.isfile(word) else []
        best = max(best, row, key=len)
    return best if len(best) > 1 else []


def quoted(files: Sequence[str], *, out: str | None = None) -> str:
    """Return this process's command with a quoted pattern instead of the files that it became.

    Args:
        files: a row of the command's words.
        out: a word to add after the pattern.
    """
    words = sys.argv[1:]
    start = words.index(files[0])
    pattern = [_pattern_of(files), *([out] if out else [])]
    return shlex.join(["i2i", *words[:start], *pattern, *words[start + len(files) :]])


def _pattern_of(files: Sequence[str]) -> str:
    """Return the pattern that most likely became these files."""
    folders = {os.path.dirname(file) for file in files}
    suffix = Path(files[0]).suffix
    if len(folders) > 1:
        above = os.path.commonpath([os.path.abspath(folder) for folder in folders])
        return os.path.normpath(os.path.join(os.path.relpath(above), "**", f"*{suffix}"))
    folder = folders.pop()
    names = {os.path.basename(file) for file in files}
    there = {name for name in os.listdir(folder or ".") if name.endswith(suffix)}
    # Those that the pattern left out begin otherwise, if it was one.
    start = "" if names == there else commonprefix(sorted(names))
    return os.path.join(folder, f"{start.removesuffix(suffix)}*{suffix}")


def next_command(error: I2IError) -> str:
    """Return a sentence with the command to type instead, after a space; "" if none is known."""
    words = sys.argv[1:]
    if not error.meant or not words:
        return ""
    corrected = list(words)
    for wrong, right in error.meant.items():
        changed = [_corrected(word, wrong, right) for word in corrected]
        if changed == corrected:
            return _elsewhere(words, right)
        corrected = changed
    return f" Type `{shlex.join(['i2i', *corrected])}`."


def _corrected(word: str, wrong: str, right: str) -> str:
    if word == wrong or (os.sep in wrong and os.path.abspath(word) == os.path.abspath(wrong)):
        return right
    head, equals, tail = word.partition("=")
    key, is_setting, value = wrong.partition("=")
    if is_setting:
        if equals and head == key:
            return right if value else f"{right}{tail}"
        # An option such as --device stands for a setting.
        return right.partition("=")[2] if value and word == value else word
    if equals and head == wrong:
        return f"{right}={tail}"
    # The value of an option; of a setting only a path can be told from other words.
    if equals and (head.startswith("--") or os.sep in wrong):
        return f"{head}={_corrected(tail, wrong, right)}"
    return word


def _elsewhere(words: Sequence[str], right: str) -> str:
    """Answer a mistake that stands in a file."""
    again = shlex.join(["i2i", *words])
    if os.path.isdir(right) and words[0] in ("train", "doctor"):
        return f" Type `{again} --data {shlex.quote(right)}`."
    file = next((word for word in words if word.endswith(".toml")), None)
    return f" Correct it in {file}, then type `{again}`." if file else ""
