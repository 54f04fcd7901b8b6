"""Processes that share pictures by their numbers: those that torchrun started, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from i2icli.errors import ConfigError
from i2icli.system.processes.child import end_with_parent
from i2icli.system.processes.work_queue import Executor, InProcess, executor
from i2icli.system.ranks import is_one_of_many
from i2icli.system.threads import threads_each

T = TypeVar("T")
_PATIENCE = timedelta(days=1)  # of a process that waits for others; a lost one is noticed at once


@dataclass(frozen=True)
class Process:
    """One of `count` processes; every item belongs to exactly one.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        is_joined: they reach each other; else they meet in what they write alone.
        executor: does this process' share, here or in processes of its own.
    """

    rank: int = 0
    count: int = 1
    is_joined: bool = False
    executor: Executor = field(default_factory=InProcess)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of this process, in order."""
        return items[self.rank :: self.count]

    def gather(self, rows: NDArray[np.float32], total: int) -> NDArray[np.float32]:
        """Return the rows of all processes in the order of the items, the same in each.

        Args:
            rows: one row an item of this process' share, (n, D).
            total: items of all processes.
        """
        if self.count == 1:
            return rows
        height = -(-total // self.count)
        padded = torch.zeros(height, rows.shape[1])
        padded[: len(rows)] = torch.from_numpy(rows)
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        torch.distributed.all_gather(parts, padded)
        # Item i is row i // count of process i % count.
        woven: NDArray[np.float32] = torch.stack(parts, dim=1).flatten(0, 1)[:total].numpy()
        return woven

    def agree(self, value: T) -> T:
        """Return the value of the first process in each."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes by rank, in each."""
        if self.count == 1:
            return [value]
        found: list[T] = [value] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Return when every process has come here; at once where they do not reach each other."""
        if self.is_joined:
            torch.distributed.barrier()


ALONE = Process()


@contextmanager
def joined_processes(count: int = 1) -> Iterator[Process]:
    """Yield this process, which has joined those that torchrun started with it.

    One that was told only RANK and WORLD_SIZE takes its share and joins no other.

    Args:
        count: processes of its own that do its share; 1: it does so itself.

    Raises:
        ConfigError: RANK and WORLD_SIZE do not fit together, or it is one of several already and
            shall have processes of its own.
    """
    with executor(count) as own, _joined(own) as process:
        yield process


@contextmanager
def _joined(executor: Executor) -> Iterator[Process]:
    words = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not all(word.isdecimal() for word in words) or int(words[0]) >= int(words[1]):
        raise ConfigError(
            f"RANK={words[0]} and WORLD_SIZE={words[1]} are no process of several: give a rank "
            "from 0 to below the size."
        )
    rank, count = int(words[0]), int(words[1])
    if executor.count > 1:
        # What is computed here is then the same to the bit as what its processes compute.
        torch.set_num_threads(threads_each(executor.count))
    if count == 1 or torch.distributed.is_initialized():
        yield Process(executor=executor)
        return
    if not is_one_of_many():
        yield Process(rank, count, executor=executor)
        return
    end_with_parent()
    # Only features and counts cross, computed and few, so gloo serves GPUs as well.
    # One process may have to wait for the last pictures of another for long.
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Process(rank, count, is_joined=True, executor=executor)
    finally:
        torch.distributed.destroy_process_group()


def device_of_rank(name: str) -> str:
    """Return the device of this process: of `auto` and `cuda` its own GPU, where it has one."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    return f"cuda:{int(local) % torch.cuda.device_count()}"
