"""From preset and overrides to a run's configuration, and from that to a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any

import torch
from pydantic import Field

from i2icli.config.document import Change, Document, config_document, differences, merge
from i2icli.config.faults import validate
from i2icli.config.method import MethodConfig, Task
from i2icli.config.overrides import nest, parse_overrides, resolve
from i2icli.config.presets import read_preset
from i2icli.config.run import RunConfig
from i2icli.config.sections import FIRST_LEVERS, LeversConfig
from i2icli.config.shape import Shape
from i2icli.errors import ConfigError
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.registry import METHODS, method_of
from i2icli.pictures.label_maps import class_colours
from i2icli.runs.checkpoint import CheckpointState
from i2icli.system.torch_files import DAMAGE

AnyRunConfig = RunConfig[MethodConfig]


def run_schema() -> type[AnyRunConfig]:
    """Return the model of a run's configuration, its `method` the union of all methods."""
    return _schema_of(tuple(method.Config for method in METHODS.values()))


@cache  # by the methods, so that one registered later is in the next schema
def _schema_of(kinds: tuple[type[MethodConfig], ...]) -> type[AnyRunConfig]:
    union: Any = reduce(or_, kinds)
    if len(kinds) > 1:
        union = Annotated[union, Field(discriminator="name")]
    schema: type[AnyRunConfig] = RunConfig[union]
    return schema


def configure_run(preset: str, overrides: Sequence[str] = ()) -> AnyRunConfig:
    """Return the configuration of a run.

    Four layers, each over the one before: the defaults; the method's `run_defaults`; the preset;
    the overrides. Where an override names another method, the preset's `method` and `about`, which
    speak of its own method, are left out.

    Args:
        preset: a preset's name, or the path of a TOML file.
        overrides: `KEY=VALUE` texts as `--set` takes them.

    Raises:
        ConfigError: naming every fault.
    """
    given, typed = read_preset(preset), parse_overrides(overrides)
    document, changes = given.document, nest(typed)
    own, wanted = _method_name(document), _method_name(changes)
    if wanted is not None and own is not None and wanted != own:
        document = {key: document[key] for key in document if key not in ("method", "about")}
    name, shape = wanted or own, Shape.of(run_schema())
    # A method that does not exist has no defaults; `validate` says so, with the nearest name.
    layered = paper_defaults(name) if name is not None and name in METHODS else {}
    for layer in ({"preset": given.name}, document, changes):
        layered = merge(layered, layer, shape)
    return validate(resolve(layered, typed, shape), run_schema(), source=given.label)


def configure_from(
    document: Mapping[str, Any], overrides: Sequence[str], *, source: str
) -> AnyRunConfig:
    """Return the configuration of a new run as that of an earlier one, the overrides over it.

    Args:
        document: as `config_document` wrote it into a checkpoint.
        overrides: `KEY=VALUE` texts as `--set` takes them.
        source: what errors call it.

    Raises:
        ConfigError: naming every fault.
    """
    typed, shape = parse_overrides(overrides), Shape.of(run_schema())
    layered = merge(document, nest(typed), shape)
    return validate(resolve(layered, typed, shape), run_schema(), source=source)


def restore_config(document: Mapping[str, Any]) -> AnyRunConfig:
    """Return the configuration that `config_document` wrote into a checkpoint.

    Levers that came after it are off, so that a run goes on, and translates, as it began.

    Raises:
        ConfigError: if this version of i2i does not understand it.
    """
    if later := dict.fromkeys(later_levers(document), False):
        document = merge(document, {"runtime": {"levers": later}}, Shape.of(run_schema()))
    return validate(document, run_schema(), source="the checkpoint's configuration")


def later_levers(document: Mapping[str, Any]) -> list[str]:
    """Return the levers that came after a document which `config_document` wrote."""
    section: Any = document
    for key in ("runtime", "levers"):
        section = section.get(key) if isinstance(section, Mapping) else None
    named = section if isinstance(section, Mapping) else {}
    return [key for key in LeversConfig.model_fields if key not in (*FIRST_LEVERS, *named)]


def paper_defaults(name: str) -> Document:
    """Return a method's default run as a document: its paper's values in every section."""
    kind = METHODS[name].Config
    defaults = config_document(run_schema()(method=kind(name=name)))
    return merge(defaults, kind.run_defaults, Shape.of(run_schema()))


def changes_from_paper(config: AnyRunConfig) -> list[Change]:
    """Return the values that differ from the paper's, those that only name the run left out."""
    changes = differences(paper_defaults(config.method.name), config_document(config))
    return [c for c in changes if c.path != "preset" and not c.path.startswith("about.")]


def build_method(config: AnyRunConfig) -> Method:
    """Build the configured method with fresh weights that depend on `train.seed` alone.

    The global random state is left as it was.

    Raises:
        ConfigError: its networks cannot be built as configured, or the palette is not there.
    """
    data, labels = config.data, config.labels
    task = Task(
        channels_a=data.channels_a,
        channels_b=data.channels_b,
        crop=data.crop,
        classes=labels.classes,
        ignore=labels.ignore,
        colours=class_colours(labels.palette, labels.classes) if labels.classes else (),
        structure=config.structure,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        try:
            method = method_of(config)(config.method, task)
        except ValueError as error:
            raise ConfigError(
                f"method {config.method.name!r} cannot be built as configured: {error}."
            ) from error
    method.draws.restore(torch.Generator().manual_seed(config.train.seed).get_state())
    return method


def misfit_of(config: AnyRunConfig, state: CheckpointState) -> str:
    """Return in words where a checkpoint's weights are not those of the configured networks.

    No memory is taken for networks, whatever their size; empty where all fit.

    Raises:
        ConfigError: as `build_method`.
    """
    try:
        with torch.device("meta"):
            method = build_method(config)
    except DAMAGE as fault:
        return f"no network is of such sizes: {str(fault)[:100]}"
    ours = method.translating_state() if state.translates_only else method.state_dict()
    if unlike := state.weights.keys() ^ ours.keys():
        return f"{min(unlike)} is on one side only"
    for weights in (state.weights, state.ema or {}):
        for name, weight in weights.items():
            if weight.shape != ours[name].shape:
                return f"{name} is {tuple(weight.shape)} instead of {tuple(ours[name].shape)}"
            if weight.is_floating_point() != ours[name].is_floating_point():
                return f"{name} has the type {weight.dtype}"
    return ""


def _method_name(document: Mapping[str, Any]) -> str | None:
    method = document.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    return name if isinstance(name, str) else None
