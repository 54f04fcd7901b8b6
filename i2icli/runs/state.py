"""What a checkpoint holds: everything that any later command needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class CheckpointState:
    """The whole state of a run after `step` steps; plain types and tensors only.

    Attributes:
        config: the run's configuration as a plain document, see `config.document`.
        weights: the method's state dict.
        step: steps done; epoch and place in the epoch follow from it.
        epoch: the epoch of the last step, counted from 1; 0 before the first step.
        ema: averaged weights of the translating modules under their names in `weights`; None
            where no average is kept.
        optimizers: by player, the optimizer's state and that of the float16 gradient scaler.
        memory: the method's random choices and image pools.
        rng: torch's global random states by device type.
        meters: sums of the terms since the last log line, so that a resumed log has no gap.
        best: the lowest measured error so far and its step; empty where nothing was measured.
        data: fingerprint of the training pictures.
        versions: of i2i, torch and Python, as text.
        origin: of an imported checkpoint: `files`, names of files by network, and `fresh`, the
            networks that came from none; empty of a run's.
        others: where several processes trained: `memory`, `rng` and `meters` of ranks 1, 2, ...;
            those above are of rank 0.
        choices: what `auto` of the runtime settings came to, as far as it decides the rounding.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    step: int
    epoch: int = 0
    ema: Mapping[str, Tensor] | None = None
    optimizers: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    rng: Mapping[str, Any] = field(default_factory=dict)
    meters: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    others: Sequence[Mapping[str, Any]] = ()
    choices: Mapping[str, str | bool] = field(default_factory=dict)

    def translating_weights(self) -> dict[str, Tensor]:
        """Return the state dict to translate with: averaged weights where there are any."""
        return {**self.weights, **(self.ema or {})}
