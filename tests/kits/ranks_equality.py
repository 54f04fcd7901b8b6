"""Three steps of every method, on one rank and on a slice of every batch; both go into a file.

Usage, once a rank: python ranks_equality.py FOLDER, in the environment of one of several
processes. FOLDER/<rank>.pt holds by case the losses and weights of both ways.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lever_kit import PROJECTED
from narrow import narrow_resnet18
from tiny import CLASSES, batch_for, stand_in, tiny_document
from torch import Tensor
from torchvision import models

from i2icli.data.batch import AnyBatch
from i2icli.methods import METHODS, Method, build_method
from i2icli.methods.shared.configure import run_schema
from i2icli.system.ranks import Ranks, joined_ranks
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import StepLosses, train_step

STEPS, COUNT = 3, 4
CPU = torch.device("cpu")
LEARNED = {"kind": "learned", "patch_size": 8, "num_patches": 16}
NO_IMAGE_POOL = {"pool_size": 0}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{name: (name, {}, {}) for name in METHODS},
    # A pool is a rank's own once it is full; these never fill.
    **{
        name: (name, NO_IMAGE_POOL, {})
        for name in METHODS
        if "pool_size" in METHODS[name].Config.model_fields
    },
    "cut, flipped": ("cut", {"flip_equivariance": True}, {}),
    "cut, negatives of the batch": ("cut", {"batch_negatives": True}, {}),
    "cut, learned structure": ("cut", {}, LEARNED),
    "cut, batch norm": ("cut", {"generator": {"norm": "batch", "width": 4, "blocks": 2}}, {}),
    "src-hdce, negatives of the batch": ("src-hdce", {"batch_negatives": True}, {}),
    "cut, projected": ("cut", {"discriminator": PROJECTED}, {}),
    "cyclegan, filling its pools": ("cyclegan", {"pool_size": STEPS * COUNT}, {}),
}


def build(case: str) -> Method:
    """Return a method in float64."""
    name, changes, structure = CASES[case]
    sections: dict[str, dict[str, Any]] = {
        "data": {"resize": 36, "crop": 32},
        "labels": {"classes": CLASSES if METHODS[name].data == "labelled" else 0},
    }
    for title, values in METHODS[name].Config.run_defaults.items():
        sections[title] = {**values, **sections.get(title, {})}
    sections["structure"] = {**sections.get("structure", {}), **structure}
    document = {"method": tiny_document(name, **changes), **sections}
    method = build_method(run_schema().model_validate(document)).double().train()
    method.take_pretrained({wanted: stand_in(wanted).double() for wanted in method.pretrained})
    return method


def slice_of(batch: AnyBatch, ranks: Ranks) -> AnyBatch:
    """Return the part of a batch that a rank takes."""
    share = COUNT // ranks.world
    part = slice(ranks.rank * share, (ranks.rank + 1) * share)
    tensors = {key: value[part] for key, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **tensors)


def train(case: str, ranks: Ranks | None) -> dict[str, Any]:
    """Return the losses of every step, the weights after the last one, and what is kept besides."""
    method = build(case)
    if ranks is not None:
        method.join(ranks)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    losses = []
    for step in range(STEPS):
        batch = batch_for(CASES[case][0], count=COUNT, seed=step)
        floats = {k: v.double() for k, v in vars(batch).items() if _is_float(v)}
        batch = replace(batch, **floats)
        if ranks is not None:
            batch = slice_of(batch, ranks)
        done = train_step(method, batch, steppers, device=CPU, precision=torch.float32)
        losses.append(_plain(done) if ranks is None else ranks.average(_plain(done)))
    ungraded = [name for name, weight in method.named_parameters() if weight.grad is None]
    return {
        "losses": losses,
        "weights": method.state_dict(),
        "ungraded": ungraded,
        "draws": method.memory()["draws"],
    }


def exchange(ranks: Ranks) -> dict[str, Any]:
    """Return what single exchanges give where the ranks do not agree."""
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    weights[0].grad = torch.full((2,), 1.0 + ranks.rank)  # reached by both
    if ranks.is_main:
        weights[1].grad = torch.full((2,), 4.0)  # reached by rank 0 alone, the last by none
    ranks.average_gradients(weights)
    rows = torch.full((1,), float(ranks.rank), requires_grad=True)
    (ranks.gather(rows) * torch.tensor([1.0, 10.0])).sum().backward()
    return {
        "gradients": [weight.grad for weight in weights],
        "any": ranks.any(False, not ranks.is_main, ranks.is_main),
        "gathered": ranks.gather(rows.detach()).tolist(),
        "row_gradient": rows.grad,
        "alone": ranks.alone(lambda: f"from {ranks.rank}"),
        "collected": ranks.collect(ranks.rank),
        "first_to_fail": ranks.collect(ranks.claims_to_speak()),
    }


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _plain(losses: StepLosses) -> Mapping[str, float]:
    return {f"{p}/{t}": float(v) for p, terms in losses.items() for t, v in terms.items()}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    models.resnet18 = narrow_resnet18
    with joined_ranks() as ranks:
        shared = {case: train(case, ranks) for case in CASES}
        # The references are shared out among the ranks, to save time.
        own = list(CASES)[ranks.rank :: ranks.world]
        whole = {case: train(case, None) for case in own}
        document = {"shared": shared, "whole": whole, "exchange": exchange(ranks)}
        torch.save(document, folder / f"{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
