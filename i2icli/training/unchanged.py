"""What a run that goes on must find as it was: settings and pictures, wherever these lie now."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from i2icli.config.document import config_document, flatten
from i2icli.config.sections import DataConfig, data_at
from i2icli.data.folders import find_domains
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.methods import method_of
from i2icli.methods.shared.configure import AnyRunConfig, restore_config
from i2icli.pictures.listing import folder_names
from i2icli.runs.checkpoint import CheckpointState
from i2icli.runs.folder import RunFolder
from i2icli.training.data import check_same_data, fingerprint

# Where the pictures lie; everything else in section `data` says how they are used.
FOLDERS = ("root", "domain_a", "domain_b", "test_a", "test_b")
_MOST_TRIED = 20
# What a run cannot change on its way, for its results would belong to neither setting.
_FIXED = ("method.", "data.", "labels.classes", "labels.ignore", "train.seed", "ema.")
_MOVABLE = tuple(f"data.{key}" for key in FOLDERS)  # the pictures themselves are compared


def folders_of(data: DataConfig) -> dict[str, str]:
    """Return the folders that a configuration names, by their keys."""
    named = {key: getattr(data, key) for key in FOLDERS}
    return {key: value for key, value in named.items() if value is not None}


def point_at(document: Mapping[str, Any], to: Path) -> dict[str, Any]:
    """Return a run's configuration with its data set in another folder.

    What lay below `data.root` lies at the same paths below `to`; so does what lay below the folder
    that holds all plain folders, unless `to` has trainA and trainB instead.

    Raises:
        DataError: `to` is no folder.
        ConfigError: if this version of i2i does not understand the configuration.
    """
    if not (to := to.expanduser().absolute()).is_dir():
        raise DataError(f"--data {to} is no folder: name the one that holds the pictures now.")
    data = restore_config(document).data
    before = {key: Path(value) for key, value in folders_of(data).items()}
    parents = [before["root"]] if "root" in before else [path.parent for path in before.values()]
    base = Path(os.path.commonpath(parents)) if parents else to
    moved: dict[str, str | None] = {
        key: os.path.normpath(to / path.relative_to(base) if path.is_relative_to(base) else path)
        for key, path in before.items()
    }
    are_there = all(os.path.exists(path) for path in moved.values() if path is not None)
    if not moved or (not are_there and (to / "trainA").is_dir()):
        moved = data_at(to)
    section = {**document.get("data", {}), **moved}
    return {**document, "data": {key: v for key, v in section.items() if v is not None}}


def check_fixed(config: AnyRunConfig, state: CheckpointState, folder: RunFolder) -> None:
    """Refuse a config.toml that differs from the checkpoint in what a run cannot change.

    Raises:
        ConfigError: naming the settings that differ.
    """
    now = flatten(config_document(config))
    then = flatten(config_document(restore_config(state.config)))
    changed = [
        f"{key} (was {then.get(key)!r}, now {now.get(key)!r})"
        for key in sorted({*now, *then})
        if key.startswith(_FIXED) and key not in _MOVABLE and now.get(key) != then.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{folder.config} no longer agrees with {folder.last}: {', '.join(changed)}. Undo the "
            "change, or start a new run from these weights with "
            f"`i2i train --preset {folder.config} --init-from {folder.path}`."
        )


def check_data(
    config: AnyRunConfig, state: CheckpointState, now: Mapping[str, Any], run: RunFolder
) -> None:
    """Refuse to go on with other pictures than those of a checkpoint.

    Args:
        config: that the run goes on with.
        state: the checkpoint.
        now: the fingerprint of the pictures that `config` names.
        run: the folder of the run.

    Raises:
        DataError: saying what changed.
    """
    before = folders_of(restore_config(state.config).data)
    is_moved = before != folders_of(config.data)
    where = config.data.root or f"{config.data.domain_a}"
    again = f"i2i train --init-from {shlex.quote(str(run.path))}"
    if is_moved:
        again += f" --data {shlex.quote(where)}" if config.data.root else ""
    check_same_data(state.data, now, where=where, is_moved=is_moved, again=again)


def check_folders(config: AnyRunConfig, state: CheckpointState | None, run: RunFolder) -> None:
    """Refuse to go on where the training pictures are gone, with a command that finds them.

    Raises:
        DataError: naming the folder, and the one beside it that holds the same pictures, if any.
    """
    named = folders_of(config.data)
    trained = ["root"] if "root" in named else ["domain_a", "domain_b"]
    gone = [Path(named[key]) for key in trained if key in named and not os.path.exists(named[key])]
    if not gone:
        return
    words = f"the training pictures are gone: there is no {gone[0]}"
    document = config.model_dump(mode="json", exclude_none=True)
    beside = _beside(gone[0] if "root" in named else gone[0].parent)
    folder = next((one for one in beside if _holds_them(document, state, one)), None)
    if folder is None:
        raise DataError(
            f"{words}. Put them back, or say where they lie now: `{run.resume_command} --data NEW`."
        )
    same = "has the same ones" if state is not None else "may have them"
    raise DataError(
        f"{words}; {folder} {same}: `{run.resume_command} --data {shlex.quote(str(folder))}`."
    )


def _holds_them(document: Mapping[str, Any], state: CheckpointState | None, folder: Path) -> bool:
    try:
        there = restore_config(point_at(document, folder))
        found = fingerprint(find_domains(there.data, method_of(there).data))
        if state is not None:
            check_same_data(state.data, found, where=str(folder), is_moved=True, again="")
    except (I2IError, OSError, KeyError):
        return False
    return True


def _beside(gone: Path) -> Iterator[Path]:
    """Yield the folders beside one that is gone, those of similar names first."""
    if not gone.parent.is_dir():
        return
    names = folder_names(gone.parent)
    names.sort(key=lambda name: -SequenceMatcher(None, name, gone.name).ratio())
    for name in names[:_MOST_TRIED]:
        yield gone.parent / name
