"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from i2icli.data.batch import AnyBatch
from i2icli.system.choices import Choices

Send = Callable[[AnyBatch], AnyBatch]


def build_send(choices: Choices) -> Send:
    """Return what brings a batch to the device.

    With `runtime.prefetch` on a CUDA device a copy does not queue behind the step that the device
    still computes. The CPU is ahead of the device by then, so that the batch lies ready when its
    own step begins. No batch is taken from the loader before its step: whatever happens, the
    loader is where the run is.
    """
    device = choices.device
    if choices.prefetch and device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return SideCopy(device, stream)
    return lambda batch: batch.to(device)


class SideCopy:
    """Copies batches on a stream of its own.

    Args:
        device: the CUDA device.
        stream: of that device; nothing else runs on it.
    """

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
