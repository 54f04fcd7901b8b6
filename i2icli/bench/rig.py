"""One variant of a measurement, ready to take training steps and to translate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from i2icli.bench.limit import wait_for
from i2icli.config.document import Document
from i2icli.config.schedule import Moment
from i2icli.data.batch import AnyBatch
from i2icli.data.folders import Domains, find_domains
from i2icli.data.training_set import TrainingSet, open_training_set
from i2icli.errors import CheckpointError, WeightsError
from i2icli.methods import build_method, method_of, restore_config
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.networks.vgg import VGG16Features
from i2icli.pretrained.networks import load_network
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system.choices import Choices, Work
from i2icli.system.device import resolve_device
from i2icli.training.ema import MovingAverage
from i2icli.training.graph_step import Step, build_step, chosen_steppers
from i2icli.training.optimizers import Stepper
from i2icli.translation.prepare import prepare
from i2icli.translation.translator import Translator

_BATCHES = 4
_ARCHITECTURES = {"vgg16": VGG16Features}


@dataclass(frozen=True)
class Variant:
    """What is measured, in plain types, so that another process can build it.

    Attributes:
        name: what the report calls it.
        config: the configuration, its data folders settled.
        checkpoint: file to take weights from; None: fresh ones.
    """

    name: str
    config: Document
    checkpoint: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass
class Rig:
    """The parts of a run that computing takes: no run folder, no samples, no measurements.

    Attributes:
        batches: a few batches on the device, used in turn, so that no step waits for pictures.
        notes: what the report must say of how this was built.
    """

    config: AnyRunConfig
    choices: Choices
    domains: Domains
    dataset: TrainingSet
    method: Method
    steppers: dict[str, Stepper]
    average: MovingAverage | None
    batches: list[AnyBatch]
    notes: list[str] = field(default_factory=list)
    step_number: int = 0

    @cached_property
    def _take_step(self) -> Step:
        return build_step(self.method, self.steppers, self.choices, tell=self.notes.append)

    @property
    def device(self) -> torch.device:
        """Where the steps compute."""
        return self.choices.device

    @property
    def shape(self) -> tuple[int, ...]:
        """The source pictures of a step, (B, C, H, W)."""
        return tuple(self.batches[0].sources.shape)

    def step(self) -> None:
        """Take one training step as a run does, and wait until the device has computed it."""
        batch = self.batches[self.step_number % len(self.batches)]
        self.step_number += 1
        moment = Moment(self.step_number, max(1, len(self.dataset) // len(batch)))
        for stepper in self.steppers.values():
            stepper.set_learning_rate(moment)
        self._take_step(batch)
        if self.average is not None:
            self.average.update()
        wait_for(self.device)

    def translator(self) -> Translator:
        """Return what `i2i translate` would load; the method no longer trains then."""
        self.method.requires_grad_(False).eval()
        choices = prepare(
            self.method,
            self.config.runtime,
            crop=self.config.data.crop,
            work=Work(trains=False),
            say=self.notes.append,
        )
        return Translator(self.method, self.config, precision=choices.precision, choices=choices)

    def state_bytes(self) -> int:
        """Return what training holds besides activations: weights, gradients, moments, averages."""
        weights = list(self.method.parameters()) + list(self.method.buffers())
        weights += [
            w for name in self.method.pretrained for w in self.method.network(name).parameters()
        ]
        held = [*weights, *(w.grad for w in weights if w.grad is not None)]
        for stepper in self.steppers.values():
            if stepper.optimizer is not None:
                held += _tensors(stepper.optimizer.state.values())
        if self.average is not None:
            held += self.average.state().values()
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def build_rig(variant: Variant) -> Rig:
    """Build a variant at step 0; pretrained networks that are not here get random stand-ins.

    Raises:
        CheckpointError: if the weights do not fit the configuration.
        ConfigError: for a device that is not there.
        DataError: for missing or unreadable pictures.
    """
    config = restore_config(variant.config)
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    device = resolve_device(config.runtime.device)
    kind = method_of(config).data
    domains = find_domains(config.data, kind)
    dataset = open_training_set(kind, domains, config.data, config.labels)
    method = build_method(config).to(device).train()
    if variant.checkpoint is not None:
        _load_weights(method, Path(variant.checkpoint))
    notes: list[str] = []
    work = Work(batch_size=config.data.batch_size)
    choices = prepare(method, config.runtime, crop=config.data.crop, work=work, say=notes.append)
    networks, missing = _pretrained(method.pretrained, device)
    notes += [
        f"{variant.name}: the weights {name} are not here, so random ones of the same shape "
        f"stood in for them; the cost is the same, `i2i weights get {name}` gets the real ones"
        for name in missing
    ]
    method.take_pretrained(networks)
    method.start_epoch(1)
    return Rig(
        config=config,
        choices=choices,
        domains=domains,
        dataset=dataset,
        method=method,
        steppers=chosen_steppers(method, choices),
        average=MovingAverage(method, decay=config.ema.decay) if config.ema.decay else None,
        batches=_first_batches(dataset, config, device),
        notes=notes,
    )


def _load_weights(method: Method, path: Path) -> None:
    try:
        method.load_state_dict(load_checkpoint(path).weights)
    except RuntimeError:
        raise CheckpointError(f"{path}: its weights do not fit its own configuration.") from None


def _pretrained(
    names: Iterable[str], device: torch.device
) -> tuple[Mapping[str, nn.Module], list[str]]:
    """Return the networks, frozen, and the names of those with random weights."""
    networks: dict[str, nn.Module] = {}
    missing = []
    for name in names:
        try:
            network = load_network(name)
        except WeightsError:
            network = _stand_in(name)
            missing.append(name)
        networks[name] = network.to(device)
    return networks, missing


def _stand_in(name: str) -> nn.Module:
    """Return a network with random weights that keep its values in range."""
    network = _ARCHITECTURES[name]()
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        spread = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.0
        weight.data = spread * torch.randn(weight.shape, generator=generator)
    return network.eval().requires_grad_(False)


def _first_batches(
    dataset: TrainingSet, config: AnyRunConfig, device: torch.device
) -> list[AnyBatch]:
    """Return the first batches of the run."""
    size = config.data.batch_size
    keys = dataset.epoch_keys(seed=config.train.seed, epoch=1, jitter=True)
    count = max(1, min(_BATCHES, len(dataset) // size))
    return [
        dataset.collate([dataset[next(keys)] for _ in range(size)]).to(device) for _ in range(count)
    ]


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors of the states of an optimizer."""
    return [item for state in values for item in state.values() if isinstance(item, torch.Tensor)]
