"""Exponential moving average of the translating networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from i2icli.methods.shared.base import Method


class MovingAverage:
    """The average of the weights that `translate` uses, kept on their device.

    Buffers are copied, not averaged: they hold filters and counts.
    """

    def __init__(self, method: Method, *, decay: float) -> None:
        self._decay = decay
        self._followed = method.translating_state()
        self._average = {name: value.clone() for name, value in self._followed.items()}
        self._weights = {name for name, _ in method.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        for name, value in self._followed.items():
            if name in self._weights:
                self._average[name].lerp_(value, 1.0 - self._decay)
            else:
                self._average[name].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Return the averages under their names in the method's state dict."""
        return dict(self._average)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned."""
        for name, value in state.items():
            self._average[name].copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the method translate with the averages for a while."""
        trained = {name: value.clone() for name, value in self._followed.items()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(trained)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, value in self._followed.items():
            value.copy_(values[name])
