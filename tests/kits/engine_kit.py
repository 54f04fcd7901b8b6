"""A method of two small convolutions, and runs of it, for tests of the engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from plain_data import assert_same
from torch import Tensor, nn

from i2icli.config.method import MethodConfig, Task
from i2icli.data.batch import Batch
from i2icli.errors import Interrupted
from i2icli.methods import Method, Player, Terms, Translation
from i2icli.methods.shared.configure import AnyRunConfig, run_schema
from i2icli.methods.shared.registry import METHODS, register
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.system.messages import collect_messages
from i2icli.training.reporter import Progress
from i2icli.training.run import start_run

# What differs between two runs that did the same.
TIMINGS = ("seconds", "images_per_s", "data_wait")


class PairConfig(MethodConfig):
    """Knobs that provoke what the engine must handle."""

    name: Literal["tiny-pair"] = "tiny-pair"
    break_at: int = 0  # the call of `losses` whose generator term is not a number; 0: none
    spoil_at: int = 0  # the call of `losses` that spoils a weight after its update; 0: none
    dropout: float = 0.0
    freeze_generator: bool = False
    width: int = 4


class PairMethod(Method):
    """A generator and a discriminator of a few weights each."""

    Config = PairConfig
    size_multiple = 2
    min_size = 4

    def __init__(self, config: PairConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        channels_a, channels_b = self.channels["a"], self.channels["b"]
        self.generator = nn.Sequential(
            nn.Conv2d(channels_a, config.width, 3, padding=1),
            nn.Dropout(config.dropout),
            nn.Conv2d(config.width, channels_b, 3, padding=1),
        )
        self.discriminator = nn.Conv2d(channels_b, 1, 3)
        self.spare = nn.Conv2d(1, 1, 1)  # has a player, but no loss reaches it
        self.generator.requires_grad_(not config.freeze_generator)
        self.calls = 0
        self.epochs: list[int] = []

    @property
    def players(self) -> Mapping[str, Player]:
        optimizer, schedule = self.config.optimizer, self.config.schedule
        return {
            "discriminator": Player((self.discriminator,), optimizer, schedule),
            "generator": Player((self.generator, self.spare), optimizer, schedule),
        }

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        return {"generator": self.generator}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        self.calls += 1
        real_a = batch.real_a.flip(-1) if self.draws.flip("flip") else batch.real_a
        fake_b = torch.tanh(self.generator(real_a))
        yield (
            "discriminator",
            {
                "fake": 0.5 * self.discriminator(fake_b.detach()).square().mean(),
                "real": 0.5 * (self.discriminator(batch.real_b) - 1).square().mean(),
            },
        )
        gan = (self.discriminator(fake_b) - 1).square().mean()
        if self.calls == self.config.break_at:
            gan = gan * float("nan")
        yield "generator", {"gan": gan, "near": (fake_b - real_a).abs().mean()}
        if self.calls == self.config.spoil_at:
            with torch.no_grad():
                self.generator[0].bias.fill_(float("inf"))

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        return Translation(torch.tanh(self.generator(images)))

    def start_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def memory(self) -> dict[str, Any]:
        return {**super().memory(), "calls": self.calls}

    def load_memory(self, memory: Mapping[str, Any]) -> None:
        super().load_memory(memory)
        self.calls = memory["calls"]


def pair_config(root: Path, *, steps: int = 6, **sections: Mapping[str, Any]) -> AnyRunConfig:
    """Return a run of the small method on the pictures of `root`, other sections laid over it."""
    document: dict[str, dict[str, Any]] = {
        "method": {"name": "tiny-pair", "optimizer": {"lr": 0.01}},
        "data": {"root": str(root), "resize": 18, "crop": 16},
        "train": {"steps": steps},
        "checkpoint": {"every_steps": 2},
        "samples": {"every_steps": 0, "count": 2},
        "log": {"every_steps": 2, "tensorboard": "off"},
        "runtime": {"device": "cpu", "precision": "float32", "workers": 0},
    }
    for name, section in sections.items():
        document.setdefault(name, {}).update(section)
    return run_schema().model_validate({"preset": "tiny", **document})


def without_timings(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log line without what depends on the machine's mood."""
    return {key: value for key, value in line.items() if key not in TIMINGS}


class Watcher:
    """A reporter that remembers, and acts after a given step."""

    def __init__(self, *, at: int = 0, act: Callable[[], object] = lambda: None) -> None:
        self.notes = collect_messages()
        self.lines: list[dict[str, Any]] = []
        self.steps: list[int] = []
        self.glances: list[tuple[int, dict[str, float]]] = []
        self.ends = 0
        self._at, self._act = at, act

    def started(self, progress: Progress) -> None:
        if self._at == 0:
            self._act()

    def stepped(self, progress: Progress) -> None:
        self.steps.append(progress.step)
        if progress.step == self._at:
            self._act()

    def logged(self, progress: Progress, line: Mapping[str, Any]) -> None:
        self.lines.append(dict(line))

    def glanced(self, progress: Progress, terms: Mapping[str, float]) -> None:
        self.glances.append((progress.step, dict(terms)))

    def finished(self) -> None:
        self.ends += 1


def send(number: int) -> Callable[[], None]:
    """Return an action that sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)


@contextmanager
def registered() -> Iterator[str]:
    """Register the small method for a while."""
    register(PairMethod)
    try:
        yield "tiny-pair"
    finally:
        del METHODS["tiny-pair"]


def state_of(folder: Path, *apart: str) -> dict[str, Any]:
    """Return what the last checkpoint of a run holds, its seconds and some parts apart."""
    state = vars(load_checkpoint(RunFolder(folder).last))
    return {name: value for name, value in state.items() if name not in ("seconds", *apart)}


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log without timings."""
    return [without_timings(line) for line in RunFolder(folder).read_metrics()]


def interrupt(config: AnyRunConfig, folder: Path, *, at: int) -> None:
    """Begin a run that a signal stops after a step, and see it saved there."""
    with pytest.raises(Interrupted):
        start_run(config, run_dir=folder, reporter=Watcher(at=at, act=send(signal.SIGTERM)))
    assert load_checkpoint(RunFolder(folder).last).step == at


def assert_same_end(*folders: Path) -> None:
    """Assert that two runs ended in the same state, bit for bit, with the same log."""
    assert_same(*map(state_of, folders))
    ours, theirs = map(log_of, folders)
    assert ours == theirs
