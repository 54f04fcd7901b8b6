"""A step's random choices, made before the step, so that it can be recorded and replayed.

A recorded step cannot draw: its numbers must lie ready. Which draws a step makes follows from what
it decided before (a mirrored step may draw other positions), so draws of known steps form a tree
whose branches are decisions. `Tape` walks it with the method's own generator, in the order in which
the method would draw; the numbers, and the generator after the step, are those of a step that drew
for itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from i2icli.methods.shared.draws import Draws

Drawn = Tensor | bool | int | float | None
Decisions = tuple[Drawn, ...]


@dataclass(frozen=True)
class Call:
    """A draw that a method asked for."""

    kind: str  # the method of `Draws`
    name: str  # which draw
    arguments: tuple[tuple[str, Any], ...]  # the others, by name

    @property
    def decides(self) -> bool:
        """Whether the result is a plain value, which the step may branch by."""
        return self.kind in ("chance", "flip", "swap", "uniform")

    def make(self, draws: Draws) -> Drawn:
        """Draw."""
        drawn: Drawn = getattr(draws, self.kind)(self.name, **dict(self.arguments))
        return drawn


@dataclass(frozen=True)
class Made:
    """A draw and its result."""

    call: Call
    drawn: Drawn


class UnforeseenDrawError(RuntimeError):
    """A recorded step asked for another draw than the step it repeats."""


class _Asked(Draws):
    # What is no random choice goes to the method's own draws.
    def __init__(self, real: Draws) -> None:
        super().__init__()
        self._real = real

    def places(self, name: str, *, count: int, total: int) -> Tensor:
        return self._tensor(Call("places", name, (("count", count), ("total", total))))

    def normal(self, name: str, shape: Sequence[int], *, parts: int = 1) -> Tensor:
        return self._tensor(Call("normal", name, (("shape", tuple(shape)), ("parts", parts))))

    def shares(self, name: str, shape: Sequence[int]) -> Tensor:
        return self._tensor(Call("shares", name, (("shape", tuple(shape)),)))

    def chance(self, name: str, *, one_in: int) -> bool:
        return bool(self._take(Call("chance", name, (("one_in", one_in),))))

    def flip(self, name: str) -> bool:
        return bool(self._take(Call("flip", name, ())))

    def uniform(self, name: str, *, low: float, high: float) -> float:
        drawn = self._take(Call("uniform", name, (("low", low), ("high", high))))
        assert isinstance(drawn, float), "a uniform draw is a number"
        return drawn

    def swap(self, name: str, *, size: int) -> int | None:
        drawn = self._take(Call("swap", name, (("size", size),)))
        assert drawn is None or isinstance(drawn, int), "a swap is a slot"
        return drawn

    def lowest(self, name: str, scores: Tensor, *, count: int) -> Tensor:
        return self._real.lowest(name, scores, count=count)

    def state(self) -> Tensor:
        return self._real.state()

    def restore(self, state: Tensor) -> None:
        self._real.restore(state)

    def _tensor(self, call: Call) -> Tensor:
        drawn = self._take(call)
        assert isinstance(drawn, Tensor), f"{call.kind} draws a tensor"
        return drawn

    def _take(self, call: Call) -> Drawn:
        raise NotImplementedError


@dataclass(frozen=True)
class _Stretch:
    calls: tuple[Call, ...]
    is_last: bool


class Tape(_Asked):
    """Stands in for a method's draws in steps that it takes draw by draw.

    Attributes:
        made: the draws of this step so far.
        is_astray: whether a step did not draw as one of the same decisions had.
    """

    def __init__(self, real: Draws) -> None:
        super().__init__(real)
        self.made: list[Made] = []
        self.is_astray = False
        self._stretches: dict[Decisions, _Stretch] = {}
        self._ahead: deque[Made] = deque()
        self._start = real.state()

    def begin(self) -> list[Made] | None:
        """Make the draws of the next step, as far as they are known.

        Returns:
            All of them, for a recorded step to be filled with; None where the decisions lead
            where no step went before. A step that draws from this tape instead gets the same, and
            is ended by `finish`.
        """
        self.made, self._start = [], self._real.state()
        self._ahead.clear()
        decisions: Decisions = ()
        while stretch := self._stretches.get(decisions):
            self._ahead.extend(Made(call, call.make(self._real)) for call in stretch.calls)
            if stretch.is_last:
                return list(self._ahead)
            decisions = (*decisions, self._ahead[-1].drawn)
        return None

    def finish(self) -> Decisions:
        """Learn what the step drew, and return its decisions."""
        if self._ahead:
            self._return_to_the_step()
        decisions: Decisions = ()
        calls: list[Call] = []
        for made in self.made:
            calls.append(made.call)
            if made.call.decides:
                self._stretches[decisions] = _Stretch(tuple(calls), is_last=False)
                decisions, calls = (*decisions, made.drawn), []
        self._stretches[decisions] = _Stretch(tuple(calls), is_last=True)
        return decisions

    def _take(self, call: Call) -> Drawn:
        if self._ahead and self._ahead[0].call != call:
            self._return_to_the_step()
        made = self._ahead.popleft() if self._ahead else Made(call, call.make(self._real))
        self.made.append(made)
        return made.drawn

    def _return_to_the_step(self) -> None:
        self.is_astray = True
        self._ahead.clear()
        self._real.restore(self._start)
        for made in self.made:
            made.call.make(self._real)


class Playback(_Asked):
    """Stands in for a method's draws in a step that is recorded: gives what lies ready."""

    def __init__(self, real: Draws, script: Sequence[Made]) -> None:
        super().__init__(real)
        self._left = deque(script)

    def finish(self) -> None:
        """Check that all was asked for.

        Raises:
            UnforeseenDrawError: if not.
        """
        if self._left:
            raise UnforeseenDrawError(f"the step did not ask for {self._left[0].call.name!r}")

    def _take(self, call: Call) -> Drawn:
        if not self._left or self._left[0].call != call:
            raise UnforeseenDrawError(f"the step asked for {call.name!r}, which was not to come")
        return self._left.popleft().drawn


def decisions_of(script: Sequence[Made]) -> Decisions:
    """Return the decisions of a step, in order."""
    return tuple(made.drawn for made in script if made.call.decides)
