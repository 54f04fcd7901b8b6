"""Prediction of a frozen network's features (knowledge distillation: Romero et al., ICLR 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.layers import OwnStart
from i2icli.system.device import full_precision, widen
from i2icli.system.ranks import ALONE, Ranks

_PACE = 0.01  # of the moving averages, once 100 steps have been averaged
_FURTHEST = 5.0  # standard deviations: activations have long tails


class Distiller(nn.Module):
    """Predict features of a frozen network from a network's own, and measure how far off that is.

    Features are first brought to mean 0 and variance 1 a channel, by moving averages, so that all
    channels and layers count alike.

    Args:
        inside: channels of the network's own features.
        channels: of the frozen features of each layer.
    """

    def __init__(self, inside: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(OwnStart(inside, inside, 1), nn.LeakyReLU(0.2), OwnStart(inside, each, 1))
            for each in channels
        )
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for number, each in enumerate(channels):
            self.register_buffer(f"mean_{number}", torch.zeros(each))
            self.register_buffer(f"square_{number}", torch.ones(each))

    def forward(self, maps: Tensor, features: Sequence[Tensor], ranks: Ranks = ALONE) -> Tensor:
        """Return the mean squared error over all layers, a scalar; 1 is that of a blind guess.

        Args:
            maps: the network's own features, (B, inside, H, W).
            features: frozen ones, (B, C_l, H_l, W_l) a layer; constants.
            ranks: the processes that share the batch.
        """
        if self.training:
            self.steps += 1
            for number, each in enumerate(features):
                self._follow(number, each.detach(), ranks)
        errors = []
        for number, (head, each) in enumerate(zip(self.heads, features, strict=True)):
            known = F.adaptive_avg_pool2d(maps, (each.shape[2], each.shape[3]))
            errors.append(_error(head(known), each.detach(), *self._moments(number)))
        return torch.stack(errors).mean()

    def _moments(self, number: int) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"mean_{number}"), self.get_buffer(f"square_{number}")

    def _follow(self, number: int, features: Tensor, ranks: Ranks) -> None:
        wide, pace = widen(features), self.steps.float().reciprocal().clamp_min(_PACE)
        now = torch.stack([wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))])
        now = ranks.add_up(now) / ranks.world
        for moment, value in zip(self._moments(number), now, strict=True):
            moment.lerp_(value.to(moment), pace.to(moment))


@full_precision
def _error(predicted: Tensor, features: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    deviation = (square - mean.square()).clamp_min(1e-4).sqrt()
    scaled = (features - mean[:, None, None]) / deviation[:, None, None]
    return F.mse_loss(predicted, scaled.clamp(-_FURTHEST, _FURTHEST))
