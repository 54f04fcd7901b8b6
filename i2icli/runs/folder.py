"""The folder of a run: where everything lies, who may write there, what resuming cuts back."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from i2icli.config.document import parse_toml, read_text
from i2icli.errors import ConfigError, I2IError
from i2icli.system.faults import refusal
from i2icli.system.files import remove_leftovers, write_whole
from i2icli.system.locks import lock_for_process

log = logging.getLogger(__package__)

Line = dict[str, Any]
_YOUNG = 2.0  # seconds, which a run needs at the most from its folder to its lock


@dataclass(frozen=True)
class RunFolder:
    """The parts of `runs/<preset>-<NNN>/`."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a log interval."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Grids of translations."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the lowest measured error."""
        return self.checkpoints / "best.pt"

    @property
    def resume_command(self) -> str:
        """The command that goes on with this run."""
        return f"i2i resume {shlex.quote(str(self.path))}"

    def numbered(self, step: int) -> Path:
        """Return the checkpoint that is kept of `step`."""
        return self.checkpoints / f"step-{step:07d}.pt"

    @property
    def now(self) -> Path:
        """The grid that the clock has drawn, again and again."""
        return self.samples / "now.png"

    def sample(self, step: int) -> Path:
        """Return the grid of `step`."""
        return self.samples / f"step-{step:07d}.png"

    def write_config(self, document: Mapping[str, Any]) -> None:
        """Write the resolved configuration, whole or not at all."""
        write_whole(self.config, tomli_w.dumps(dict(document)), is_synced=True)

    def read_config(self) -> dict[str, Any]:
        """Return the configuration as a document.

        Raises:
            ConfigError: if the file cannot be read or is no TOML.
        """
        return parse_toml(read_text(self.config), source=str(self.config))

    def write_story(self, *, command: Sequence[str], environment: Mapping[str, Any]) -> None:
        """Write the command that started the run, and on what."""
        story = {"command.txt": shlex.join(command), "env.json": json.dumps(environment, indent=2)}
        for name, text in story.items():
            write_whole(self.path / name, f"{text}\n", is_synced=True)

    def read_metrics(self) -> list[Line]:
        """Return the lines of metrics.jsonl, without a last one that a kill cut short."""
        if not self.metrics.exists():
            return []
        lines = []
        for text in self.metrics.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):
                lines.append(json.loads(text))
        return lines

    def cut_back(self, step: int) -> None:
        """Remove what a killed run left beyond its last checkpoint, which is of `step`.

        Lines and grids of later steps go, for they will be made again; so does a line that ended
        a run between two log intervals, and what a killed write left.
        """
        for folder in (self.path, self.samples, self.checkpoints):
            remove_leftovers(folder)
        if self.metrics.exists():
            kept = [
                line
                for line in self.read_metrics()
                if line["step"] <= step and not line.get("partial")
            ]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_whole(self.metrics, text, is_synced=True)
        for grid in self.samples.glob("step-*.png"):
            if (number := _step_of(grid)) is not None and number > step:
                grid.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from this folder; a kill releases it.

        Raises:
            ConfigError: if another process is at work here, or nothing can be written.
            I2IError: for what the system refuses meanwhile, with the command to go on by.
        """
        try:
            file = (self.path / ".lock").open("a+")
        except OSError as fault:
            new = shlex.quote(f"FOLDER/{self.path.resolve().name}")
            raise ConfigError(
                f"{self.path} cannot be written to ({fault.strerror}), and a run goes on in its "
                f"folder: copy it to where that can be done, `cp -r {self.path} {new}`, then "
                f"`i2i resume {new}`."
            ) from None
        with file:
            if not lock_for_process(file):
                file.seek(0)
                raise ConfigError(
                    f"{self.path} is in use by process {file.read().strip() or 'unknown'}: wait "
                    "for it to end, or stop it with Ctrl-C there; it saves before it ends."
                )
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            try:
                yield
            except OSError as fault:
                again = f"`{self.resume_command}`"
                if not self.config.exists():
                    again = "type the same command again"
                raise I2IError(refusal(fault, path=self.path, again=again)) from fault


def create_folder(path: Path | None, *, preset: str, parent: Path = Path("runs")) -> RunFolder:
    """Make the folder of a new run: `path`, or the next free number of the preset under `parent`.

    Raises:
        ConfigError: if `path` is there already with something in it, or cannot be made.
    """
    try:
        if path is None:
            path = _claim_number(parent, preset)
        else:
            check_free(path)
            path.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(path)
        folder.samples.mkdir(exist_ok=True)
        folder.checkpoints.mkdir(exist_ok=True)
    except OSError as fault:
        raise ConfigError(
            f"the run folder {path or parent} cannot be made: {fault.strerror}. "
            "Name another with --run-dir."
        ) from None
    return folder


def check_free(path: Path) -> None:
    """Refuse a run folder that holds something.

    Raises:
        ConfigError: with the command to resume, or the advice to choose another folder.
    """
    if path.is_dir():
        if not any(path.iterdir()) or _is_abandoned(path):
            return
        if RunFolder(path).config.exists():
            raise ConfigError(
                f"{path} holds a run already, and it is never overwritten: go on with it by "
                f"`{RunFolder(path).resume_command}`, or name another folder with --run-dir."
            )
        raise ConfigError(f"{path} is not empty: name another folder with --run-dir.")
    if path.exists():
        raise ConfigError(f"{path} is a file: name a folder with --run-dir.")


def _is_abandoned(path: Path) -> bool:
    """Say whether a run ended in this folder before it had written its configuration."""
    folder = RunFolder(path)
    names = {entry.name for entry in path.iterdir()}
    own = {".lock", ".config.toml.partial", folder.samples.name, folder.checkpoints.name}
    parts = [part for part in (folder.samples, folder.checkpoints) if part.is_dir()]
    if not names <= own or any(entry for part in parts for entry in part.iterdir()):
        return False
    if time.time() - path.stat().st_mtime < _YOUNG:
        return False  # another run may just have made it
    try:
        with folder.locked():
            pass
    except ConfigError:
        return False
    log.info(f"taking up {path}, which a run that ended before its first step left")
    return True


def _claim_number(parent: Path, preset: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        taken = {
            int(match[1]): entry
            for entry in parent.iterdir()
            if (match := re.fullmatch(rf"{re.escape(preset)}-(\d+)", entry.name))
        }
        newest = max(taken, default=0)
        if newest and taken[newest].is_dir() and _is_abandoned(taken[newest]):
            return taken[newest]
        path = parent / f"{preset}-{newest + 1:03d}"
        # mkdir is atomic: of two runs that start at once, one gets the number.
        with suppress(FileExistsError):
            path.mkdir()
            return path


def _step_of(grid: Path) -> int | None:
    match = re.fullmatch(r"step-(\d+)", grid.stem)
    return int(match[1]) if match else None
