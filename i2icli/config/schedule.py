"""Learning-rate schedules, and where a run stops.

A schedule is a pure function of the moment, so that resuming cannot shift it. Beyond its end it
holds its last value, for runs that are taken further; one in shares has the run's own end.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from i2icli.config.base import StrictModel
from i2icli.config.words import one_of, parse_duration


@dataclass(frozen=True)
class Moment:
    """A training step.

    Attributes:
        step: counted from 1.
        steps_per_epoch: steps that take in the larger domain once.
        total: steps of the whole run; None: not known, or of no matter.
    """

    step: int
    steps_per_epoch: int
    total: int | None = None

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


class ShareSchedule(AnySchedule):
    """Constant for a share of the run, then falling linearly to a floor at the run's last step.

    Until it is known how many steps the run has, the rate is that of the constant share. Pictures
    are resized alike all the time.
    """

    policy: Literal["shares"] = "shares"
    steps: int = Field(
        20_000, ge=1, description="Steps of a run to which no steps, epochs or budget are given."
    )
    constant: float = Field(
        0.5, gt=0, le=1, description="Share of the run at the full learning rate, warm-up in it."
    )
    floor: float = Field(0.02, ge=0, le=1, description="Multiplier at the last step.")
    warmup_steps: int = Field(
        0, ge=0, description="Steps over which the learning rate rises first, linearly."
    )

    def constant_steps(self, total: int) -> int:
        """Return the steps before the fall, in a run of `total`."""
        return int(self.constant * total)

    def rate(self, moment: Moment) -> float:
        """Return the multiplier of the learning rate at a step."""
        risen = min(1.0, moment.step / (self.warmup_steps + 1))
        if moment.total is None:
            return risen
        constant = self.constant_steps(moment.total)
        fallen = min(moment.step, moment.total) - constant
        if fallen <= 0:
            return risen
        return min(risen, 1.0 - (1.0 - self.floor) * fallen / (moment.total - constant))

    def total_steps(self, steps_per_epoch: int) -> int:  # noqa: ARG002 - same form as the others
        """Return the steps of a run to which nothing else says how long it is."""
        return self.steps


Schedule = Annotated[
    LinearSchedule
    | StepSchedule
    | CosineSchedule
    | IterationSchedule
    | PolySchedule
    | ShareSchedule,
    Field(discriminator="policy"),
]


class TrainConfig(StrictModel):
    """The seed, and where to stop; schedules never rescale by these, but for one in shares."""

    seed: int = Field(0, ge=0, lt=2**63, description="Seed of weights, data and choices.")
    steps: int | None = Field(None, ge=1, description="Stop after this step.")
    epochs: int | None = Field(None, ge=1, description="Last epoch; none: the schedule's end.")
    budget: str | None = Field(
        None,
        description="Stop after so much time of training, resumes included: 90m, 2h, 1d, 1h30m. "
        "With a schedule in shares it becomes a number of steps.",
    )

    @field_validator("budget")
    @classmethod
    def _is_a_time(cls, budget: str | None) -> str | None:
        if budget is not None:
            parse_duration(budget)
        return budget

    @model_validator(mode="after")
    def _has_one_stop(self) -> Self:
        given = [f"train.{name}" for name in STOPS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give {one_of(given)}, not {'both' if len(given) == 2 else 'all'}")
        return self

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds; None: there is none."""
        return None if self.budget is None else parse_duration(self.budget)

    def awaits_steps(self, schedule: AnySchedule) -> bool:
        """Return whether the budget has yet to become a number of steps."""
        return self.budget is not None and isinstance(schedule, ShareSchedule)

    def last_step(self, schedule: AnySchedule, steps_per_epoch: int) -> int:
        """Return the step after which a run stops: that named here, else the schedule's last."""
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return self.epochs * steps_per_epoch
        return schedule.total_steps(steps_per_epoch)


STOPS = ("steps", "epochs", "budget")  # that say, one of them, where a run stops
