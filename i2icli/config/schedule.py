"""Learning-rate schedules: pure functions of the moment, so that resuming cannot shift them.

Beyond its end a schedule holds its last value, for runs that are taken further.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from i2icli.config.base import StrictModel


@dataclass(frozen=True)
class Moment:
    """A training step.

    Attributes:
        step: counted from 1.
        steps_per_epoch: steps that take in the larger domain once.
    """

    step: int
    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """The epoch of the step, counted from 1."""
        return (self.step - 1) // self.steps_per_epoch + 1


class AnySchedule(StrictModel):
    """Base of all schedules: `rate` multiplies the learning rate at a step."""

    @abstractmethod
    def rate(self, moment: Moment) -> float:
        """Return the multiplier of the learning rate at a step."""

    @abstractmethod
    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the steps of the whole schedule."""

    def is_decaying(self, epoch: int) -> bool:  # noqa: ARG002 - most have no decay half
        """Return whether `epoch`, counted from 1, lies in a second, falling part."""
        return False


class EpochSchedule(AnySchedule):
    """Base of the schedules that change between epochs only."""

    @property
    @abstractmethod
    def total_epochs(self) -> int:
        """Epochs of the whole schedule."""

    @abstractmethod
    def factor(self, epoch: int) -> float:
        """Return the multiplier of the learning rate in `epoch`, counted from 1."""

    def rate(self, moment: Moment) -> float:
        """Return the multiplier of the learning rate at a step."""
        return self.factor(moment.epoch)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the steps of the whole schedule."""
        return self.total_epochs * steps_per_epoch


class LinearSchedule(EpochSchedule):
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
        return 1.0 - decayed / (self.epochs_decay + 1)  # + 1 as released: it never reaches 0

    def is_decaying(self, epoch: int) -> bool:
        """Return whether `epoch`, counted from 1, lies in the second, falling part."""
        return epoch > self.epochs


class StepSchedule(EpochSchedule):
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


class CosineSchedule(EpochSchedule):
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
        """Return whether `epoch`, counted from 1, lies after the half period."""
        return epoch > self.epochs


class IterationSchedule(AnySchedule):
    """Multiply the learning rate by `gamma` every so many steps (MUNIT)."""

    policy: Literal["iterations"] = "iterations"
    steps: int = Field(1_000_000, ge=1, description="Steps of the whole schedule.")
    every_steps: int = Field(100_000, ge=1, description="Steps between two drops.")
    gamma: float = Field(0.5, gt=0, le=1, description="Multiplier at each drop.")

    def rate(self, moment: Moment) -> float:
        """Return the multiplier of the learning rate at a step."""
        return float(self.gamma ** ((min(moment.step, self.steps) - 1) // self.every_steps))

    def total_steps(self, steps_per_epoch: int) -> int:  # noqa: ARG002 - same form as the others
        """Return the steps of the whole schedule."""
        return self.steps


class PolySchedule(AnySchedule):
    """Fall at every step as (1 - share of the run done) to a power (segmentation networks)."""

    policy: Literal["poly"] = "poly"
    epochs: int = Field(240, ge=1, description="Epochs of the whole schedule.")
    power: float = Field(0.9, gt=0, description="Power of the remaining share.")

    def rate(self, moment: Moment) -> float:
        """Return the multiplier of the learning rate at a step."""
        total = self.total_steps(moment.steps_per_epoch)
        return float((1.0 - (min(moment.step, total) - 1) / total) ** self.power)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the steps of the whole schedule."""
        return self.epochs * steps_per_epoch


Schedule = Annotated[
    LinearSchedule | StepSchedule | CosineSchedule | IterationSchedule | PolySchedule,
    Field(discriminator="policy"),
]
