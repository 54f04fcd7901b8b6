"""The one answer to "which file does this path name", the same for every command.

A path may be a checkpoint file; a run folder, a folder in it or its `config.toml`, which stand for
the run and its `last.pt`; or the name of a checkpoint in the run folder or its `checkpoints/`, with
or without `.pt` and leading zeros: `RUN/best`, `RUN/step-500`, `RUN/checkpoints/step-0000500`.
`zoo:NAME`, or the folder of an entry of the zoo, stands for its `model.safetensors`.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import CheckpointError, ConfigError
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.runs.zoo import (
    MODEL,
    PREFIX,
    entry_folders,
    find_entry_folder,
    is_entry,
    is_model,
    read_entry,
)


@dataclass(frozen=True)
class StepFile:
    """A checkpoint of a run and the steps it was trained for."""

    step: int
    path: Path


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint file that `path` names; of a run its `last.pt`.

    Of an entry of the zoo it is the model, which `load_checkpoint` reads too.

    Raises:
        CheckpointError: if there is none.
    """
    named = _locate(path)
    if named.is_file():
        return named
    if is_entry(named):
        return named / MODEL
    folder = _folder_of_checkpoints(named)
    last = folder / "last.pt"
    if last.is_file():
        return last
    _refuse_gone(last)
    if (run := _run_around(named)) is not None and folder.is_dir():
        raise CheckpointError(f"{last} is not there yet: `{run.resume_command}` goes on to it.")
    raise _no_run(named)


def find_run(path: str | Path) -> RunFolder:
    """Return the run that `path` names: its folder, or a checkpoint or folder within it.

    Its checkpoints may be gone where its log is there.

    Raises:
        CheckpointError: if there is no run.
    """
    named = _locate(path)
    _refuse_without_run(path, named)
    if (run := _run_around(named)) is None:
        raise _no_run(named)
    return run


def find_last(folder: RunFolder) -> Path | None:
    """Return the last checkpoint of a run, None where the run was killed before its first.

    Raises:
        CheckpointError: if it is gone while other checkpoints or lines of the log are there.
    """
    if folder.last.exists():
        return folder.last
    _refuse_gone(folder.last)
    if not folder.checkpoints.is_dir():
        raise _no_run(folder.path)
    return None


def checkpoints_of(path: str | Path) -> list[StepFile]:
    """Return all checkpoints of a run that stand for a step, oldest first, each step once.

    Raises:
        CheckpointError: if there is none.
        ConfigError: if there is only one.
    """
    named = _locate(path)
    _refuse_without_run(path, named)
    folder = named.parent if named.is_file() else _folder_of_checkpoints(named)
    found = {
        int(match[1]): file
        for file in folder.glob("step-*.pt")
        if (match := re.fullmatch(r"step-(\d+)\.pt", file.name))
    }
    last = folder / "last.pt"
    if last.is_file():
        found.setdefault(load_checkpoint(last).step, last)
    if not found:
        raise _no_run(named)
    if len(found) == 1:
        raise ConfigError(
            f"{folder} holds the checkpoint of one step only: train with `--set "
            "checkpoint.keep_every_steps=N` to keep numbered ones, or leave out --all-checkpoints."
        )
    return [StepFile(step, found[step]) for step in sorted(found)]


def newest_run(parent: Path = Path("runs")) -> Path:
    """Return the run folder under `parent` that changed last.

    Raises:
        ConfigError: if there is none.
    """
    folders = [RunFolder(path.parent) for path in parent.glob("*/config.toml")]
    if not folders:
        raise ConfigError(
            f"there is no run in {parent}/: name a run folder, or train one with "
            "`i2i train --preset demo`."
        )
    return max(folders, key=_changed).path


def home_of(file: Path) -> Path:
    """Return the run folder of a checkpoint file, or the folder it lies in."""
    folder = file.parent
    return _above(folder) if folder.absolute().name == "checkpoints" else folder


def default_output(file: Path, name: str) -> Path:
    """Return the folder called `name` for what is made of a checkpoint, if no other is given.

    In the run folder; for an entry of the zoo, whose folder is not to be written to, in the
    working folder, where its own name stands in front.
    """
    home = home_of(file)
    return Path(f"{home.resolve().name}-{name}") if is_model(file) else home / name


def _locate(path: str | Path) -> Path:
    """Return the file or folder that is there and that `path` names; its name may be short."""
    if str(path).startswith(PREFIX):
        return find_entry_folder(str(path))
    # Names that are no paths, such as those of published checkpoints, would be looked up here.
    named = Path(path).expanduser()
    if named.name == "config.toml" and RunFolder(_above(named)).checkpoints.is_dir():
        return _above(named)
    if os.path.exists(named):  # unlike Path.exists it bears names that are too long
        return named
    folder = _folder_of_checkpoints(_above(named))
    if folder.absolute().name != "checkpoints" or not folder.is_dir():
        known = f" Do you mean {PREFIX}{named}?" if str(named) in entry_folders() else ""
        raise CheckpointError(
            f"there is no checkpoint at {named}, and no run: `ls runs` shows your runs.{known}"
        )
    there = {_short(file.name): file for file in sorted(folder.glob("*.pt"))}
    if file := there.get(_short(named.name)):
        return file
    raise CheckpointError(
        f"{folder} has no checkpoint {named.name}: it has {', '.join(there) or 'none'}."
    )


def _run_around(path: Path) -> RunFolder | None:
    for candidate in (path, _above(path), _above(_above(path))):
        folder = RunFolder(candidate)
        if folder.config.is_file() and (folder.checkpoints.is_dir() or folder.metrics.exists()):
            return folder
    return None


def _folder_of_checkpoints(folder: Path) -> Path:
    if RunFolder(folder).checkpoints.is_dir():
        return RunFolder(folder).checkpoints
    run = _run_around(folder)
    return folder if run is None else run.checkpoints


def _above(path: Path) -> Path:
    # Path.parent of "." is "." again.
    return Path(os.path.normpath(path / ".."))


def _short(name: str) -> str:
    return re.sub(r"^step-0*(?=\d)", "step-", name.removesuffix(".pt"))


def _changed(folder: RunFolder) -> float:
    files = (folder.config, folder.metrics, folder.last)
    return max(path.stat().st_mtime for path in files if path.exists())


def _refuse_gone(last: Path) -> None:
    if others := sorted(last.parent.glob("*.pt")):
        raise CheckpointError(
            f"{last} is gone, but {others[-1].name} is there: copy it to last.pt to go on "
            "from it, or name it itself."
        )


def _refuse_without_run(typed: str | Path, named: Path) -> None:
    if is_entry(named) or is_model(named):
        entry = read_entry(named if is_entry(named) else named.parent)
        word, preset = shlex.quote(str(typed)), entry.facts["preset"]
        raise CheckpointError(
            f"{typed} is a trained translator without its run: it has no log, no other checkpoints "
            f"and no optimizers. `i2i train --preset {preset} --init-from {word} --data DIR` "
            f"begins a run with its weights, `i2i zoo show {word}` tells what is known of it."
        )


def _no_run(path: Path) -> CheckpointError:
    runs = sorted(path.glob("*/checkpoints"), key=lambda entry: entry.stat().st_mtime)
    if runs:
        return CheckpointError(
            f"{path} holds runs: name one of them, for example {runs[-1].parent}."
        )
    kind = "folder" if path.is_dir() else "file"
    return CheckpointError(
        f"{path} is a {kind} but not a run: a run folder holds config.toml and checkpoints, "
        "for example runs/demo-001."
    )
