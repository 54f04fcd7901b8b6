"""One optimizer a player, and the learning rate of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from i2icli.config.method import AdamConfig
from i2icli.config.schedule import Moment
from i2icli.methods.base import Method, Player


@dataclass(frozen=True)
class Stepper:
    """What it takes to update one player.

    Attributes:
        player: the player.
        weights: its trainable weights by their names in the method; may be empty.
        optimizer: None where there is nothing to train.
        scaler: keeps float16 gradients in range; None in the other precisions.
    """

    player: Player
    weights: Mapping[str, nn.Parameter]
    optimizer: Optimizer | None
    scaler: torch.amp.GradScaler | None

    def set_learning_rate(self, moment: Moment) -> None:
        """Take the schedule's learning rate of a step."""
        if self.optimizer is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = group["rate"] * self.learning_rate(moment)

    def learning_rate(self, moment: Moment) -> float:
        """Return the schedule's learning rate at a step, where a module's own rate is 1."""
        return self.player.optimizer.lr * self.player.schedule.rate(moment)

    def state(self) -> dict[str, Any]:
        """Return moments and step counts by the names of the weights, and the scaler's state."""
        state: dict[str, Any] = {"moments": {}}
        if self.optimizer is not None:
            state["moments"] = {
                name: dict(self.optimizer.state[weight])
                for name, weight in self.weights.items()
                if weight in self.optimizer.state
            }
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned; a scaler starts afresh where none was saved."""
        if self.optimizer is not None:
            # Checkpoints of version 0.1 call them by the only optimizer there was.
            moments = state["moments"] if "moments" in state else state["adam"]
            numbered = {
                index: moments[name] for index, name in enumerate(self.weights) if name in moments
            }
            # The options are those of this run's configuration and device, not the file's.
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": numbered, "param_groups": groups})
        if self.scaler is not None and state.get("scaler"):
            self.scaler.load_state_dict(dict(state["scaler"]))


def build_steppers(
    method: Method, *, device: torch.device, precision: torch.dtype
) -> dict[str, Stepper]:
    """Return the stepper of every player of a method that is on `device` already."""
    names = {weight: name for name, weight in method.named_parameters()}
    steppers = {}
    for title, player in method.players.items():
        weights = {names[weight]: weight for weight in player.trainable()}
        scaler = torch.amp.GradScaler(device.type) if precision == torch.float16 else None
        optimizer = _build_optimizer(player, device) if weights else None
        steppers[title] = Stepper(player, weights, optimizer, scaler)
    return steppers


def _build_optimizer(player: Player, device: torch.device) -> Optimizer:
    config = player.optimizer
    # `rate` is ours: torch keeps what it does not know.
    groups = [{"params": weights, "rate": rate} for rate, weights in player.groups() if weights]
    # One kernel for all weights where launches cost; the plain loop is exact on a CPU.
    fused = True if device.type == "cuda" else None
    if isinstance(config, AdamConfig):
        betas = (config.beta1, config.beta2)
        return Adam(
            groups, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=fused
        )
    return SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=fused,
    )
