"""Processes that train one run together; by default there is one, and nothing is exchanged.

Each holds the whole method and a slice of every batch. Tensors of the CPU travel by gloo, those of
a GPU by NCCL.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from i2icli.errors import ConfigError, LostContactError

R = TypeVar("R")

# Seconds without an answer after which a process counts as lost.
PATIENCE = 60
_BEAT = 5  # seconds between the signs of life of a rank that works alone
_SILENCE = 40  # seconds without one after which it counts as lost
_ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks:
    """The processes of a run, seen from one of them.

    Every method that exchanges something must be called by all of them, in the same order; with a
    single process each returns at once what it was given.

    Attributes:
        rank: this process, counted from 0; 0 is the one that writes and speaks.
        world: how many there are.
        local_rank: this process among those of its machine.
        advice: what to type when contact is lost, appended to that error.

    Raises:
        LostContactError: by whatever exchanges, if another process ended or does not answer.
    """

    def __init__(
        self, rank: int = 0, world: int = 1, *, local_rank: int = 0, store: Any = None
    ) -> None:
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self.advice = ""
        self._store = store
        self._turns = 0
        self._speaks: bool | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes, measures and speaks."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in order of rank; gradient flows back to each.

        Args:
            rows: (N, ...), the same shape everywhere.

        Returns:
            (world * N, ...).
        """
        if self.world == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self)
        return gathered

    def add_up(self, values: Tensor) -> Tensor:
        """Return the sum over processes of tensors of one shape; gradient flows back to each."""
        if self.world == 1:
            return values
        summed: Tensor = _Sum.apply(values, self)
        return summed

    def average_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over processes, in one exchange of one flat buffer.

        A weight that a process did not reach counts as zero there; one that none reached keeps no
        gradient. The buffer ends with one flag a weight, by which they agree on that.
        """
        if self.world == 1 or not weights:
            return
        reached = [weight.grad is not None for weight in weights]
        parts = [
            (torch.zeros_like(weight) if weight.grad is None else weight.grad).reshape(-1)
            for weight in weights
        ]
        flags = parts[0].new_ones(len(weights))
        if not all(reached):
            flags = torch.tensor(reached).to(parts[0], non_blocking=True)
        flat = torch.cat([*parts, flags])
        self._all_reduce(flat)
        flat /= self.world
        # Only a process that missed some has to read the flags, and so wait for the device.
        if not all(reached):
            reached = [share > 0 for share in flat[-len(weights) :].tolist()]
        means = torch.split(flat[: -len(weights)], [weight.numel() for weight in weights])
        for weight, mean, is_reached in zip(weights, means, reached, strict=True):
            weight.grad = mean.view_as(weight) if is_reached else None

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the means over processes of numbers under the same names."""
        if self.world == 1 or not values:
            return dict(values)
        summed = torch.tensor(list(values.values()), dtype=torch.float64)
        self._all_reduce(summed)
        return dict(zip(values, (summed / self.world).tolist(), strict=True))

    def any(self, *flags: bool) -> list[bool]:
        """Return of each flag whether any process raises it, in one exchange."""
        if self.world == 1:
            return list(flags)
        summed = torch.tensor(flags, dtype=torch.int64)
        self._all_reduce(summed)
        return [count > 0 for count in summed.tolist()]

    def collect(self, value: R) -> list[R]:
        """Return the values of all processes, in order of rank; plain types and CPU tensors."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        with self._in_contact():
            dist.all_gather_object(values, value)
        return values

    def collect_on_main(self, value: R) -> list[R]:
        """Return the same on rank 0, and nothing elsewhere."""
        if self.world == 1:
            return [value]
        values: list[Any] | None = [None] * self.world if self.is_main else None
        with self._in_contact():
            dist.gather_object(value, values)
        return values or []

    def alone(self, work: Callable[[], R]) -> R:
        """Let rank 0 work however long it takes; all return its result, of plain types."""
        if self.world == 1:
            return work()
        self._turns += 1
        result: list[Any] = [None]
        if self.is_main:
            with self._showing_life(f"alone/{self._turns}"):
                result = [work()]
        else:
            self._await(f"alone/{self._turns}")
        with self._in_contact():
            dist.broadcast_object_list(result)
        return result[0]  # type: ignore[no-any-return]

    def claims_to_speak(self) -> bool:
        """Say whether this process is the first to fail, and so the one that says why."""
        if self._store is None:
            return True
        if self._speaks is None:
            try:
                self._speaks = self._store.add("failed", 1) == 1
            except RuntimeError:  # whoever kept the store is gone
                self._speaks = self.rank <= 1
        return self._speaks

    def _all_reduce(self, values: Tensor) -> None:
        with self._in_contact():
            dist.all_reduce(values)

    @contextmanager
    def _in_contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as fault:
            raise self._lost(str(fault).splitlines()[0]) from fault

    def _lost(self, how: str) -> LostContactError:
        return LostContactError(
            f"another of the {self.world} processes of this run ended, or did not answer for "
            f"{PATIENCE} s ({how}). Nothing was saved since the last checkpoint, which is whole. "
            f"{self.advice}".rstrip()
        )

    @contextmanager
    def _showing_life(self, key: str) -> Iterator[None]:
        store = self._store
        assert store is not None, "processes that share a run have a store"
        ended, outcome = threading.Event(), "failed"

        def beat() -> None:
            while not ended.wait(_BEAT):
                store.add("beats", 1)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
            outcome = "done"
        except BaseException:
            self.claims_to_speak()  # before the others can know, who only lose contact
            raise
        finally:
            ended.set()
            thread.join()
            store.set(key, outcome)

    def _await(self, key: str) -> None:
        store = self._store
        assert store is not None, "processes that share a run have a store"
        beats, heard, pause = -1, time.monotonic(), 0.001
        with self._in_contact():
            while not store.check([key]):
                if (now := store.add("beats", 0)) != beats:
                    beats, heard = now, time.monotonic()
                elif time.monotonic() - heard > _SILENCE:
                    raise self._lost("rank 0 gives no sign of life")
                time.sleep(pause)
                pause = min(2 * pause, 0.5)
            if store.get(key) != b"done":
                raise self._lost("rank 0 failed")


ALONE = Ranks()
_current = ALONE


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        parts = [torch.empty_like(rows) for _ in range(ranks.world)]
        with ranks._in_contact():
            dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        ctx.ranks._all_reduce(summed)
        return summed.chunk(ctx.ranks.world)[ctx.ranks.rank], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        summed = values.clone(memory_format=torch.contiguous_format)
        ranks._all_reduce(summed)
        return summed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        ctx.ranks._all_reduce(summed)
        return summed, None


def is_one_of_many() -> bool:
    """Say whether `torchrun` or `--nproc` started this process as one of several."""
    return all(name in os.environ for name in _ENVIRONMENT) and int(os.environ["WORLD_SIZE"]) > 1


def restart_count() -> int:
    """Return the number of times that `torchrun` has started this run's processes anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def current_ranks() -> Ranks:
    """Return the processes that `joined_ranks` joined last; a single one before."""
    return _current


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Find the other processes, as the environment tells; leave them at the end.

    Raises:
        ConfigError: if they cannot be reached.
    """
    global _current  # noqa: PLW0603 - one process is in one group
    if not is_one_of_many():
        yield ALONE
        return
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        store = _open_store(rank)
        has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
        if has_nccl:
            torch.cuda.set_device(local_rank % torch.cuda.device_count())
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_nccl else "gloo",
            store=dist.PrefixStore("group", store),  # type: ignore[attr-defined]
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=PATIENCE),
        )
    except RuntimeError as fault:
        raise ConfigError(
            f"process {rank} of {world} does not reach the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} "
            f"({str(fault).splitlines()[0]}): check that address, and that all were started."
        ) from None
    _current = Ranks(rank, world, local_rank=local_rank, store=store)
    try:
        yield _current
    except LostContactError:
        raise
    except BaseException:
        _current.claims_to_speak()  # before the others can know, who only lose contact
        raise
    finally:
        dist.destroy_process_group()


def _open_store(rank: int) -> Any:
    # Numbers and words that all processes share; each restart has its own.
    has_keeper = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=rank == 0 and not has_keeper,
        timeout=timedelta(seconds=PATIENCE),
        wait_for_workers=False,
    )
    return dist.PrefixStore(f"i2i/{restart_count()}", store)  # type: ignore[attr-defined]
