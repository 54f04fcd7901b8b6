"""The training steps of a recorded trajectory, taken by the engine, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from golden import Case, golden_cases
from replay import NETWORKS, ReplayDraws, build_recorded, reported_losses, translated_images
from torch import Tensor

from i2icli.data.batch import Batch
from i2icli.methods import Method
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

CPU = torch.device("cpu")


@dataclass
class Run:
    """What one replayed trajectory produced."""

    method: Method
    draws: ReplayDraws
    losses: list[dict[str, float]]
    images: dict[int, dict[str, Tensor]]  # at the start of the first and of the last step


def replay(
    case: Case,
    dtype: torch.dtype,
    *,
    steps: int,
    prepare: Callable[[Method], object] | None = None,
    layout: torch.memory_format = torch.contiguous_format,
) -> Run:
    """Take the first `steps` of a trajectory.

    Args:
        case: the trajectory.
        dtype: of weights and pictures.
        steps: how many.
        prepare: what to do to the method before.
        layout: of weights and pictures in memory.
    """
    recorded = case.tensors
    method = build_recorded(case.options, recorded["A"].shape[-1])
    for official, ours in networks(method).items():
        method.get_submodule(ours).load_state_dict(case.state_dict(f"init.{official}."))
    method.to(dtype).use_layout(layout)
    if prepare is not None:
        prepare(method)
    draws = method.draws = ReplayDraws(recorded)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    run = Run(method, draws, [], {})
    for step in range(steps):
        draws.step = step
        pictures = (recorded[name][step].to(dtype, memory_format=layout) for name in "AB")
        batch = Batch(*pictures)
        flipped = "flip" in recorded and bool(recorded["flip"][step])
        if step in (0, steps - 1):
            run.images[step] = translated_images(method, batch, flipped=flipped)
        terms = train_step(method, batch, steppers, device=CPU, precision=torch.float32)
        run.losses.append(reported_losses(method, terms))
    return run


@cache
def run_by_default(name: str) -> Run:
    """Return the run in float64 of the trajectory called so, as a method comes; not to change."""
    (case,) = (param.values[0] for param in golden_cases(f"{name}$"))
    return replay(case, torch.float64, steps=len(case.tensors["A"]))


def networks(method: Method) -> dict[str, str]:
    """Return our names of the networks by those of the released code."""
    known = NETWORKS["cyclegan" if "b2a" in method.directions else "contrastive"]
    has_weights = {ours for ours, _ in method.named_children()}
    return {
        official: ours
        for official, ours in known.items()
        if ours in has_weights and any(True for _ in method.get_submodule(ours).parameters())
    }


def check_losses(case: Case, run: Run) -> None:
    """Compare the losses of every step, each within the bound of its step."""
    recorded = {key[5:]: value for key, value in case.tensors.items() if key.startswith("loss.")}
    assert recorded
    for name, values in recorded.items():
        rtols = case.tolerance["losses"]["rtol_per_step"]
        for step, rtol in list(enumerate(rtols))[: len(run.losses)]:
            seen, expected = run.losses[step][name], float(values[step])
            assert seen == pytest.approx(expected, rel=rtol, abs=1e-7), f"loss {name}, step {step}"


def check_images(case: Case, run: Run) -> None:
    """Compare the pictures made at the start of the first and of the last step."""
    bounds = {0: "atol_step0", len(run.losses) - 1: "atol_last_step"}
    for key, images in case.tensors.items():
        if key.startswith("img."):
            for row, (step, bound) in enumerate(bounds.items()):
                seen = run.images[step][key[4:]]
                difference = float((seen - images[row]).abs().max())
                assert difference <= case.tolerance["images"][bound], f"{key}, step {step}"


def check_final_weights(case: Case, run: Run) -> None:
    """Compare the weights that the released code determines."""
    compared = 0
    for official, ours in networks(run.method).items():
        state = run.method.get_submodule(ours).state_dict()
        for key, expected in case.state_dict(f"final.{official}.").items():
            name = f"{official}.{key}"
            if name in case.entry["undetermined_parameters"] or key.endswith("filt"):
                continue
            moved = case.entry["tensors"][f"final.{name}"]["mean_abs_change_from_init"]
            difference = float((state[key] - expected).abs().mean())
            assert difference < 0.15 * moved, f"{name}: off by {difference:.2e}, moved {moved:.2e}"
            compared += 1
    assert compared


def check_entropies(case: Case, run: Run) -> None:
    """Compare the entropies of the first step, by which places would have been chosen."""
    tolerance = case.tolerance["images"]["atol_step0"]
    for key, expected in case.tensors.items():
        if ".entropy." in key:
            seen = run.draws.scores[key.replace("nce_y", "nce_identity").replace("entropy.", "")]
            torch.testing.assert_close(seen, expected, rtol=1e-3, atol=tolerance, check_dtype=False)
