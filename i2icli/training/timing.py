"""What a run does by the clock: it ends, saves and shows itself, and turns a budget into steps.

In a run of several processes rank 0's clock decides, and says so in the exchange before each step.
Nothing here touches weights, random states or metrics.jsonl.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from i2icli.config.schedule import ShareSchedule
from i2icli.config.words import human_time, short_duration
from i2icli.errors import ConfigError
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.system.device import wait_for
from i2icli.training.logs import Clock

_FIRST_LOSS, _FIRST_SAMPLE = 60.0, 120.0  # seconds after which a run shows itself at the latest
# Steps left out of a measurement, in which libraries choose kernels and compile, and the least
# that are measured: for so many seconds, or that share of the budget.
_LEFT_OUT, _MEASURED = 5, 10
_LONG_ENOUGH, _SHARE = 30.0, 0.02


@dataclass
class Interval:
    """Something that is due every so many seconds."""

    every: float  # seconds; 0: never
    next: float = 0.0

    def has_passed(self, now: float) -> bool:
        """Say whether it is due; if so, the next time is a whole interval later."""
        if not self.every or now < self.next:
            return False
        self.next = now + self.every
        return True


@dataclass(frozen=True)
class Due:
    """What is to be done before the next step, agreed among all processes.

    Attributes:
        stop: a signal asks to stop.
        end: the budget is used: the next step is the last.
        save: last.pt is to be written.
        sample: samples/now.png is to be drawn.
        loss: no loss was shown yet.
        count: the budget is to become a number of steps.
    """

    stop: bool = False
    end: bool = False
    save: bool = False
    sample: bool = False
    loss: bool = False
    count: bool = False


class Timetable:
    """The times at which this part of a run does something."""

    def __init__(self, config: AnyRunConfig, clock: Clock, device: torch.device) -> None:
        self._clock = clock
        self._budget = config.train.budget_seconds
        self._awaits_steps = config.train.awaits_steps(config.method.schedule)
        minutes = config.samples.every_minutes if config.samples.every_steps else 0.0
        first = min(_FIRST_SAMPLE, 60 * minutes)
        self._sample = Interval(60 * minutes, next=first)
        self._loss = Interval(_FIRST_LOSS, next=_FIRST_LOSS)
        self._save = Interval(60 * config.checkpoint.every_minutes)
        self._has_sampled = False
        self.saved()
        shortest = _LONG_ENOUGH if self._budget is None else _SHARE * self._budget
        self.timer = StepTimer(clock, device, shortest=min(_LONG_ENOUGH, shortest))

    def look(self) -> Due:
        """Return what is due now, signals apart; to be asked before each step but the first."""
        here = self._clock.here
        return Due(
            end=is_used(self._budget, self._clock.seconds) and not self._awaits_steps,
            save=self._save.has_passed(here),
            sample=self._sample.has_passed(here),
            loss=self._loss.has_passed(here),
            count=self._awaits_steps and self.timer.seconds is not None,
        )

    def saved(self) -> None:
        """Count the minutes to the next checkpoint from now on."""
        self._save.next = self._clock.here + self._save.every

    def shown(self) -> None:
        """Have a loss been shown: the clock need show none."""
        self._loss.every = 0.0

    def is_first_sample(self) -> bool:
        """Say whether this is the first sample that the clock asked for; the next is not."""
        is_first, self._has_sampled = not self._has_sampled, True
        return is_first

    def count(self, config: AnyRunConfig, *, done: int) -> int:
        """Return the steps of the whole run, after `done`, see `steps_of_budget`."""
        assert self.timer.seconds is not None, "asked once the time of a step is known"
        return steps_of_budget(
            config, done=done, seconds=self._clock.seconds, pace=self.timer.seconds
        )

    def sentence(self, config: AnyRunConfig, steps: int) -> str:
        """Return what became of the budget of `config`."""
        return steps_sentence(config, steps, self.timer.seconds or 0.0, "measured")

    def counted(self) -> None:
        """Have the budget become a number of steps, which ends the run in its place."""
        self._budget, self._awaits_steps = None, False


@dataclass
class StepTimer:
    """Measures a step once: the mean of some in a row, drawing, measuring and saving left out.

    Attributes:
        shortest: seconds that the steps take together at the least.
        seconds: of a step; None: not known yet.
    """

    clock: Clock
    device: torch.device
    shortest: float
    seconds: float | None = None
    _steps: int = field(default=0, init=False)
    _start: float = field(default=0.0, init=False)

    def stepped(self) -> bool:
        """Take in a step that was just taken; return whether this one made the time known."""
        if self.seconds is not None:
            return False
        self._steps += 1
        measured = self._steps - _LEFT_OUT
        if measured == 0:
            wait_for(self.device)  # a GPU may be steps behind
            self._start = self.clock.in_steps
        if measured < _MEASURED or self.clock.in_steps - self._start < self.shortest:
            return False
        wait_for(self.device)
        self.seconds = (self.clock.in_steps - self._start) / measured
        return True


def is_used(budget: float | None, seconds: float) -> bool:
    """Return whether a budget, if there is any, is used after so many seconds of training."""
    return budget is not None and seconds >= budget


def steps_of_budget(config: AnyRunConfig, *, done: int, seconds: float, pace: float) -> int:
    """Return the steps of a whole run that a budget allows.

    Args:
        config: of the run, with a budget.
        done: steps that were taken so far, all at the schedule's constant rate.
        seconds: that they took, with all else.
        pace: seconds of a step.

    Raises:
        ConfigError: if a schedule in shares would have begun to fall by now.
    """
    schedule, budget = config.method.schedule, config.train.budget_seconds
    assert budget is not None, "there is a budget"
    total = done + max(1, int((budget - seconds) / pace))
    if isinstance(schedule, ShareSchedule) and schedule.constant_steps(total) < done:
        enough = seconds + pace * max(0.0, math.ceil(done / schedule.constant) + 1 - done)
        raise ConfigError(
            f"a budget of {config.train.budget} allows {total} steps of {human_time(pace)} here, "
            f"and after {schedule.constant:.0%} of them the learning rate should fall: that is "
            f"before a step is measured. Give --budget {short_duration(1.1 * enough)} or more, or "
            "--steps N."
        )
    return total


def steps_sentence(config: AnyRunConfig, steps: int, pace: float, how: str) -> str:
    """Return what became of the budget of a configuration, and how to have the same again.

    Args:
        config: with the budget.
        steps: that it came to.
        pace: seconds of a step.
        how: the way in which that was found, in a word or two.
    """
    schedule = config.method.schedule
    falls = (
        f"; the learning rate falls after step {schedule.constant_steps(steps)}"
        if isinstance(schedule, ShareSchedule)
        else ""
    )
    return (
        f"the budget of {config.train.budget} becomes {steps} steps, at {human_time(pace)} each "
        f"({how}){falls}. `--steps {steps}` repeats this run."
    )


def with_steps(config: AnyRunConfig, steps: int) -> AnyRunConfig:
    """Return the configuration with a number of steps in the place of its budget."""
    train = config.train.model_copy(update={"steps": steps, "budget": None, "epochs": None})
    return config.model_copy(update={"train": train})
