"""The guard against losses and weights that are no longer finite."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import torch
from torch import Tensor

from i2icli.data.batch import AnyBatch
from i2icli.errors import ConfigError, DivergedError
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig, configure_run
from i2icli.runs.folder import RunFolder
from i2icli.training.step import StepLosses


@dataclass(frozen=True)
class Fault:
    """The first thing that was not finite."""

    what: str  # for example "term 'gan' of player 'generator'"
    step: int  # the step that computed it, counted from 1
    files: tuple[str, ...]  # pictures of that step's batch


@dataclass(frozen=True)
class _Seen:
    step: int
    files: tuple[str, ...]
    terms: tuple[tuple[str, str], ...]
    flags: Tensor  # (terms,) bool, on the device


class FiniteGuard:
    """Remembers whether each term was finite without waiting for the device until asked.

    What it holds is cleared by every look, so it grows with the log interval only.
    """

    def __init__(self) -> None:
        self._seen: list[_Seen] = []
        self._files: tuple[str, ...] = ()

    def note(self, losses: StepLosses, batch: AnyBatch, *, step: int) -> None:
        """Remember the terms of `step`, counted from 1."""
        self._files = batch.names
        values = [value for terms in losses.values() for value in terms.values()]
        if values:
            terms = tuple((player, term) for player in losses for term in losses[player])
            flags = torch.stack([value.isfinite().all() for value in values])
            self._seen.append(_Seen(step, self._files, terms, flags))

    def first_fault(self) -> Fault | None:
        """Return the first term since the last look that was not finite; waits for the device."""
        seen, self._seen = self._seen, []
        if not seen:
            return None
        flags = torch.cat([entry.flags for entry in seen]).tolist()
        named = [(entry, *names) for entry in seen for names in entry.terms]
        for (entry, player, term), is_finite in zip(named, flags, strict=True):
            if not is_finite:
                what = f"term {term!r} of player {player!r}"
                return Fault(what, entry.step, entry.files)
        return None

    def weight_fault(self, method: Method, *, step: int) -> Fault | None:
        """Return the first weight that is not finite after `step`; waits for the device.

        An update can spoil the weights while its losses were still finite.
        """
        named = [(n, v) for n, v in method.state_dict().items() if v.is_floating_point()]
        flags = torch.stack([value.isfinite().all() for _, value in named]).tolist()
        for (name, _), is_finite in zip(named, flags, strict=True):
            if not is_finite:
                return Fault(f"weight {name!r}", step, self._files)
        return None


def _own_rate(config: AnyRunConfig) -> float:
    """Return the learning rate of the preset; the run's own where there is none of that name."""
    try:
        return configure_run(config.preset).method.optimizer.lr
    except ConfigError:
        return config.method.optimizer.lr


def diverged(
    fault: Fault, *, config: AnyRunConfig, folder: RunFolder, precision: torch.dtype
) -> DivergedError:
    """Return the error that names the fault, what is still good, and what to try."""
    pictures = ", ".join(fault.files) or "unknown"
    command = ["i2i", "train", "--preset", str(folder.config)]
    kept = "nothing was saved yet"
    if folder.last.exists():
        kept = f"{folder.last} is intact"
        command += ["--init-from", str(folder.last)]
    if precision == torch.float16:
        remedy = "with more range in its numbers"
        command += ["--set", "runtime.precision=float32"]
    else:
        rate, own = config.method.optimizer.lr, _own_rate(config)
        remedy = "with half the learning rate" if rate <= own else "with the preset's learning rate"
        command += ["--set", f"method.optimizer.lr={min(rate / 2, own):g}"]
    return DivergedError(
        f"{fault.what} was not finite at step {fault.step}, on the pictures {pictures}; {kept}. "
        f"Train again {remedy}: `{shlex.join(command)}`."
    )
