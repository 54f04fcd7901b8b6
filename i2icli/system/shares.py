"""Several processes that share the pictures of one measurement, under torch's launcher."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from i2icli.errors import ConfigError

T = TypeVar("T")
_PATIENCE = timedelta(days=1)  # of a process that waits for others; a lost one is noticed at once


@dataclass(frozen=True)
class Shard:
    """One of `count` processes; every item belongs to exactly one.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

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
        """Return when every process has come here."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Shard()


def own_shard() -> Shard:
    """Return which of torchrun's processes this one is; unlike `joined_shards`, it meets no other.

    Raises:
        ConfigError: RANK and WORLD_SIZE do not fit together.
    """
    words = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not all(word.isdecimal() for word in words) or int(words[0]) >= int(words[1]):
        raise ConfigError(
            f"RANK={words[0]} and WORLD_SIZE={words[1]} are no process of several: give a rank "
            "from 0 to below the size."
        )
    return Shard(int(words[0]), int(words[1]))


@contextmanager
def joined_shards() -> Iterator[Shard]:
    """Join the processes that torchrun started; one that was started alone stays alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2 or torch.distributed.is_initialized():
        yield ALONE
        return
    # Only features cross, computed and few, so gloo serves GPUs as well.
    # One process may have to wait for the last pictures of another for long.
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Shard(torch.distributed.get_rank(), count)
    finally:
        torch.distributed.destroy_process_group()


def device_of_rank(name: str) -> str:
    """Return the device of this process: of `auto` and `cuda` its own GPU, where it has one."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    return f"cuda:{int(local) % torch.cuda.device_count()}"
