"""Learning-rate schedules: pure functions of the epoch, so that resuming cannot shift them.

Beyond its last epoch a schedule holds its last value, for runs that are taken further.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from i2icli.config.base import StrictModel


class LinearSchedule(StrictModel):
    """Constant, then linearly falling, never quite reaching zero (CycleGAN, CUT, QS-Attn)."""

    policy: Literal["linear"] = "linear"
    epochs: int = Field(200, ge=0, description="Epochs at the full learning rate.")
    epochs_decay: int = Field(200, ge=0, description="Epochs of linear decay after those.")

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole schedule."""
        return self.epochs + self.epochs_decay

    def factor(self, epoch: int) -> float:
        """Return the multiplier of the learning rate in `epoch`, counted from 1."""
        decayed = min(max(0, epoch - self.epochs), self.epochs_decay)
        return 1.0 - decayed / (self.epochs_decay + 1)

    def is_decaying(self, epoch: int) -> bool:
        """Say whether `epoch`, counted from 1, lies in the second, falling part."""
        return epoch > self.epochs


class StepSchedule(StrictModel):
    """Multiply the learning rate by `gamma` every so many epochs."""

    policy: Literal["step"] = "step"
    epochs: int = Field(200, ge=1, description="Epochs of the whole schedule.")
    every_epochs: int = Field(50, ge=1, description="Epochs between two drops.")
    gamma: float = Field(0.1, gt=0, le=1, description="Multiplier at each drop.")

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole schedule."""
        return self.epochs

    def factor(self, epoch: int) -> float:
        """Return the multiplier of the learning rate in `epoch`, counted from 1."""
        return float(self.gamma ** ((min(epoch, self.epochs) - 1) // self.every_epochs))

    def is_decaying(self, epoch: int) -> bool:  # noqa: ARG002 - same form as the others
        """Say that there is no decay half."""
        return False


class CosineSchedule(StrictModel):
    """Half a cosine down to zero over `epochs`, rising again beyond them as released."""

    policy: Literal["cosine"] = "cosine"
    epochs: int = Field(200, ge=1, description="Half period in epochs.")
    epochs_extra: int = Field(0, ge=0, description="Epochs after the half period.")

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole schedule."""
        return self.epochs + self.epochs_extra

    def factor(self, epoch: int) -> float:
        """Return the multiplier of the learning rate in `epoch`, counted from 1."""
        passed = min(epoch, self.total_epochs) - 1
        return 0.5 * (1.0 + math.cos(math.pi * passed / self.epochs))

    def is_decaying(self, epoch: int) -> bool:
        """Say whether `epoch`, counted from 1, lies after the half period."""
        return epoch > self.epochs


Schedule = Annotated[LinearSchedule | StepSchedule | CosineSchedule, Field(discriminator="policy")]
