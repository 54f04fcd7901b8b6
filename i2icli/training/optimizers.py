"""One optimizer a player, and the learning rate of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from i2icli.config.method import AdamConfig
from i2icli.config.schedule import Moment
from i2icli.methods.shared.base import Method, Player


@dataclass(frozen=True)
class Stepper:
    """The optimizer of one player, with its weights and scaler."""

    player: Player
    weights: Mapping[str, nn.Parameter]  # trainable ones by their names in the method
    optimizer: Optimizer | None  # None where there is nothing to train
    scaler: torch.amp.GradScaler | None  # keeps float16 gradients in range; else None

    def set_learning_rate(self, moment: Moment) -> None:
        """Take the schedule's learning rate of a step."""
        if self.optimizer is None:
            return
        for group in self.optimizer.param_groups:
            rate = group["rate"] * self.learning_rate(moment)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in place: a recorded step reads it from there
            else:
                group["lr"] = rate

    def learning_rate(self, moment: Moment) -> float:
        """Return the schedule's learning rate at a step, where a module's own rate is 1."""
        player = self.player
        is_early = moment.step < player.first_step
        rate = player.early_rate if is_early else player.schedule.rate(moment)
        return player.optimizer.lr * rate

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
                index: self._hosted(moments[name])
                for index, name in enumerate(self.weights)
                if name in moments
            }
            # The options are those of this run's configuration and device, not the file's.
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": numbered, "param_groups": groups})
        if self.scaler is not None and state.get("scaler"):
            self.scaler.load_state_dict(dict(state["scaler"]))

    def _hosted(self, moments: Mapping[str, Any]) -> dict[str, Any]:
        # Torch brings the count of steps to the weight's device for a fused or capturable
        # optimizer, but leaves it on the GPU for a plain one, which would wait for it every step.
        assert self.optimizer is not None, "moments are an optimizer's"
        options = self.optimizer.defaults
        if "step" not in moments or options.get("fused") or options.get("capturable"):
            return dict(moments)
        return {**moments, "step": moments["step"].cpu()}


def build_steppers(
    method: Method,
    *,
    device: torch.device,
    precision: torch.dtype,
    fused: bool | None = None,
    capturable: bool = False,
) -> dict[str, Stepper]:
    """Return the stepper of every player of a method that is on `device` already.

    `fused` updates all weights in one kernel; None: on CUDA devices. `capturable` keeps the
    learning
    rate, in float32, and the counts of steps on the device, so that Adam's update can be part of a
    CUDA graph.
    """
    is_fused = device.type == "cuda" if fused is None else fused
    names = {weight: name for name, weight in method.named_parameters()}
    steppers = {}
    for title, player in method.players.items():
        weights = {names[weight]: weight for weight in player.trainable()}
        scaler = torch.amp.GradScaler(device.type) if precision == torch.float16 else None
        optimizer = _build_optimizer(player, device, is_fused, capturable) if weights else None
        steppers[title] = Stepper(player, weights, optimizer, scaler)
    return steppers


def _build_optimizer(
    player: Player, device: torch.device, is_fused: bool, is_capturable: bool
) -> Optimizer:
    config = player.optimizer
    # `rate` is ours: torch keeps what it does not know.
    groups: list[dict[str, Any]] = [
        {"params": weights, "rate": rate} for rate, weights in player.groups() if weights
    ]
    # One kernel for all weights, or the plain loop; torch's own choice differs between devices.
    way: dict[str, bool] = {"fused": is_fused, "foreach": False}
    if isinstance(config, AdamConfig):
        if is_capturable:
            # Each group its own tensor: they are filled in place.
            groups = [{**group, "lr": torch.tensor(config.lr, device=device)} for group in groups]
        return Adam(
            groups,
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            capturable=is_capturable,
            **way,
        )
    return SGD(
        groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, **way
    )
