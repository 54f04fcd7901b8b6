"""From files of released codes to a checkpoint of i2i."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from i2icli.config.base import StrictModel
from i2icli.config.document import config_document
from i2icli.errors import CheckpointError, ConfigError
from i2icli.interop.network import Filled, fill, some
from i2icli.interop.parts import Generators, Part, find_generators
from i2icli.methods import build_method, configure_run, method_of
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.methods.shared.registry import RELEASED_PRESETS
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint
from i2icli.version import __version__


@dataclass(frozen=True)
class Taken:
    """A network of the new checkpoint that came from a file."""

    part: Part
    filled: Filled


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        path: the checkpoint.
        config: the configuration in it.
        is_told: whether the user named the preset.
        taken: networks that came from files, by their names in the method.
        fresh: networks that did not, each with the reason.
        notes: what else to know.
    """

    path: Path
    config: AnyRunConfig
    is_told: bool
    taken: Mapping[str, Taken]
    fresh: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the import in lines for people."""
        names = [*self.taken, *self.fresh]
        width = max(len(name) for name in names)
        lines = [f"wrote {self.path}"]
        for name, taken in self.taken.items():
            part, filled = taken.part, taken.filled
            constants = f", {len(filled.verified)} constants verified" if filled.verified else ""
            lines += [
                f"  {name:{width}}  {part.label}: {part.network.title}",
                f"  {'':{width}}  {len(filled.used)} tensors used{constants}",
            ]
            for reason in dict.fromkeys(filled.unused.values()):
                unused = [name for name, why in filled.unused.items() if why == reason]
                words = f"{len(unused)} left out: {reason} ({some(unused, 2)})"
                lines.append(f"  {'':{width}}  {words}")
        lines += [f"  {name:{width}}  fresh: {why}" for name, why in self.fresh.items()]
        lines += [f"note: {note}" for note in self.notes]
        if not self.is_told:
            lines.append(
                f"taken for preset {self.config.preset}: a file does not say what it was trained "
                "as, and translations are the same. For further training name it with --preset."
            )
        return [*lines, f"translate: i2i translate {self.path} IN OUT"]

    def as_document(self) -> dict[str, Any]:
        """Return the import as plain values."""
        return {
            "checkpoint": str(self.path),
            "preset": self.config.preset,
            "preset_was_given": self.is_told,
            "method": self.config.method.name,
            "channels": [self.config.data.channels_a, self.config.data.channels_b],
            "networks": {
                name: {
                    "file": str(taken.part.file),
                    **({"name": taken.part.name} if taken.part.name else {}),
                    "title": taken.part.network.title,
                    "used": len(taken.filled.used),
                    "verified": list(taken.filled.verified),
                    "unused": dict(taken.filled.unused),
                }
                for name, taken in self.taken.items()
            },
            "fresh": dict(self.fresh),
            "notes": list(self.notes),
        }


@dataclass
class _Plan:
    # networks by their names in the method, and settings, before it is built
    preset: str
    parts: dict[str, Part]
    fresh: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def import_released(
    file: Path,
    out: Path,
    *,
    preset: str | None = None,
    direction: str | None = None,
    overrides: Sequence[str] = (),
    alone: bool = False,
    network: str | None = None,
) -> Imported:
    """Write a checkpoint of i2i with the weights of released files.

    Args:
        file: holds the generator; others of the same release are read from beside it.
        out: the checkpoint to write, not there yet.
        preset: whose method and configuration it gets; None: the usual one of the architecture.
        direction: `data.direction` of the new checkpoint; None: the preset's.
        overrides: further values of its configuration, `KEY=VALUE` as `--set` takes them.
        alone: take the generator of `file` only.
        network: the generator to take of a file that holds several, by its name there.

    Raises:
        CheckpointError: if a generator cannot be read, is of an architecture that is not known,
            or does not fit weight by weight.
        ConfigError: if `out` is there already, or the preset does not go with the generator.
        I2IError: if `out` cannot be written.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already, and it is not overwritten: name another OUT.")
    generators = find_generators(file, alone=alone, network=network)
    plan = _plan(generators, preset or RELEASED_PRESETS[generators.family], alone=alone)
    if direction is not None:
        plan.settings["data.direction"] = direction
    settings = [f"{key}={json.dumps(value)}" for key, value in plan.settings.items()]
    config = configure_run(plan.preset, [*settings, *overrides])
    method = build_method(config)
    taken = _fill_all(method, plan)
    is_told, notes = preset is not None, tuple(plan.notes)
    imported = Imported(out, config, is_told, taken, plan.fresh, notes)
    save_checkpoint(out, _state(method, imported))
    return imported


def _plan(generators: Generators, preset: str, *, alone: bool) -> _Plan:
    config = configure_run(preset)
    released = method_of(config).released
    parts = _parts_for(generators, released, preset)
    plan = _Plan(preset, {released[name]: part for name, part in parts.items()})
    for part in parts.values():
        _resolve(plan, config, part, is_needed=True)
    for name, module in released.items():
        if name in parts:
            continue
        other = "left out by --alone" if alone else generators.other(name)
        if isinstance(other, Part):
            other = _resolve(plan, config, other, is_needed=False) or other
        if isinstance(other, Part):
            plan.parts[module] = other
        else:
            plan.fresh[module] = other
    networks = [part.network for part in parts.values()]
    inside, outside = networks[0].channels
    if "gen/b" in parts:  # an auto-encoder has the channels of its own domain alone
        outside = networks[1].channels[0]
    plan.settings |= {"data.channels_a": inside, "data.channels_b": outside}
    plan.settings |= _by_crop(plan, config)
    if "G" in parts and generators.called == "G_B":
        plan.settings["data.direction"] = "b2a"
        plan.notes.append("G_B goes from b to a of its data set: data.direction is b2a")
    return plan


def _parts_for(
    generators: Generators, released: Mapping[str, str], preset: str
) -> Mapping[str, Part]:
    if set(generators.parts) <= set(released):
        return generators.parts
    if "G" in released and "gen/a" not in generators.parts:
        return generators.alone()
    title = generators.main.network.title
    if not released:
        raise ConfigError(f"--preset {preset}: released checkpoints of it cannot be imported.")
    if "G_A" in released and "gen/a" not in generators.parts:
        raise ConfigError(
            f"--preset {preset} translates both ways and needs both generators, in files named "
            f"like latest_net_G_A.pth and latest_net_G_B.pth; beside {generators.file} there is "
            "no other. Without --preset it is imported as a one-way translator."
        )
    raise ConfigError(f"--preset {preset} does not go with a {title}: leave --preset out.")


def _resolve(plan: _Plan, config: AnyRunConfig, part: Part, *, is_needed: bool) -> str | None:
    """Take up what a network says of the configuration; return why it cannot be."""
    wanted = {f"method.{key}": value for key, value in part.network.settings.items()}
    fault = None
    if not all(_has(config, key) for key in wanted):
        fault = f"--preset {plan.preset} does not go with a {part.network.title}"
    elif clash := [key for key in wanted if plan.settings.get(key, wanted[key]) != wanted[key]]:
        fault = f"{part.label} has another {clash[0]} than the network before"
    if fault and is_needed:
        raise ConfigError(f"{fault}: leave --preset out.")
    if not fault:
        plan.settings |= wanted
    return fault


def _has(config: StrictModel, path: str) -> bool:
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, StrictModel) or key not in type(value).model_fields:
            return False
        value = getattr(value, key)
    return True


def _by_crop(plan: _Plan, config: AnyRunConfig) -> dict[str, Any]:
    """Choose the side of the training crops where widths depend on it."""
    choices = [part.network.by_crop for part in plan.parts.values() if part.network.by_crop]
    if not choices:
        return {}
    shared = [crop for crop in choices[0] if all(crop in choice for choice in choices)]
    crops = shared or list(choices[0])
    crop = config.data.crop if config.data.crop in crops else crops[0]
    settings = {"data.crop": crop}
    for choice in choices:
        settings |= {f"method.{key}": value for key, value in choice.get(crop, {}).items()}
    return settings


def _fill_all(method: Method, plan: _Plan) -> dict[str, Taken]:
    """Give the method the weights of all files; other than generators, misfits stay fresh."""
    translating = {id(module) for module in method.translators.values()}
    taken = {}
    for name, part in plan.parts.items():
        module = _module(method, name)
        if module is None:
            plan.notes.append(f"{part.label} is not used: --preset {plan.preset} has none")
            continue
        try:
            filled = fill(module, part.network, source=str(part.file))
        except CheckpointError as fault:
            if id(module) in translating:
                raise
            plan.fresh[name] = str(fault).rstrip(".")
            continue
        taken[name] = Taken(part, filled)
    plan.fresh = {n: why for n, why in plan.fresh.items() if _module(method, n) is not None}
    assert {id(_module(method, name)) for name in taken} >= translating
    return taken


def _module(method: Method, name: str) -> nn.Module | None:
    value: Any = method
    for part in name.split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, nn.Module) else None


def _state(method: Method, imported: Imported) -> CheckpointState:
    return CheckpointState(
        config=config_document(imported.config),
        weights=method.state_dict(),
        step=0,
        memory=method.memory(),
        versions={"i2i": __version__, "torch": str(torch.__version__)},
        origin={
            "files": {name: taken.part.label for name, taken in imported.taken.items()},
            "fresh": list(imported.fresh),
        },
    )
