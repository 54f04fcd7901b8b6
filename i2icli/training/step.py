"""One training step of any method: the batch to the device, losses, gradients, weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller

import torch
from torch import Tensor, nn

from i2icli.data.batch import AnyBatch
from i2icli.methods.shared.base import Method, Terms
from i2icli.system.choices import Choices
from i2icli.system.device import autocast
from i2icli.training.optimizers import Stepper

StepLosses = dict[str, Terms]


def train_step(
    method: Method,
    batch: AnyBatch,
    steppers: Mapping[str, Stepper],
    *,
    device: torch.device,
    precision: torch.dtype,
) -> StepLosses:
    """Update every player of `method` on one batch, in the order that its losses name them.

    Each forward pass runs under autocast, each backward pass outside it. A backward pass
    reaches the weights of its own player alone. Processes that share the batch (`method.ranks`)
    average that player's gradients before its step. Nothing here waits for the device.

    Returns:
        By player, its terms, detached and still on the device.
    """
    done: StepLosses = {}
    turns = method.losses(batch.laid_out(method.memory_format))
    while True:
        with autocast(device, precision):
            turn = next(turns, None)
        if turn is None:
            return done
        player, terms = turn
        _update(player, terms, steppers, method)
        seen = done.setdefault(player, {})
        seen |= {name: term.detach() for name, term in terms.items()}


def _update(player: str, terms: Terms, steppers: Mapping[str, Stepper], method: Method) -> None:
    stepper, ranks = steppers[player], method.ranks
    if stepper.optimizer is None or not terms:
        return
    stepper.optimizer.zero_grad(set_to_none=True)
    loss = loss_of(terms)
    # A stage of the method may have frozen some for good.
    weights = [weight for weight in stepper.weights.values() if weight.requires_grad]
    others = [each for name, each in steppers.items() if name != player]
    if method.levers.freeze_others:
        others = []
    if stepper.scaler is None:
        _send_back(loss, weights, others)
        ranks.average_gradients(weights)
        stepper.optimizer.step()
        return
    _send_back(stepper.scaler.scale(loss), weights, others)
    # The scale is the same everywhere, and one overflow makes the mean overflow for all.
    ranks.average_gradients(weights)
    # The scaler refuses a step without a single gradient.
    if any(weight.grad is not None for weight in weights):
        stepper.scaler.step(stepper.optimizer)
        stepper.scaler.update()


def _send_back(loss: Tensor, weights: Sequence[nn.Parameter], others: Sequence[Stepper]) -> None:
    # Sparing the others needs no `requires_grad_(False)`: a convolution keeps its input for the
    # gradient either way.
    if not others:
        torch.autograd.backward(loss, inputs=weights)
        return
    torch.autograd.backward(loss)
    for stepper in others:
        for weight in stepper.weights.values():
            weight.grad = None


def loss_of(terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of a player's terms, a scalar in float32, or float64 where a term is."""
    start = next(iter(terms.values())).new_zeros((), dtype=torch.float32)
    return sum(terms.values(), start=start)


Send = Callable[[AnyBatch], AnyBatch]


def build_send(choices: Choices) -> Send:
    """Return a function that copies a batch to the device.

    With `runtime.prefetch` on a CUDA device a copy does not queue behind the step that the device
    still computes. The CPU is ahead of the device by then, so that the batch lies ready when its
    own step begins. No batch is taken from the loader before its step: whatever happens, the
    loader is where the run is.
    """
    device = choices.device
    if choices.prefetch and device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return SideCopy(device, stream)
    return methodcaller("to", device)


class SideCopy:
    """Copies batches on a CUDA stream on which nothing else runs."""

    def __init__(self, device: torch.device, stream: torch.cuda.Stream) -> None:
        self._device = device
        self._stream = stream

    def __call__(self, batch: AnyBatch) -> AnyBatch:
        """Start copying a batch in page-locked memory; work queued from now on waits for it."""
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            sent = batch.to(self._device)
        current.wait_stream(self._stream)
        # Else the allocator, which knows of this stream alone, could give the memory to the next
        # copy while the step still reads it.
        sent.record_stream(current)
        return sent
