"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from i2icli.config.words import human_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task


class Messages(logging.Handler):
    """Prints messages on stderr, above the bar where one is drawn."""

    console: Console | None = None  # of the bar that is drawn

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        self.show(record.getMessage())

    def show(self, text: str) -> None:
        """Print a line."""
        if self.console is None:
            typer.echo(text, err=True)
        else:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


MESSAGES = Messages(logging.INFO)


def draws() -> bool:
    """Say whether stderr is a terminal that takes escapes, as bars and colours need them."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def time_left() -> ProgressColumn:
    """Return the column of a bar that says how long the work will take from here."""
    return _time_column(lambda task: task.time_remaining, "left")


def time_passed() -> ProgressColumn:
    """Return the column of a bar that says how long the work has taken."""
    return _time_column(lambda task: task.elapsed, "so far")


def _time_column(seconds_of: Callable[[Task], float | None], word: str) -> ProgressColumn:
    from rich import progress
    from rich.text import Text

    class Time(progress.ProgressColumn):
        max_refresh = 0.5  # the estimate jumps

        def render(self, task: Task) -> Text:
            """Return the time in words; a dash while it is not known."""
            seconds = seconds_of(task)
            said = "-" if seconds is None else human_time(max(1, round(seconds)))
            return Text(f"{said} {word}", no_wrap=True)

    return Time()


def _bar(*amounts: str, is_shown: bool = True) -> Progress:
    from rich import progress
    from rich.console import Console

    columns = (getattr(progress, f"{name}Column")() for name in ("Bar", *amounts))
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        *columns,
        time_left(),
        console=Console(stderr=True),
        transient=True,
        disable=not is_shown,
    )


@contextmanager
def progress_bar(
    title: str, *, is_bytes: bool = False
) -> Iterator[Callable[[int, int | None], None] | None]:
    """Yield a function that takes the work done and its total, or None where nobody looks.

    The bar appears with the first report, so work that turns out to be done shows none.
    """
    if not draws():
        yield None
        return
    bar = _bar(*(("Download", "TransferSpeed") if is_bytes else ("MofNComplete",)))
    task = bar.add_task(title, total=None)

    def report(done: int, total: int | None) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield report
    finally:
        bar.stop()


@contextmanager
def counting(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Yield a function that counts one more as done; messages are printed above the bar.

    Of several processes only the first draws a bar.
    """
    is_shown = draws() and os.environ.get("RANK", "0") == "0"
    with _bar("MofNComplete", is_shown=is_shown) as bar:
        task = bar.add_task(title, total=total)
        MESSAGES.console = bar.console
        try:
            yield lambda: bar.advance(task)
        finally:
            MESSAGES.console = None
