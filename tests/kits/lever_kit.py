"""One step of the smallest form of every method, by the engine, with or without levers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tiny import CLASSES, batch_for, stand_in, tiny_document
from torch import Tensor

from i2icli.config.sections import LeversConfig
from i2icli.data.batch import AnyBatch
from i2icli.methods import METHODS, Method, build_method
from i2icli.methods.shared.configure import AnyRunConfig, run_schema
from i2icli.training.optimizers import Stepper, build_steppers
from i2icli.training.step import train_step

CPU = torch.device("cpu")
BATCH_NORM = {"norm": "batch", "width": 4, "blocks": 2}
LEARNED = {"structure": {"kind": "learned", "patch_size": 8, "num_patches": 16}}
# All that a discriminator can be beside its paper's form.
HELD = {"augment": "diffaugment", "augment_gray": 0.5, "lr": 1e-3, "r1": 0.01, "r1_every": 1}
PROJECTED = {"kind": "projected", "head_width": 4, "spectral_norm": True, **HELD}
BOTH = {"kind": "both", "features": "vgg16", "taps": [2, 3], "head_width": 4, "width": 4, **HELD}
# Method, changes of its configuration, other sections, epoch.
Kind = tuple[str, dict[str, Any], dict[str, dict[str, Any]], int]
# Every method as it is by default, and what takes another path through its losses.
KINDS: dict[str, Kind] = {
    **{name: (name, {}, {}, 1) for name in sorted(METHODS)},
    "attention-guided, switched": ("attention-guided", {"switch_epoch": 1}, {}, 2),
    "cut, batch norm": (
        "cut",
        {"generator": BATCH_NORM, "discriminator": {"norm": "batch", "width": 4, "layers": 2}},
        {},
        1,
    ),
    "cut, projected": ("cut", {"discriminator": PROJECTED}, {}, 1),
    "cyclegan, both": ("cyclegan", {"discriminator": {**BOTH, "layers": 2}}, {}, 1),
    "munit, both": ("munit", {"discriminator": {**BOTH, "layers": 2, "scales": 2}}, {}, 1),
    "cut, flipped": ("cut", {"flip_equivariance": True, "nce_identity": False}, {}, 1),
    "cut, structure": ("cut", {}, LEARNED, 1),
    "cyclegan, batch norm": ("cyclegan", {"generator": BATCH_NORM}, {}, 1),
    "cyclegan, no identity": ("cyclegan", {"lambda_identity": 0.0}, LEARNED, 1),
    "munit, all terms": ("munit", {"lambda_cycle": 10.0, "lambda_perceptual": 1.0}, {}, 1),
    "munit, no image term": ("munit", {"lambda_image": 0.0}, {}, 1),
    "qs-attn, local": ("qs-attn", {"selection": "local"}, {}, 1),
    "qs-attn, local as released": ("qs-attn", {"selection": "local", "layout": "released"}, {}, 1),
    "qs-attn, local-global": ("qs-attn", {"selection": "local-global"}, {}, 1),
    "sesim, learned": ("sesim", {}, LEARNED, 1),
    "sincut, no slope": ("sincut", {"lambda_r1": 0.0}, {}, 1),
    "single-image-sesim, no slope": ("single-image-sesim", {"lambda_gradient": 0.0}, {}, 1),
}


def config_of(kind: str) -> AnyRunConfig:
    """Return the configuration of a run of a kind."""
    name, changes, others, _ = KINDS[kind]
    sections: dict[str, dict[str, Any]] = {
        "data": {"resize": 36, "crop": 32},
        "labels": {"classes": CLASSES if METHODS[name].data == "labelled" else 0},
    }
    for given in (METHODS[name].Config.run_defaults, others):
        for title, values in given.items():
            sections[title] = {**values, **sections.get(title, {})}
    sections["structure"] = {**sections.get("structure", {}), **others.get("structure", {})}
    return run_schema().model_validate({"method": tiny_document(name, **changes), **sections})


def build_kind(kind: str) -> Method:
    """Return the method of a kind, in float32, in training."""
    method = build_method(config_of(kind)).train()
    method.take_pretrained({wanted: stand_in(wanted) for wanted in method.pretrained})
    method.start_epoch(KINDS[kind][3])
    if "flip" in kind:
        method.draws.flip = lambda _name: True  # type: ignore[method-assign]
    return method


def batch_of(
    kind: str, dtype: torch.dtype, layout: torch.memory_format = torch.contiguous_format
) -> AnyBatch:
    """Return a batch of two pictures, for a method of that kind."""
    batch = batch_for(KINDS[kind][0])
    pictures = {key: value for key, value in vars(batch).items() if _is_pictures(value)}
    return replace(batch, **{k: v.to(dtype, memory_format=layout) for k, v in pictures.items()})


def gradients_of_step(
    kind: str,
    *,
    levers: LeversConfig | None = None,
    recompute: bool = False,
    dtype: torch.dtype = torch.float64,
    layout: torch.memory_format = torch.contiguous_format,
    precision: torch.dtype = torch.float32,
) -> dict[str, dict[str, Tensor]]:
    """Return all terms, as "terms", and by player the gradients that the engine steps by.

    Args:
        kind: one of `KINDS`.
        levers: which to take; None: all.
        recompute: see `Method.use_levers`.
        dtype: of weights and pictures.
        layout: of weights and pictures in memory.
        precision: autocast; float32: none.
    """
    method = build_kind(kind).to(dtype)
    method.use_layout(layout)
    for network in method._pretrained.values():
        network.to(dtype, memory_format=layout)
    method.use_levers(levers or LeversConfig(), recompute=recompute)
    return gradients_of(method, batch_of(kind, dtype, layout), precision=precision)


def gradients_of(
    method: Method, batch: AnyBatch, *, precision: torch.dtype, device: torch.device = CPU
) -> dict[str, dict[str, Tensor]]:
    """Return what `gradients_of_step` does, of a method and a batch on `device`."""
    steppers = build_steppers(method, device=device, precision=torch.float32)
    seen: dict[str, dict[str, Tensor]] = {}
    for player, stepper in steppers.items():
        # Plain descent: Adam would make steps of the rounding of gradients that are nothing else.
        descent = torch.optim.SGD(list(stepper.weights.values()), lr=1e-3)
        descent.register_step_pre_hook(_noting(seen, player, stepper))
        steppers[player] = replace(stepper, optimizer=descent)
    losses = train_step(method, batch, steppers, device=device, precision=precision)
    seen["terms"] = {f"{p}/{term}": v for p, terms in losses.items() for term, v in terms.items()}
    return seen


def _noting(
    seen: dict[str, dict[str, Tensor]], player: str, stepper: Stepper
) -> Callable[..., None]:
    """Return a hook of an optimizer that notes the gradients before its step."""
    return partial(_note, seen, player, stepper)


def _note(seen: dict[str, dict[str, Tensor]], player: str, stepper: Stepper, *_: Any) -> None:
    seen[player] = {
        name: weight.grad.clone()
        for name, weight in stepper.weights.items()
        if weight.grad is not None
    }


def _is_pictures(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
