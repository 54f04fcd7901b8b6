"""What `i2i train` and `i2i resume` show: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import typer
from rich import progress as rich_progress
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
)
from rich.text import Text

from i2icli.cli.progress import MESSAGES, draws, time_left, time_passed
from i2icli.cli.shared_run import is_main_process
from i2icli.cli.show import show
from i2icli.training.reporter import Progress, Reporter
from i2icli.training.run import RunResult

_REMEMBERED = 600.0  # seconds of steps by which the time left is estimated: a step may take some


class PlainView(Reporter):
    """One line on stderr a log line; for files, pipes and schedulers."""

    def started(self, progress: Progress) -> None:
        """Say nothing: messages said it."""

    def stepped(self, progress: Progress) -> None:
        """Say nothing: steps are many."""

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """Print the line."""
        where = f"step {progress.step}/{progress.last_step} epoch {progress.epoch}"
        typer.echo(f"{where}  {describe(line)}", err=True)

    def glanced(self, progress: Progress, terms: Mapping[str, float]) -> None:
        """Print them."""
        where = f"step {progress.step}/{progress.last_step} epoch {progress.epoch}"
        typer.echo(f"{where}  so far: {describe(terms)}", err=True)

    def finished(self) -> None:
        """Say nothing."""


class _Bar(rich_progress.Progress):
    values = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bar and the values."""
        yield self.make_tasks_table(self.tasks)
        if self.values:
            yield Text(self.values, overflow="fold")


class BarView(Reporter):
    """A progress bar on stderr with the newest losses."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = _Bar(
            TextColumn("epoch {task.fields[epoch]} step"),
            MofNCompleteColumn(),
            BarColumn(),
            time_passed(),
            time_left(),
            console=console,
            speed_estimate_period=_REMEMBERED,
        )
        self._task: TaskID | None = None

    def started(self, progress: Progress) -> None:
        """Draw the bar, counting what earlier processes did as done but not as speed."""
        self._task = self._bar.add_task(
            "training",
            total=progress.last_step,
            completed=progress.step,
            epoch=progress.epoch,
        )
        self._bar.start()
        MESSAGES.console = self._console

    def stepped(self, progress: Progress) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bar.update(self._task, completed=progress.step, epoch=progress.epoch)

    def logged(self, progress: Progress, line: Mapping[str, float | int | bool]) -> None:
        """Show the newest values; those of a measurement stay above the bar."""
        if "images_per_s" in line:
            self._bar.values = describe(line)
        else:
            MESSAGES.show(f"step {progress.step}  {describe(line)}")

    def glanced(self, progress: Progress, terms: Mapping[str, float]) -> None:
        """Show them until there are newer ones."""
        self._bar.values = f"step {progress.step} so far: {describe(terms)}"

    def finished(self) -> None:
        """Leave the bar as it is."""
        self._bar.stop()
        MESSAGES.console = None


def open_view() -> Reporter:
    """Return a bar where stderr is a terminal, else plain lines."""
    return BarView(Console(stderr=True)) if draws() else PlainView()


def describe(line: Mapping[str, float | int | bool]) -> str:
    """Return the terms by player, then the rates, of a log line as text."""
    groups: dict[str, list[str]] = {}
    for key, value in line.items():
        group, slash, name = key.partition("/")
        if slash and name != "lr":
            groups.setdefault(group, []).append(f"{name} {value:.4g}")
    parts = [f"{group}: {', '.join(values)}" for group, values in groups.items()]
    if "images_per_s" in line:
        parts.append(f"{line['images_per_s']:.3g} images/s, data wait {line['data_wait']:.0%}")
    return "; ".join(parts)


def show_result(result: RunResult, *, as_json: bool) -> None:
    """Print how a run ended, and what to type next; of several processes one does."""
    if is_main_process():
        show(result, as_json=as_json, indent=None)
