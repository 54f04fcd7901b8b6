"""Endless training batches that depend on the seed and the step, and on nothing else."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Literal, Self

import torch
from torch.utils.data import DataLoader, Dataset

from i2icli.config.sections import DataConfig
from i2icli.data.batch import AnyBatch
from i2icli.data.training_set import AnySample, TrainingSet
from i2icli.errors import DataError, I2IError
from i2icli.pictures.decode import max_pixels
from i2icli.system.cores import usable_cpus
from i2icli.system.memory import shared_memory_free

log = logging.getLogger(__package__)
# What a loading process that has ended looks like from here: torch notices, or the connection to
# it through which tensors are handed over breaks.
_WORKER_GONE = (RuntimeError, OSError, EOFError)
_MOST_RESTARTS = 3  # of loading processes, without a batch from any
_PATIENCE = 5.0  # seconds of waiting for a batch after which a request to stop is looked for
_AHEAD = 2  # batches that each loading process holds ready
# Bytes of shared memory that suffice for all usual batches, so that none need be measured.
_AMPLE = 4 * 2**30
_MOST_WORKERS = 2  # that are started without being asked for
# Of the time; on two computing cores a step that loads its own pictures was the faster at 0.28.
_LARGE_SHARE = 0.33
_LOOK_BATCHES = 20


def steps_per_epoch(dataset: TrainingSet, batch_size: int) -> int:
    """Return the batches of one epoch; the last incomplete one is dropped.

    Raises:
        DataError: when there are fewer pictures than a batch takes.
    """
    if len(dataset) < batch_size:
        raise DataError(
            f"a batch takes {batch_size} pictures of each domain, but the larger one has "
            f"{len(dataset)}; try `--set data.batch_size={max(1, len(dataset))}`"
        )
    return len(dataset) // batch_size


def build_loader(
    dataset: TrainingSet,
    config: DataConfig,
    *,
    seed: int,
    start_step: int,
    is_decaying: Callable[[int], bool],
    workers: int,
    pin: bool,
    may_add: bool = False,
    part: tuple[int, int] = (0, 1),
) -> BatchStream:
    """Start loading batches, endlessly, from the step after `start_step` on.

    They are the same for any number of `workers`; 0 loads in this process, where `may_add` starts
    processes once loading takes long. `pin` puts them into page-locked memory, for a GPU; `part`
    loads the i-th, counted from 0, of n equal slices of each.
    Each unreadable file is logged once. Close the stream, or use it in a `with`, so that its
    processes end.

    Raises:
        ConfigError: when `I2I_MAX_PIXELS` is no number.
        DataError: when there are fewer pictures than a batch takes; while iterating, when
            pictures cannot be read or do not fit into one batch.
    """
    max_pixels()  # a wrong limit is refused here, not by a worker
    keys = _BatchKeys(dataset, config, seed=seed, is_decaying=is_decaying, part=part)
    return BatchStream(dataset, keys, step=start_step, workers=workers, pin=pin, may_add=may_add)


def choose_workers(asked: int | Literal["auto"], device: torch.device) -> int:
    """Return the number of processes to load pictures by, for steps on a device, to begin with."""
    if asked != "auto":
        return asked
    if device.type != "cpu":
        return _MOST_WORKERS
    # Beside threads that compute on all cores a process gains nothing, and handing over costs.
    own = usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return min(_MOST_WORKERS, max(0, own - torch.get_num_threads()))


class BatchStream(Iterator[AnyBatch]):
    """The batches of a run from some step on.

    Attributes:
        step: steps whose batches have been handed out or were done before.
        is_stopping: whether to give up waiting for loading processes that do not answer.
    """

    def __init__(
        self,
        dataset: TrainingSet,
        keys: _BatchKeys,
        *,
        step: int,
        workers: int,
        pin: bool,
        may_add: bool = False,
    ) -> None:
        self.step = step
        self._dataset = _Guarded(dataset)
        self._keys = keys
        self._workers = workers
        self._pin = pin
        self._share = LoadingShare() if may_add and workers == 0 and usable_cpus() > 1 else None
        self._reported: set[str] = set()
        self.is_stopping: Callable[[], bool] = lambda: False
        self._loaded: Iterator[_Loaded] | None = self._start()

    def __next__(self) -> AnyBatch:
        """Return the batch of the next step.

        Raises:
            DataError: when pictures cannot be read or do not fit into one batch.
            I2IError: when the loading processes end again and again.
            StopIteration: after `close`.
        """
        if self._loaded is None:
            raise StopIteration
        if self._share is not None and self._share.is_large():
            log.debug("a step loaded its own pictures so far; from here on processes do")
            self.close()
            self._workers, self._share = _MOST_WORKERS, None
            self._loaded = self._start()
        with self._share or nullcontext():
            loaded = self._take(self._loaded)
        for sentence in loaded.skipped:
            if sentence not in self._reported:
                self._reported.add(sentence)
                log.warning(f"skipped a training picture: {sentence}")
        if loaded.error is not None:
            raise DataError(loaded.error)
        assert loaded.batch is not None, "a load without error has a batch"
        self.step += 1
        return loaded.batch

    def close(self) -> None:
        """End the loading processes; the stream is finished then."""
        loaded, self._loaded = self._loaded, None
        shut_down = getattr(loaded, "_shutdown_workers", None)
        if shut_down is not None:  # dropping the iterator does the same, but only when collected
            shut_down()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self, loaded: Iterator[_Loaded]) -> _Loaded:
        restarts = 0
        while True:
            try:
                return next(loaded)
            except _WORKER_GONE as error:
                if self._workers == 0:
                    raise
                if _is_slow(error) and not self.is_stopping():
                    continue
                if self.is_stopping():
                    raise
                deaths = _deaths(loaded)
                if restarts == _MOST_RESTARTS:
                    raise I2IError(_farewell(error, deaths)) from error
            # Also a signal to the whole group ends them, while this process still has to finish its
            # step and save.
            restarts += 1
            log.log(
                logging.WARNING if deaths else logging.DEBUG,
                "processes that load pictures were killed%s: started again",
                deaths,
            )
            self.close()
            self._loaded = loaded = self._start()

    def _start(self) -> Iterator[_Loaded]:
        if self._workers and not self._has_room():
            self._workers = 0
        # Torch has the death of a loading process raise an error wherever this process is.
        is_main = threading.current_thread() is threading.main_thread()
        number = getattr(signal, "SIGCHLD", None) if is_main else None  # Windows has none
        handler = signal.getsignal(number) if number is not None else None
        try:
            return self._iterate()
        finally:
            if number is not None and handler is not None:
                signal.signal(number, handler)

    def _has_room(self) -> bool:
        """Return whether the shared memory, through which batches come, holds what lies ready."""
        free = shared_memory_free()
        if free is None or free > _AMPLE:
            return True
        keys = next(self._keys.from_step(self.step))
        batch = self._dataset.collate([self._dataset[key] for key in keys]).batch
        needed = (_AHEAD * self._workers + 2) * (batch.bytes if batch is not None else 0)
        if needed > free:
            log.warning(
                f"pictures are loaded in the step's own process: {self._workers} processes would "
                f"need {needed / 2**20:.0f} MiB of shared memory, and {free / 2**20:.0f} MiB are "
                "free (in Docker: --shm-size)"
            )
        return needed <= free

    def _iterate(self) -> Iterator[_Loaded]:
        with warnings.catch_warnings():
            # Python warns of forking beside threads; the workers use nothing a thread may hold.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*fork")
            # More workers than cores are the user's choice; they cost little.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            loader: DataLoader[AnySample | str] = DataLoader(
                self._dataset,
                batch_sampler=self._keys.from_step(self.step),
                num_workers=self._workers,
                collate_fn=self._dataset.collate,
                pin_memory=self._pin,
                prefetch_factor=_AHEAD if self._workers else None,
                timeout=_PATIENCE if self._workers else 0,
                worker_init_fn=_prepare_worker if self._workers else None,
                # Its own generator: starting an iterator draws a number, and the global one must
                # not move.
                generator=torch.Generator().manual_seed(0),
            )
            return iter(loader)


class LoadingShare:
    """The share of the time that loading takes; each batch is loaded inside the context."""

    def __init__(self) -> None:
        self._entered = 0.0
        self._begin()

    def _begin(self) -> None:
        self._started = time.perf_counter()
        self._seconds, self._batches = 0.0, 0

    def __enter__(self) -> None:
        self._entered = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self._seconds += time.perf_counter() - self._entered
        self._batches += 1

    def is_large(self) -> bool:
        """Say, after some batches each, whether loading these took much of the time."""
        if self._batches < _LOOK_BATCHES:
            return False
        share = self._seconds / (time.perf_counter() - self._started)
        self._begin()
        return share > _LARGE_SHARE


@dataclass(frozen=True)
class _Loaded:
    # Errors travel as text, not as a worker's traceback.
    batch: AnyBatch | None = None
    error: str | None = None
    skipped: tuple[str, ...] = ()

    def pin_memory(self) -> _Loaded:
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


class _Guarded(Dataset[AnySample | str]):
    def __init__(self, dataset: TrainingSet) -> None:
        self._dataset = dataset

    def __getitem__(self, key: Any) -> AnySample | str:
        try:
            return self._dataset[key]
        except DataError as error:
            return str(error)

    def collate(self, samples: Sequence[AnySample | str]) -> _Loaded:
        good = [sample for sample in samples if not isinstance(sample, str)]
        skipped = tuple(sentence for sample in good for sentence in sample.skipped)
        for sample in samples:
            if isinstance(sample, str):
                return _Loaded(error=sample, skipped=skipped)
        try:
            return _Loaded(batch=self._dataset.collate(good), skipped=skipped)
        except DataError as error:
            return _Loaded(error=str(error), skipped=skipped)


class _BatchKeys:
    def __init__(
        self,
        dataset: TrainingSet,
        config: DataConfig,
        *,
        seed: int,
        is_decaying: Callable[[int], bool],
        part: tuple[int, int],
    ) -> None:
        self._dataset = dataset
        self._batch_size = config.batch_size
        number, parts = part
        share = config.batch_size // parts
        self._slice = slice(number * share, (number + 1) * share)
        self._jitters_in_decay = config.jitter_in_decay
        self._seed = seed
        self._is_decaying = is_decaying
        self._steps = steps_per_epoch(dataset, config.batch_size)

    def from_step(self, step: int) -> Iterator[list[Any]]:
        while True:
            epoch, first = step // self._steps + 1, step % self._steps
            jitter = self._jitters_in_decay or not self._is_decaying(epoch)
            keys = self._dataset.epoch_keys(
                seed=self._seed, epoch=epoch, jitter=jitter, start=first * self._batch_size
            )
            for _ in range(first, self._steps):
                # Keys are those of the whole batch, so that every process counts alike.
                yield [next(keys) for _ in range(self._batch_size)][self._slice]
                step += 1


def _prepare_worker(_index: int) -> None:
    # Signals are left to the main process: it finishes its step and ends the workers itself.
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def _end_with_parent() -> None:
    # torch watches the process above this one, which under `forkserver` is the server.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # Quietly: torch raises an error in the main process for a worker killed by a signal.
    os._exit(0)


def _is_slow(error: BaseException) -> bool:
    # Torch has no other sign of it.
    return isinstance(error, RuntimeError) and "timed out" in str(error)


def _deaths(loaded: Iterator[_Loaded]) -> str:
    """Return the signals that loading processes died of, in brackets; empty: none did."""
    codes = set[int | None]()
    for worker in getattr(loaded, "_workers", ()):
        worker.join(0.2)  # a connection breaks a little before the system tells of the end
        codes.add(worker.exitcode)
    names = [signal.Signals(-code).name for code in sorted(filter(None, codes)) if code < 0]
    return f" ({', '.join(names)})" if names else ""


def _farewell(error: Exception, deaths: str) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"the processes that load pictures ended {_MOST_RESTARTS + 1} times in a row"
        f"{deaths or f' ({first})'}, perhaps for want of memory; "
        "`--set runtime.workers=0` begins a run without any"
    )
