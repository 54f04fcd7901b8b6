"""Spectral normalisation of convolutions (Miyato et al., ICLR 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.networks.layers import OwnStart

_ITERATIONS = 15  # of fresh weights


class SpectralConv(OwnStart):
    """A convolution whose weight, as a matrix of outputs by all else, is divided by its norm.

    The norm is estimated by `iterate`, which trainings call once a step, before the discriminator's
    turn; passes in between leave it alone. So passes of a step use the same weight, and what is
    computed again for the gradient is the same. Weights start as PyTorch's do.
    """

    u: Tensor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("u", torch.empty(self.out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as PyTorch does, and estimate their norm."""
        super().reset_parameters()
        if "u" in self._buffers:  # not while the base is built
            nn.init.normal_(self.u)
            self.iterate(_ITERATIONS)

    @torch.no_grad()
    def iterate(self, count: int = 1) -> None:
        """Better the estimate by power iterations: towards the first left singular vector."""
        matrix, vector = self.weight.flatten(1), self.u
        for _ in range(count):
            vector = F.normalize(matrix @ F.normalize(matrix.mT @ vector, dim=0), dim=0)
        self.u.copy_(vector)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images, (B, C, H, W)."""
        # |W^T u| = u^T W v for the best v; by a sum, which autocast leaves in full precision.
        along = (self.weight.flatten(1) * self.u[:, None]).sum(dim=0)
        convolved: Tensor = self._conv_forward(images, self.weight / along.norm(), self.bias)
        return convolved


def use_spectral_norm(network: nn.Module) -> None:
    """Put a fresh `SpectralConv` in the place of every convolution inside `network`."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d):
            convolution = SpectralConv(
                child.in_channels,
                child.out_channels,
                child.kernel_size,
                stride=child.stride,
                padding=child.padding,
                bias=child.bias is not None,
            )
            setattr(network, name, convolution)
        else:
            use_spectral_norm(child)


def iterate_spectral_norms(network: nn.Module) -> None:
    """Better the estimates of all spectral norms in `network`."""
    for module in network.modules():
        if isinstance(module, SpectralConv):
            module.iterate()
