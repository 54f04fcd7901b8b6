"""Checkpoint files: what they hold, written whole or not at all, read without running code.

A file holds one dictionary of plain types and tensors, as `torch.save` writes it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from i2icli.errors import CheckpointError, I2IError
from i2icli.runs.checkpoint_fields import fault_of_fields
from i2icli.runs.folder import RunFolder
from i2icli.runs.zoo import MODEL, ZooEntry, is_model, read_entry
from i2icli.system.faults import advice
from i2icli.system.files import NO_ROOM, WholeFile, link_whole
from i2icli.system.torch_files import DAMAGE, TorchFileError, read_torch_file


@dataclass(frozen=True)
class CheckpointState:
    """The whole state of a run after `step` steps; plain types and tensors only."""

    config: Mapping[str, Any]  # the run's configuration as a plain document, see `config.document`
    weights: Mapping[str, Tensor]
    step: int  # steps done; epoch and position in the epoch follow from it
    epoch: int = 0  # the epoch of the last step, counted from 1; 0 before the first step
    ema: Mapping[str, Tensor] | None = None  # averaged ones by their names in `weights`
    optimizers: Mapping[str, Any] = field(default_factory=dict)  # by player, with scalers
    memory: Mapping[str, Any] = field(default_factory=dict)  # random choices, image pools
    rng: Mapping[str, Any] = field(default_factory=dict)  # of torch, by device type
    meters: Mapping[str, Any] = field(default_factory=dict)  # sums since the last log line
    best: Mapping[str, Any] = field(default_factory=dict)  # lowest error so far, its step
    data: Mapping[str, Any] = field(default_factory=dict)  # fingerprint of the training pictures
    versions: Mapping[str, str] = field(default_factory=dict)  # of i2i, torch and Python, as text
    # of an imported checkpoint: `files`, names of files by network, and `fresh`, the networks that
    # came from none; of an entry of the zoo `zoo`, its name; empty of a run's
    origin: Mapping[str, Any] = field(default_factory=dict)
    # where several processes trained: `memory`, `rng` and `meters` of ranks 1, 2, ...; those above
    # are of rank 0
    others: Sequence[Mapping[str, Any]] = ()
    choices: Mapping[str, str | int] = field(default_factory=dict)  # what `auto` came to
    seconds: float = 0.0  # of training so far

    def translating_weights(self) -> dict[str, Tensor]:
        """Return the state dict to translate with: averaged weights where there are any."""
        return {**self.weights, **(self.ema or {})}

    @property
    def translates_only(self) -> bool:
        """Whether it holds the weights of the translating networks alone, and no run."""
        return "zoo" in self.origin


FORMAT = 1
KIND = "i2i checkpoint"
_IS_OF_RUN = re.compile(r"(last|best|step-\d+)\.pt").fullmatch
# What early files of this format do not have.
_ADDED: dict[str, Any] = {"origin": {}, "others": [], "choices": {}, "seconds": 0.0}


class _Sink:
    # Torch reports only that a write failed, not why.
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.fault: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as fault:
            self.fault = self.fault or fault
            raise

    def flush(self) -> None:
        with suppress(OSError):  # the write that follows reports it
            self._file.flush()


def save_checkpoint(path: Path, state: CheckpointState) -> None:
    """Write `state` to `path`; the file that was there stays whole until the new one is.

    Raises:
        I2IError: if the disk is full or the folder not writable; the old file is untouched.
    """
    document: dict[str, Any] = {"kind": KIND, "format": FORMAT}
    document |= {part.name: getattr(state, part.name) for part in fields(state)}
    document = {key: _plain(value) for key, value in document.items()}
    with _whole(path) as file:
        _write(document, file)


def copy_checkpoint(source: Path, path: Path) -> None:
    """Keep the checkpoint `source` under `path` too, as a hard link where the disk has them.

    Raises:
        I2IError: if the disk is full or the folder not writable.
    """
    try:
        link_whole(source, path)
    except OSError:
        with _whole(path) as file, source.open("rb") as opened:
            shutil.copyfileobj(opened, file)


def load_checkpoint(path: Path) -> CheckpointState:
    """Read a checkpoint, or the model of an entry of the zoo, onto the CPU.

    Its sums are checked as it is read, and each field is held to what a run can have written.

    Raises:
        CheckpointError: if there is no such file, it is none of i2i's, it is damaged, it wants
            code to run, or a newer i2i wrote it.
    """
    if is_model(path):
        return _state_of(read_entry(path.parent))
    try:
        return _read(path)
    except _DamagedError as fault:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is cut off, damaged or no checkpoint: {fault}. "
            f"{way_out(path)}"
        ) from None


class _DamagedError(CheckpointError):
    """A file that is no whole checkpoint; the message is the reason in words."""


def _read(path: Path) -> CheckpointState:
    document = _read_document(path)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise CheckpointError(
            f"{path} is not a checkpoint of i2i: give a file such as RUN/checkpoints/last.pt. What "
            f"a paper's own code saved becomes one by `i2i import {path}`."
        )
    number = document.get("format")
    if not isinstance(number, int) or not 0 < number < 10**9:
        raise _DamagedError("its format is no number")
    if number > FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {number}, and this i2i reads up to {FORMAT}: "
            "update it with `pip install --upgrade i2icli`."
        )
    document = {**_ADDED, **document}
    names = [part.name for part in fields(CheckpointState)]
    if missing := [name for name in names if name not in document]:
        raise _DamagedError(f"{missing[0]!r} is missing")
    if fault := fault_of_fields(document):
        raise _DamagedError(fault)
    return CheckpointState(**{name: document[name] for name in names})


def way_out(path: Path) -> str:
    """Return a sentence on what to do about a damaged file: it names the newest good one beside."""
    others = [file for file in path.parent.glob("*.pt") if _IS_OF_RUN(file.name) and file != path]
    if path.parent.absolute().name != "checkpoints" or not _IS_OF_RUN(path.name):
        return "Give a checkpoint that i2i wrote, such as RUN/checkpoints/last.pt."
    for other in sorted(others, key=lambda file: file.stat().st_mtime, reverse=True):
        with suppress(CheckpointError, OSError):
            return (
                f"The run's newest good checkpoint is {other}, of step {_read(other).step}: name "
                f"it, or copy it to {path.with_name('last.pt')} to go on from it."
            )
    return f"No checkpoint of the run in {path.parent} is good: copy the run again, or train anew."


def _state_of(entry: ZooEntry) -> CheckpointState:
    facts, halves = entry.facts, (torch.float16, torch.bfloat16)
    try:
        weights = safetensors.torch.load(entry.read_model())
    except (SafetensorError, *DAMAGE) as fault:
        raise CheckpointError(f"{entry.folder / MODEL} is damaged: {fault}.") from None
    state = CheckpointState(
        config=facts["configuration"],
        weights={name: w.float() if w.dtype in halves else w for name, w in weights.items()},
        step=facts["step"],
        epoch=facts["epoch"],
        data=facts["data"],
        origin={"zoo": entry.name},
    )
    if reason := fault_of_fields(vars(state)):
        raise CheckpointError(f"{entry.folder} is damaged: {reason}. Copy the folder again.")
    return state


def _read_document(path: Path) -> object:
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder: give the checkpoint file, such as {path / 'checkpoints/last.pt'}."
        )
    try:
        with path.open("rb") as file:
            read = read_torch_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {path}.") from None
    except OSError as fault:
        raise CheckpointError(f"{path} cannot be read: {fault.strerror or fault}.") from None
    except TorchFileError as fault:
        if fault.wants_code:
            raise CheckpointError(
                f"{path} holds Python objects besides tensors and was not opened, because that "
                "could run code: give a checkpoint that i2i wrote."
            ) from None
        raise _DamagedError(str(fault)) from None
    if read.form != "zip":
        maker = "an old PyTorch" if read.form == "old" else "TorchScript"
        raise CheckpointError(
            f"{path} was written by {maker}, not by i2i. What a paper's own code saved "
            f"becomes a checkpoint of i2i by `i2i import {path}`."
        )
    return read.document


def _plain(value: Any) -> Any:
    # The safe reader takes plain dicts only.
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _write(document: dict[str, Any], file: BinaryIO) -> None:
    sink = _Sink(file)
    try:
        torch.save(document, cast(BinaryIO, sink))
    except (OSError, RuntimeError):
        if sink.fault is not None:
            raise sink.fault from None
        raise


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    try:
        with WholeFile(path, is_synced=True) as file:
            yield file
    except OSError as fault:
        reason = "the disk is full" if fault.errno in NO_ROOM else str(fault.strerror or fault)
        kept = f"the last good {path.name} is intact" if path.exists() else "nothing was written"
        # Of a run, which has its checkpoints in a folder of that name; others can be made anew.
        run = RunFolder(path.parent.parent)
        is_run = path.parent == run.checkpoints and run.config.exists()
        again = f"`{run.resume_command}`" if is_run else "type the same command again"
        raise I2IError(
            f"{path} was not written: {reason}; {kept}. {advice(fault, again=again)}"
        ) from None
