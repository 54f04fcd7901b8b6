"""A stand-in for CUDA graphs that runs on a CPU, and steps to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from tiny import batch_for, tiny_method
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2icli.config.schedule import Moment
from i2icli.data.batch import AnyBatch
from i2icli.methods import Method
from i2icli.system.messages import collect_messages
from i2icli.training.graph_step import GraphedStep, Step
from i2icli.training.optimizers import Stepper, build_steppers
from i2icli.training.step import StepLosses, train_step

T = TypeVar("T")
aten = torch.ops.aten
# Kernels whose result, or its size, the processor has to know before it goes on.
WAITING = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2)
CPU = torch.device("cpu")
STEPS_PER_EPOCH = 7


class KernelLog(TorchDispatchMode):
    """Writes down every kernel with the memory it reads and writes; no Python takes part later."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in WAITING:
            raise RuntimeError(f"{func} waits for the device")
        options = dict(kwargs or {})
        out = func(*args, **options)
        self.calls.append((func, args, options, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        """Do it again, from and to the same memory."""
        for func, args, options, out in self.calls:
            again = func(*args, **options)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                # A view shows memory that was written to already.
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class StandIn:
    """Records as a CUDA graph does: kernels and memory, no Python, and nothing is done yet."""

    def __init__(self, method: Method, steppers: Mapping[str, Stepper]) -> None:
        self._method, self._steppers = method, steppers
        self.warmed = self.captured = self.replayed = self.restarted = 0
        self.fault: Callable[[], None] = lambda: None

    def warm_up(self, work: Callable[[], T]) -> T:
        self.warmed += 1
        return work()

    def capture(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        kept = [(value, value.clone()) for value in self._tensors()]
        log = KernelLog()
        try:
            with log:
                result = work()
            self.fault()
        finally:
            with torch.no_grad():
                for value, before in kept:
                    value.copy_(before)
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            log.replay()

        return replay, result

    def start_over(self) -> None:
        self.restarted += 1

    def _tensors(self) -> Iterator[Tensor]:
        yield from self._method.state_dict().values()
        for stepper in self._steppers.values():
            if stepper.optimizer is not None:
                for moments in stepper.optimizer.state.values():
                    yield from moments.values()


class Run:
    """A method in training, kernel by kernel or recorded."""

    def __init__(
        self,
        name: str,
        *,
        graphed: bool,
        double: bool = False,
        precision: torch.dtype = torch.float32,
        device: torch.device = CPU,
        **changes: Any,
    ) -> None:
        dtype = torch.float64 if double else torch.float32
        self.name, self.dtype, self.precision, self.device = name, dtype, precision, device
        self.method = tiny_method(name, **changes).to(device, dtype).train()
        for network in self.method._pretrained.values():
            network.to(device, dtype)
        self.steppers = build_steppers(
            self.method, device=device, precision=precision, fused=True, capturable=True
        )
        self.backend = StandIn(self.method, self.steppers)
        self.notes = collect_messages()
        self.step = self.graphed() if graphed else self.take
        self.done = 0

    def graphed(self) -> Step:
        return GraphedStep(
            self.method,
            self.steppers,
            take=self.take,
            backend=self.backend,
        )

    def take(self, batch: AnyBatch) -> StepLosses:
        return train_step(
            self.method, batch, self.steppers, device=self.device, precision=self.precision
        )

    def train(self, steps: int, *, size: int = 32) -> list[dict[str, Tensor]]:
        """Take steps as a run does; return the terms of each."""
        seen = []
        for _ in range(steps):
            if self.done % STEPS_PER_EPOCH == 0:
                self.method.start_epoch(self.done // STEPS_PER_EPOCH + 1)
            self.done += 1
            for stepper in self.steppers.values():
                stepper.set_learning_rate(Moment(self.done, STEPS_PER_EPOCH))
            losses = self.step(self.batch(size))
            seen.append({f"{p}/{t}": v for p, terms in losses.items() for t, v in terms.items()})
        return seen

    def batch(self, size: int) -> AnyBatch:
        batch = batch_for(self.name, seed=self.done, size=size)
        floats = {k: v.to(self.dtype) for k, v in vars(batch).items() if _is_float(v)}
        return replace(batch, **floats).to(self.device)

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint would hold."""
        return {
            "weights": dict(self.method.state_dict()),
            "moments": {name: stepper.state() for name, stepper in self.steppers.items()},
            "draws": self.method.draws.state(),
        }


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
