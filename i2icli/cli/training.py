"""What `i2i train` and `i2i resume` show: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bar,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from i2icli.engine.reporter import Progress, Reporter
from i2icli.engine.run import RunResult


class PlainView:
    """One line on stderr a log line; for files, pipes and schedulers."""

    def note(self, text: str) -> None:
        """Print a sentence."""
        typer.echo(text, err=True)

    def started(self, progress: Progress) -> None:
        """Say nothing: the notes said it."""

    def stepped(self, progress: Progress) -> None:
        """Say nothing: steps are many."""

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """Print the line."""
        where = f"step {progress.step}/{progress.last_step} epoch {progress.epoch}"
        typer.echo(f"{where}  {describe(line)}", err=True)

    def finished(self) -> None:
        """Say nothing."""


class BarView:
    """A progress bar on stderr with the newest losses."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=console,
        )
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, progress: Progress) -> None:
        """Draw the bar."""
        self._task = self._bar.add_task(
            "training", total=progress.last_step, epoch=progress.epoch, values=""
        )
        self._bar.start()
        # Steps of an earlier process do not count as speed.
        self._bar.reset(self._task, total=progress.last_step, completed=progress.step)

    def stepped(self, progress: Progress) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bar.update(self._task, completed=progress.step, epoch=progress.epoch)

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """Show the newest values."""
        if self._task is not None:
            self._bar.update(self._task, values=describe(line))

    def finished(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()


def open_view() -> Reporter:
    """Return a bar where stderr is a terminal, else plain lines."""
    console = Console(stderr=True)
    return BarView(console) if console.is_terminal else PlainView()


def describe(line: Mapping[str, float | int | bool]) -> str:
    """Return the terms and rates of a log line as text."""
    parts = [
        f"{key} {value:.4g}"
        for key, value in line.items()
        if "/" in key and not key.endswith("/lr")
    ]
    if "images_per_s" in line:
        parts.append(f"{line['images_per_s']:.3g} images/s")
        parts.append(f"data wait {line['data_wait']:.0%}")
    return "  ".join(parts)


def show_result(result: RunResult, *, as_json: bool) -> None:
    """Print how a run ended, and what to type next."""
    folder = result.folder
    if as_json:
        document = {
            "run_dir": str(folder.path),
            "step": result.step,
            "epoch": result.epoch,
            "checkpoint": str(folder.last),
            "seconds": result.seconds,
            "metrics": result.metrics,
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    if result.was_finished:
        typer.echo(
            f"{folder.path} is finished: step {result.step}, epoch {result.epoch}.\n"
            f"To train on: {folder.resume_command} --steps {2 * result.step}"
        )
    else:
        typer.echo(f"done: step {result.step}, epoch {result.epoch}, in {folder.path}")
    typer.echo(f"translate: i2i translate {shlex.quote(str(folder.last))} IN OUT")
