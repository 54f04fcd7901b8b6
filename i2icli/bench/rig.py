"""One variant of a measurement, ready to take training steps and to translate.

Where a data set or pretrained weights are not here, made-up ones stand in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from i2icli.config.document import Document, config_document
from i2icli.config.schedule import Moment
from i2icli.config.sections import DataConfig, DatasetKind, data_at
from i2icli.data.batch import AnyBatch
from i2icli.data.training_set import TrainingSet
from i2icli.errors import CheckpointError, WeightsError
from i2icli.methods import misfit_of, restore_config
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.pretrained.networks import ARCHITECTURES, load_network
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system.choices import Work
from i2icli.system.device import resolve_device, wait_for
from i2icli.system.messages import collect_messages
from i2icli.training.assembly import Assembly, Step, assemble, open_data
from i2icli.translation.prepare import prepare
from i2icli.translation.translator import Translator

log = logging.getLogger(__package__)

_BATCHES = 4
_PICTURES = 8
_CLASSES = 19  # as Cityscapes has, where the configuration does not say how many
_QUALITY = 95


@dataclass(frozen=True)
class Variant:
    """What is measured, in plain types, so that another process can build it.

    Attributes:
        name: what the report calls it.
        config: the configuration, its data folders resolved.
        checkpoint: file to take weights from; None: fresh ones.
    """

    name: str
    config: Document
    checkpoint: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(kw_only=True)
class Rig(Assembly):
    """What a run computes with: no run folder, no samples, no measurements.

    Attributes:
        batches: a few batches on the device, used in turn, so that no step waits for pictures.
        notes: what the report must say of how this was built.
    """

    batches: list[AnyBatch]
    notes: list[str]
    step_number: int = 0

    @cached_property
    def _take_step(self) -> Step:
        return self.build_step()

    @property
    def shape(self) -> tuple[int, ...]:
        """The source pictures of a step, (B, C, H, W)."""
        return tuple(self.batches[0].sources.shape)

    def step(self) -> None:
        """Take one training step as a run does, and wait until the device has computed it."""
        batch = self.batches[self.step_number % len(self.batches)]
        self.step_number += 1
        self._take_step(batch, Moment(self.step_number, self.data.steps_per_epoch))
        wait_for(self.device)

    def translator(self) -> Translator:
        """Return the translator of `i2i translate`; the method no longer trains then."""
        self.method.requires_grad_(False).eval()
        choices = prepare(
            self.method,
            self.config.runtime,
            crop=self.config.data.crop,
            work=Work(trains=False),
        )
        return Translator(self.method, self.config, precision=choices.precision, choices=choices)

    def state_bytes(self) -> int:
        """Return the bytes of weights, gradients, moments and averages: all but activations."""
        weights = list(self.method.parameters()) + list(self.method.buffers())
        weights += [
            w for name in self.method.pretrained for w in self.method.network(name).parameters()
        ]
        held = [*weights, *(w.grad for w in weights if w.grad is not None)]
        for stepper in self.steppers.values():
            if stepper.optimizer is not None:
                states = stepper.optimizer.state.values()
                held += [w for state in states for w in state.values() if torch.is_tensor(w)]
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
    notes = collect_messages()

    def load(names: Iterable[str], device: torch.device) -> Mapping[str, nn.Module]:
        networks: dict[str, nn.Module] = {}
        for weights in names:
            try:
                network = load_network(weights)
            except WeightsError:
                network = _stand_in(weights)
                log.warning(
                    f"{variant.name}: the weights {weights} are not here, so random ones of the "
                    "same shape stood in for them; the cost is the same, `i2i weights get "
                    f"{weights}` gets the real ones"
                )
            networks[weights] = network.to(device)
        return networks

    state = None if variant.checkpoint is None else load_checkpoint(Path(variant.checkpoint))
    if state is not None and (fault := misfit_of(config, state)):
        raise CheckpointError(
            f"{variant.checkpoint}: its weights do not fit its own configuration ({fault})."
        )
    data = open_data(config)
    device = resolve_device(config.runtime.device)
    parts = assemble(config, data, device=device, load=load)
    if state is not None:
        method = parts.method
        fill = method.load_translating if state.translates_only else method.load_state_dict
        fill(state.weights)
    parts.method.start_epoch(1)
    return Rig(**vars(parts), batches=_first_batches(data.dataset, config, device), notes=notes)


def _stand_in(name: str) -> nn.Module:
    """Return a network with random weights that keep its values in range."""
    network = ARCHITECTURES[name]()
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        spread = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.0
        weight.data = spread * torch.randn(weight.shape, generator=generator)
    return network.eval().requires_grad_(False)


def _first_batches(
    dataset: TrainingSet, config: AnyRunConfig, device: torch.device
) -> list[AnyBatch]:
    size = config.data.batch_size
    keys = dataset.epoch_keys(seed=config.train.seed, epoch=1, jitter=True)
    count = max(1, min(_BATCHES, len(dataset) // size))
    return [
        dataset.collate([dataset[next(keys)] for _ in range(size)]).to(device) for _ in range(count)
    ]


def resize(config: AnyRunConfig, size: int | None, batch: int | None) -> AnyRunConfig:
    """Return a configuration with other crops and batches, the share cut off by cropping kept.

    Raises:
        ConfigError: if the configuration cannot have that size.
    """
    document = config_document(config)
    data = document["data"]
    if size is not None:
        share = (
            1.0
            if data["preprocess"] in ("resize", "scale-width")
            else data["resize"] / data["crop"]
        )
        if data.get("resize_height") is not None:
            data["resize_height"] = max(size, round(size * data["resize_height"] / data["crop"]))
        data["resize"] = max(size, round(size * share))
        data["crop"] = size
    if batch is not None:
        data["batch_size"] = batch
    return restore_config(document)


def write_training_set(
    root: Path, document: Document, kind: DatasetKind, *, count: int = _PICTURES
) -> Document:
    """Write a small data set, and return the configuration that names it.

    Args:
        root: the folder to fill.
        document: the configuration; its sizes decide those of the pictures.
        kind: of the data set; one that trains on one picture gets one of each domain.
        count: pictures of each domain; as many as a batch takes, if that is more.

    Returns:
        A copy with `data.root` set, and plain folders and colours of classes dropped.
    """
    data, labels = {**document["data"], **data_at(root)}, dict(document["labels"])
    count = max(count, data["batch_size"])
    side = _training_side(DataConfig.model_validate(data))
    if kind == "labelled":
        labels["classes"] = labels["classes"] or _CLASSES
        labels["palette"] = "auto"
        _write_labelled(root, count=count, side=side, classes=labels["classes"])
    else:
        number = 1 if kind == "single" else count
        for seed, part in enumerate(("trainA", "trainB")):
            write_pictures(root / part, count=number, side=side, seed=seed)
    return {**document, "data": data, "labels": labels}


def write_pictures(folder: Path, *, count: int, side: int, seed: int) -> list[Path]:
    """Write square JPEG pictures with detail of all sizes, and return their files in order.

    Noise alone would make them slower to read and write than photographs are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = [folder / f"{number:03d}.jpg" for number in range(count)]
    for path in paths:
        Image.fromarray(_picture(random, side)).save(path, quality=_QUALITY)
    return paths


def _training_side(data: DataConfig) -> int:
    """Return the side of a picture that a training crop can be cut from."""
    if data.preprocess in ("crop", "none"):
        return data.crop
    if data.preprocess == "zoom-and-patch":
        return int(np.ceil(data.crop / data.zoom_min))
    return max(data.resize, data.resize_height or 0)


def _picture(random: np.random.Generator, side: int) -> np.ndarray:
    layers = np.zeros((side, side, 3), np.float32)
    for cells, weight in ((4, 0.6), (32, 0.3)):
        coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        scaled = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        layers += weight * np.asarray(scaled, np.float32)
    layers += random.normal(0.0, 4.0, layers.shape).astype(np.float32)
    pixels: np.ndarray = np.clip(layers + 12.0, 0, 255).astype(np.uint8)
    return pixels


def _write_labelled(root: Path, *, count: int, side: int, classes: int) -> None:
    write_pictures(root / "train", count=count, side=side, seed=0)
    (root / "trainannot").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    for number in range(count):
        coarse = random.integers(0, min(classes, 255), (8, 8), dtype=np.uint8)
        ids = Image.fromarray(coarse).resize((side, side), Image.Resampling.NEAREST)
        ids.save(root / "trainannot" / f"{number:03d}.png")
