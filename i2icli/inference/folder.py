"""Many picture files through a translator: reading and writing overlap with computing."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from i2icli.data.encode import write_labels
from i2icli.data.images import Picture, read_picture, write_picture
from i2icli.errors import I2IError
from i2icli.inference.forward import BatchRunner
from i2icli.inference.pictures import (
    batch_key,
    mask_pixels,
    source_channels,
    to_translated_picture,
)
from i2icli.inference.targets import Job
from i2icli.inference.translator import Translator
from i2icli.methods.base import Translation

_THREADS = min(8, os.cpu_count() or 1)  # for reading, and as many for writing
_AHEAD_PIXELS = 64_000_000  # read ahead or waiting to be written, about 200 MB each
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no later file would fare better


@dataclass(frozen=True)
class Failure:
    """A picture without an output, and why."""

    path: Path
    error: str


@dataclass(frozen=True)
class FolderReport:
    """What became of the pictures.

    Attributes:
        found: pictures there were; the sum of the three below.
        written: jobs all of whose outputs were written, in order.
        skipped: pictures all of whose outputs were there already.
        failures: pictures that could not be read or written, in order.
        seconds: time from the first read to the last write.
    """

    found: int
    written: tuple[Job, ...]
    skipped: int
    failures: tuple[Failure, ...]
    seconds: float

    @property
    def images_per_s(self) -> float:
        """Pictures written a second."""
        return len(self.written) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class FolderOptions:
    """How pictures are translated and written.

    Attributes:
        direction: one of the translator's.
        batch_size: pictures of one size that are translated together; None: as memory allows.
        quality: of lossy formats, 1 to 100.
        skip_existing: leave a picture whose outputs are all there.
        styles_of: returns the style codes of a job's targets, (N, style_size); None: the method's
            default style, if it has styles.
    """

    direction: str = "a2b"
    batch_size: int | None = None
    quality: int = 95
    skip_existing: bool = False
    styles_of: Callable[[Job], Tensor] | None = None


def translate_jobs(
    translator: Translator,
    jobs: Sequence[Job],
    options: FolderOptions | None = None,
    *,
    on_done: Callable[[Job, str | None], None] = lambda _job, _error: None,
    warn: Callable[[str], None] = lambda _message: None,
) -> FolderReport:
    """Translate every job's source into its target; a picture that fails stops no other.

    Args:
        translator: what translates.
        jobs: what to read and to write, of one plan, see `targets.plan_outputs`.
        options: how; None: the defaults.
        on_done: called for each job when it is over, with what failed or None.
        warn: called with a sentence when a batch had to be made smaller.

    Raises:
        ConfigError: if the translator does not offer the direction.
        I2IError: if the disk is full, or memory does not suffice for one picture.
    """
    return _FolderRun(translator, options or FolderOptions(), on_done, warn).run(jobs)


@dataclass(frozen=True)
class _Read:
    job: Job
    picture: Picture

    @property
    def pixels(self) -> int:
        width, height = self.picture.size
        return width * height


class _FolderRun:
    """One run over many files; all but reading and writing happens in the calling thread."""

    def __init__(
        self,
        translator: Translator,
        options: FolderOptions,
        on_done: Callable[[Job, str | None], None],
        warn: Callable[[str], None],
    ) -> None:
        self._method = translator.method
        self._options = options
        self._on_done = on_done
        self._runner = BatchRunner(
            translator.method,
            options.direction,
            precision=translator.precision,
            batch_size=options.batch_size,
            warn=warn,
        )
        self._channels = source_channels(translator.method, options.direction)
        self._buckets: dict[tuple[int, int, int], list[_Read]] = {}
        self._writes: deque[tuple[_Read, Future[None]]] = deque()
        self._to_write: dict[Job, int] = {}  # outputs that are not there yet
        self._written: list[Job] = []
        self._errors: dict[Job, str] = {}

    def run(self, jobs: Sequence[Job]) -> FolderReport:
        started = time.perf_counter()
        due = [job for job in jobs if not self._is_skipped(job)]
        self._readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="read")
        self._writers = ThreadPoolExecutor(_THREADS, thread_name_prefix="write")
        try:
            for read in self._read_in_order(due):
                self._collect(read)
            for key in list(self._buckets):
                self._flush(key)
            self._settle(leave=0)
        finally:
            # After a fault or Ctrl-C: what is being written is finished, the rest dropped.
            self._readers.shutdown(cancel_futures=True)
            self._writers.shutdown(cancel_futures=True)
        written = set(self._written)
        return FolderReport(
            found=len(jobs),
            written=tuple(job for job in jobs if job in written),
            skipped=len(jobs) - len(due),
            failures=tuple(
                Failure(job.source, self._errors[job]) for job in due if job in self._errors
            ),
            seconds=time.perf_counter() - started,
        )

    def _is_skipped(self, job: Job) -> bool:
        is_there = self._options.skip_existing and all(path.is_file() for path in job.files)
        if is_there:
            self._on_done(job, None)
        return is_there

    def _read_in_order(self, jobs: Sequence[Job]) -> Iterator[_Read]:
        """Yield what can be read, a bounded number of pixels ahead of its use."""
        waiting = iter(jobs)
        ahead: deque[tuple[Job, Future[_Read]]] = deque()
        largest = 1
        while True:
            room = max(2, min(4 * _THREADS, _AHEAD_PIXELS // largest)) - len(ahead)
            for job in islice(waiting, max(0, room)):
                ahead.append((job, self._readers.submit(self._read, job)))
            if not ahead:
                return
            job, future = ahead.popleft()
            try:
                read = future.result()
            except (I2IError, OSError) as fault:
                self._fail(job, fault)
                continue
            largest = max(largest, read.pixels)
            yield read

    def _read(self, job: Job) -> _Read:
        return _Read(job, read_picture(job.source, channels=self._channels))

    def _collect(self, read: _Read) -> None:
        """Put a picture to others of its size, and translate those that are enough."""
        key = batch_key(self._method, read.picture)
        bucket = self._buckets.setdefault(key, [])
        bucket.append(read)
        if len(bucket) >= self._runner.capacity(key):
            self._flush(key)
        waiting = [item for items in self._buckets.values() for item in items]
        if sum(item.pixels for item in waiting) > _AHEAD_PIXELS or len(waiting) > 64:
            self._flush(max(self._buckets, key=lambda k: len(self._buckets[k])))

    def _flush(self, key: tuple[int, int, int]) -> None:
        """Translate a bucket, in one style after the other."""
        reads = self._buckets.pop(key)
        pixels = max(read.pixels for read in reads)
        for place in range(len(reads[0].job.targets)):
            styles = self._styles(reads, place)
            made = self._runner.translate([read.picture for read in reads], styles)
            for read, translation in zip(reads, made, strict=True):
                future = self._writers.submit(self._write, read, place, translation)
                self._writes.append((read, future))
            self._settle(leave=max(2, min(4 * _THREADS, _AHEAD_PIXELS // pixels)))

    def _styles(self, reads: Sequence[_Read], place: int) -> Tensor | None:
        styles_of = self._options.styles_of
        if styles_of is None:
            return None
        return torch.stack([styles_of(read.job)[place] for read in reads])

    def _write(self, read: _Read, place: int, translation: Translation) -> None:
        made = to_translated_picture(translation, read.picture)
        target = read.job.targets[place]
        if made.labels is None:
            alpha, quality = read.picture.alpha, self._options.quality
            write_picture(target, made.pixels, alpha=alpha, quality=quality)
        else:
            write_labels(target, made.labels, self._method.task.colours)
        if read.job.masks:
            for name, path in zip(self._method.mask_names, read.job.masks[place], strict=True):
                write_picture(path, mask_pixels(made.masks[name]))

    def _settle(self, *, leave: int) -> None:
        """Take note of finished writes; wait until at most `leave` are not."""
        while self._writes and (len(self._writes) > leave or self._writes[0][1].done()):
            read, future = self._writes.popleft()
            try:
                future.result()
            except (I2IError, OSError) as fault:
                self._fail(read.job, fault)
            else:
                self._note_written(read.job)

    def _note_written(self, job: Job) -> None:
        left = self._to_write.pop(job, len(job.targets)) - 1
        if left:
            self._to_write[job] = left
        else:
            self._written.append(job)
            self._on_done(job, None)

    def _fail(self, job: Job, fault: I2IError | OSError) -> None:
        cause = fault if isinstance(fault, OSError) else fault.__cause__ or fault.__context__
        if isinstance(cause, OSError) and cause.errno in _HOPELESS:
            raise I2IError(
                f"{job.target} was not written: {cause.strerror}. Make room, then run the same "
                "command with --skip-existing."
            ) from None
        if job in self._errors:
            return  # another output of the same picture
        error = f"{fault.strerror or fault}" if isinstance(fault, OSError) else str(fault)
        self._errors[job] = error
        self._on_done(job, error)
