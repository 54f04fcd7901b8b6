"""The parts of a run that compute, put together once for training, measuring and looking ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from i2icli.config.schedule import Moment
from i2icli.data.batch import AnyBatch
from i2icli.data.folders import Domains, find_domains
from i2icli.data.loader import steps_per_epoch
from i2icli.data.training_set import TrainingSet, open_training_set
from i2icli.methods import build_method, method_of
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.system.choices import Choices, Kept, Work
from i2icli.system.ranks import ALONE, Ranks
from i2icli.system.waiting import look_around
from i2icli.training.ema import MovingAverage
from i2icli.training.graph_step import build_step, chosen_steppers
from i2icli.training.optimizers import Stepper
from i2icli.training.sizes import Load, check_sizes
from i2icli.training.step import StepLosses
from i2icli.translation.prepare import prepare

Step = Callable[[AnyBatch, Moment], StepLosses]


@dataclass(frozen=True)
class RunData:
    """The pictures of a run."""

    domains: Domains
    dataset: TrainingSet
    steps_per_epoch: int  # steps that take in the larger domain once


def open_data(config: AnyRunConfig, *, domains: Domains | None = None) -> RunData:
    """Return the pictures, `domains` or listed anew, of a configuration whose folders are resolved.

    Raises:
        DataError: for missing or too few pictures.
    """
    kind = method_of(config).data
    domains = domains or find_domains(config.data, kind)
    dataset = open_training_set(kind, domains, config.data, config.labels)
    return RunData(domains, dataset, steps_per_epoch(dataset, config.data.batch_size))


@dataclass(kw_only=True)
class Assembly:
    """The parts of a run that computing takes, at step 0."""

    config: AnyRunConfig
    data: RunData
    choices: Choices
    method: Method
    steppers: dict[str, Stepper]
    average: MovingAverage | None  # the moving average, where one is kept

    @property
    def device(self) -> torch.device:
        """The device of the run."""
        return self.choices.device

    @property
    def precision(self) -> torch.dtype:
        """The autocast type; float32 means none."""
        return self.choices.precision

    @property
    def last_step(self) -> int:
        """The step after which this run stops."""
        return self.config.train.last_step(self.config.method.schedule, self.data.steps_per_epoch)

    def build_step(self) -> Step:
        """Return the function that takes a whole step: rates, all players, moving average."""
        update = build_step(self.method, self.steppers, self.choices)

        def step(batch: AnyBatch, moment: Moment) -> StepLosses:
            look_around(self.device)
            self.method.start_step(moment.step)
            for stepper in self.steppers.values():
                stepper.set_learning_rate(moment)
            losses = update(batch)
            if self.average is not None:
                self.average.update()
            return losses

        return step


def assemble(
    config: AnyRunConfig,
    data: RunData,
    *,
    device: torch.device,
    load: Load,
    steps: int | None = None,
    ranks: Ranks = ALONE,
    earlier: Kept | None = None,
) -> Assembly:
    """Build the networks of a run, its data folders resolved, and all that trains them.

    `steps`, of the whole run, matter to settings that pay off in a long one; `earlier` are the
    choices of the run's earlier part, see `Choices.kept`; None: it begins.

    Raises:
        ConfigError: if crops are too small for the networks.
        DataError: if pictures are, or are of several sizes in one batch.
        WeightsError: if `load` does not find a pretrained network.
    """
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    load = _once(load)
    method = build_method(config)
    check_sizes(method, config.data, data.domains, load=load)
    method = method.to(device).train()

    def ready(kept: Kept | None) -> Choices:
        batch_size = config.data.batch_size // ranks.world
        pixels = batch_size * config.data.crop**2 if config.data.is_cropped else None
        work = Work(steps=steps, batch_size=batch_size, pixels=pixels, earlier=kept)
        return prepare(method, config.runtime, crop=config.data.crop, work=work)

    decided: list[Choices] = []

    def decide() -> Kept:
        decided.append(ready(earlier))
        return decided[0].kept()

    # Trials may come out differently in each process: rank 0 decides for all.
    kept = ranks.alone(decide) if ranks.world > 1 else earlier
    choices = decided[0] if decided else ready(kept)
    method.join(ranks)
    method.take_pretrained(load(method.pretrained, device))
    return Assembly(
        config=config,
        data=data,
        choices=choices,
        method=method,
        steppers=chosen_steppers(method, choices),
        average=MovingAverage(method, decay=config.ema.decay) if config.ema.decay else None,
    )


def _once(load: Load) -> Load:
    """Return `load` with a memory: trying sizes may want the networks that the run then takes."""
    loaded: dict[torch.device, dict[str, nn.Module]] = {}

    def remember(names: Iterable[str], device: torch.device) -> Mapping[str, nn.Module]:
        names, known = tuple(names), loaded.setdefault(device, {})
        if missing := [name for name in names if name not in known]:
            known |= load(missing, device)
        return {name: known[name] for name in names}

    return remember
