"""One Adam a player, and the learning rate of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Adam

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
    optimizer: Adam | None
    scaler: torch.amp.GradScaler | None

    def set_learning_rate(self, epoch: int) -> None:
        """Take the schedule's learning rate of `epoch`, counted from 1."""
        if self.optimizer is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(epoch)

    def learning_rate(self, epoch: int) -> float:
        """Return the schedule's learning rate in `epoch`, counted from 1."""
        return self.player.optimizer.lr * self.player.schedule.factor(epoch)

    def state(self) -> dict[str, Any]:
        """Return moments and step counts by the names of the weights, and the scaler's state."""
        state: dict[str, Any] = {"adam": {}}
        if self.optimizer is not None:
            state["adam"] = {
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
            numbered = {
                index: state["adam"][name]
                for index, name in enumerate(self.weights)
                if name in state["adam"]
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
        optimizer = _build_adam(player, list(weights.values()), device) if weights else None
        steppers[title] = Stepper(player, weights, optimizer, scaler)
    return steppers


def _build_adam(player: Player, weights: list[nn.Parameter], device: torch.device) -> Adam:
    config = player.optimizer
    return Adam(
        weights,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        # One kernel for all weights where launches cost; the plain loop is exact on a CPU.
        fused=True if device.type == "cuda" else None,
    )
