"""The training step of a run: kernel by kernel, or recorded once and replayed as a CUDA graph.

At small batches the processor needs longer to start the kernels of a step than the GPU to run
them; a graph starts them all at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.optim import Adam

from i2icli.data.batch import AnyBatch
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.draws import Draws
from i2icli.system.choices import Choices
from i2icli.training.optimizers import Stepper, build_steppers
from i2icli.training.step import StepLosses, train_step
from i2icli.training.tape import Decisions, Made, Playback, Tape, decisions_of

log = logging.getLogger(__package__)

T = TypeVar("T")
Step = Callable[[AnyBatch], StepLosses]

# Steps of a kind that are taken kernel by kernel first: libraries choose their kernels in these,
# and optimizers make their moments, neither of which may happen in a recording.
WARM_UP = 3
# Kinds of steps that are recorded, each with a graph of its own.
MOST_KINDS = 4


def build_step(
    method: Method,
    steppers: Mapping[str, Stepper],
    choices: Choices,
) -> Step:
    """Return a function that takes a training step on a batch on the device; see `train_step`."""
    method.draws.pins = choices.device.type == "cuda"

    take = partial(
        train_step, method, steppers=steppers, device=choices.device, precision=choices.precision
    )
    if not choices.cuda_graphs:
        return take
    if reason := obstacle(method, steppers, choices):
        log.warning(f"no CUDA graphs (runtime.cuda_graphs): {reason}")
        return take
    return GraphedStep(method, steppers, take=take, backend=CudaBackend(choices.device))


def chosen_steppers(method: Method, choices: Choices) -> dict[str, Stepper]:
    """Return the steppers that `build_step` needs with these choices."""
    return build_steppers(
        method,
        device=choices.device,
        precision=choices.precision,
        fused=choices.fused_optimizer,
        capturable=choices.cuda_graphs and choices.device.type == "cuda",
    )


def obstacle(method: Method, steppers: Mapping[str, Stepper], choices: Choices) -> str | None:
    """Return the reason why steps cannot be replayed; None: none is known beforehand."""
    if choices.device.type != "cuda":
        return f"{choices.device} has none"
    if choices.precision == torch.float16:
        return "float16 decides after each gradient whether to step"
    if method.ranks.world > 1:
        return "several processes average their gradients within a step"
    if any(pool.size for pool in method.pools.values()):
        return "past translations (method.pool_size) are exchanged within a step"
    if method.sliced is not None:
        return "features of past steps (method.sliced_wasserstein) are kept within a step"
    if type(method).memory is not Method.memory:
        return "this method remembers more than weights from step to step"
    if not all(isinstance(s.optimizer, Adam | None) for s in steppers.values()):
        return "only the updates of Adam can be recorded"
    return None


class Backend(Protocol):
    """The recorder of work on a device."""

    def warm_up(self, work: Callable[[], T]) -> T:
        """Do the work now, where recording would do it."""

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Record the work without doing it.

        Returns:
            What does it, on the same memory each time; and what `work` returned, whose tensors hold
            values after that.

        Raises:
            RuntimeError: the work cannot be recorded.
        """

    def start_over(self) -> None:
        """Wait for the device; what was recorded may be dropped, and is replayed no more."""


class CudaBackend:
    """CUDA graphs as PyTorch's documentation prescribes them (notes on CUDA semantics)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Graphs that share a pool are to be captured on one stream, and their work warmed up on
        # another than the default one.
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, work: Callable[[], T]) -> T:
        """See `Backend`."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """See `Backend`."""
        graph = torch.cuda.CUDAGraph()
        # A cast from before the recording would not be made again with the weights of later
        # steps. Those within it are: each autocast region of a step begins and ends there.
        torch.clear_autocast_cache()
        with (
            torch.cuda.device(self._device),
            # Comes back to this stream, also after a recording that failed to end.
            torch.cuda.stream(torch.cuda.current_stream(self._device)),
            # thread_local: the loader's thread goes on pinning batches meanwhile, which the
            # default would take for part of the work and refuse.
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ),
        ):
            result = work()
        return graph.replay, result

    def start_over(self) -> None:
        """See `Backend`."""
        torch.cuda.synchronize(self._device)
        # A pool whose graphs are gone takes no new ones.
        self._pool = torch.cuda.graph_pool_handle()


@dataclass(frozen=True)
class _Recorded:
    script: Sequence[Made]  # its draws, whose tensors are the memory that it reads
    replay: Callable[[], None]
    losses: StepLosses  # the memory that it writes its terms to

    def take(self, script: Sequence[Made]) -> StepLosses:
        for ours, theirs in zip(self.script, script, strict=True):
            if isinstance(ours.drawn, Tensor):
                assert isinstance(theirs.drawn, Tensor), "equal calls draw alike"
                ours.drawn.copy_(theirs.drawn, non_blocking=True)
        self.replay()
        return {
            player: {name: value.clone() for name, value in terms.items()}
            for player, terms in self.losses.items()
        }


class GraphedStep:
    """Takes steps by replaying them, where that can be done, with the same numbers.

    Each kind of step, told apart by the decisions drawn for it, is warmed up and recorded once.
    What else a step depends on, the trainable weights and the plain attributes of the method,
    makes a stage: when one of them changes, all is recorded anew. A batch of another shape than
    the stage's first is not replayed.
    """

    def __init__(
        self,
        method: Method,
        steppers: Mapping[str, Stepper],
        *,
        take: Step,
        backend: Backend,
    ) -> None:
        self._method = method
        self._steppers = steppers
        self._take = take
        self._backend = backend
        self._draws = method.draws
        self._tape = Tape(self._draws)
        self._stage: object = None
        self._batch: AnyBatch | None = None
        self._taken: Counter[Decisions] = Counter()
        self._recorded: dict[Decisions, _Recorded] = {}
        self._has_given_up = False

    def __call__(self, batch: AnyBatch) -> StepLosses:
        """Take a step; see `train_step`."""
        if not self._has_given_up:
            self._enter_stage(batch)
        if self._has_given_up or self._batch is None or batch.shapes != self._batch.shapes:
            return self._take(batch)
        script = self._tape.begin()
        if script is None:
            return self._take_drawing(batch)
        kind = decisions_of(script)
        if kind not in self._recorded and self._taken[kind] >= WARM_UP:
            self._record(kind, script)
        if kind not in self._recorded:
            return self._take_drawing(batch)
        self._batch.fill(batch)  # type: ignore[arg-type]  # a run has batches of one type
        return self._recorded[kind].take(script)

    def _enter_stage(self, batch: AnyBatch) -> None:
        weights = [weight for s in self._steppers.values() for weight in s.weights.values()]
        plain = [(k, v) for k, v in vars(self._method).items() if isinstance(v, int | float | str)]
        stage = (tuple(plain), tuple(weight.requires_grad for weight in weights))
        if stage == self._stage:
            return
        self._drop()
        self._stage, self._batch = stage, batch.clone()

    def _drop(self) -> None:
        if self._recorded:
            self._backend.start_over()
        self._batch, self._recorded = None, {}
        self._taken.clear()
        self._tape = Tape(self._draws)

    def _take_drawing(self, batch: AnyBatch) -> StepLosses:
        tape = self._tape
        with self._drawing_from(tape):
            losses = self._backend.warm_up(lambda: self._take(batch))
        self._taken[tape.finish()] += 1
        numbers = [made.call.name for made in tape.made if made.call.kind == "uniform"]
        if numbers:
            self._give_up(f"a step draws numbers ({numbers[0]!r}) that a recording would repeat")
        elif tape.is_astray:
            self._give_up("what a step draws does not follow from its decisions")
        elif len(self._taken) > MOST_KINDS:
            self._give_up(f"decisions make more than {MOST_KINDS} different steps")
        return losses

    def _record(self, kind: Decisions, script: Sequence[Made]) -> None:
        assert self._batch is not None, "a stage has one"
        device = self._batch.sources.device
        ready = [
            Made(m.call, m.drawn.to(device, copy=True)) if isinstance(m.drawn, Tensor) else m
            for m in script
        ]
        moments = self._moments()

        def work() -> StepLosses:
            playback = Playback(self._draws, ready)
            with self._drawing_from(playback):
                losses = self._take(self._batch)  # type: ignore[arg-type]  # a stage has one
            playback.finish()
            return losses

        try:
            replay, losses = self._backend.capture(work)
        except RuntimeError as error:
            self._forget_moments(moments)
            self._give_up(f"a step cannot be recorded ({_cause(error)})")
            return
        if self._forget_moments(moments):
            # They would be set back to zero with every step.
            self._give_up("an optimizer would begin within a step")
            return
        self._recorded[kind] = _Recorded(ready, replay, losses)

    def _give_up(self, reason: str) -> None:
        # What was drawn ahead for this step is still asked for, from the same tape.
        tape = self._tape
        self._drop()
        self._tape, self._has_given_up = tape, True
        log.warning(f"no CUDA graphs from here on (runtime.cuda_graphs): {reason}")

    def _moments(self) -> dict[str, set[Any]]:
        return {
            name: set(stepper.optimizer.state)
            for name, stepper in self._steppers.items()
            if stepper.optimizer is not None
        }

    def _forget_moments(self, known: Mapping[str, set[Any]]) -> bool:
        is_any = False
        for name, weights in self._moments().items():
            state = self._steppers[name].optimizer.state  # type: ignore[union-attr]  # has moments
            for weight in weights - known[name]:
                del state[weight]
                is_any = True
        return is_any

    @contextmanager
    def _drawing_from(self, draws: Draws) -> Iterator[None]:
        self._method.draws = draws
        try:
            yield
        finally:
            self._method.draws = self._draws


def _cause(error: BaseException) -> str:
    # The first error of the chain: those that follow speak of the recording alone.
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]
