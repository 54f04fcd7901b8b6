"""Many picture files through a translator, each to files of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import I2IError
from i2icli.methods.shared.base import Translation
from i2icli.pictures.encode import write_labels
from i2icli.pictures.images import Picture, read_picture, write_picture
from i2icli.system.processes.work_queue import Emit, Executor, InProcess, cut, in_order
from i2icli.translation.pictures import (
    check_direction,
    mask_pixels,
    source_channels,
    to_translated_picture,
)
from i2icli.translation.pipeline import FolderOptions, Pipeline, raise_if_hopeless, words_of
from i2icli.translation.targets import Job
from i2icli.translation.translator import Translator

__all__ = ["Failure", "FolderOptions", "FolderReport", "translate_jobs"]

_MOST = 32  # pictures that a process takes at once


@dataclass(frozen=True)
class Failure:
    """A picture without an output, and why."""

    path: Path
    error: str


@dataclass(frozen=True)
class FolderReport:
    """The fate of the pictures of a run over many files."""

    found: int  # pictures there were; the sum of the three below
    written: tuple[Job, ...]  # jobs all of whose outputs were written, in order
    skipped: int  # pictures all of whose outputs were there already
    failures: tuple[Failure, ...]  # pictures that could not be read or written, in order
    seconds: float  # time from the first read to the last write

    @property
    def images_per_s(self) -> float:
        """Pictures written a second."""
        return len(self.written) / self.seconds if self.seconds > 0 else 0.0


def translate_jobs(
    translator: Translator,
    jobs: Sequence[Job],
    options: FolderOptions | None = None,
    *,
    on_done: Callable[[Job, str | None], None] = lambda _job, _error: None,
    executor: Executor | None = None,
) -> FolderReport:
    """Translate every job's source into its target; a picture that fails stops no other.

    Args:
        translator: what translates.
        jobs: what to read and to write, of one plan, see `targets.plan_outputs`.
        options: how; None: the defaults.
        on_done: called for each job when it is over, with what failed or None.
        executor: does the work; None: this process.

    Raises:
        ConfigError: if the translator does not offer the direction.
        I2IError: if the disk is full, or memory does not suffice for one picture.
    """
    started = time.perf_counter()
    options, executor = options or FolderOptions(), executor or InProcess()
    check_direction(translator.method, options.direction)
    pieces = cut(jobs, executor.count, most=_MOST, multiple=options.batch_size or 1)

    work = FolderWork(translator, options)
    parts = list(in_order(executor.run(work, pieces, lambda event: on_done(*event))))
    return FolderReport(
        found=sum(part.found for part in parts),
        written=tuple(job for part in parts for job in part.written),
        skipped=sum(part.skipped for part in parts),
        failures=tuple(failure for part in parts for failure in part.failures),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True)
class FolderWork:
    """Translates jobs, some at a time; each that is over is an event."""

    translator: Translator
    options: FolderOptions

    def setup(self) -> Callable[[Sequence[Job], Emit], FolderReport]:
        """Return what translates jobs."""
        return self._translate

    def describe(self, piece: Sequence[Job]) -> str:
        """Return the names of the first and the last picture."""
        more = f" to {piece[-1].source}, {len(piece)} pictures" if len(piece) > 1 else ""
        return f"{piece[0].source}{more}"

    def _translate(self, jobs: Sequence[Job], emit: Emit) -> FolderReport:
        run = _FolderRun(self.translator, self.options, lambda job, error: emit((job, error)))
        return run.run(jobs)


class _FolderRun:
    # All but reading and writing happens in the calling thread.
    def __init__(
        self,
        translator: Translator,
        options: FolderOptions,
        on_done: Callable[[Job, str | None], None],
    ) -> None:
        self._method = translator.method
        self._options = options
        self._on_done = on_done
        self._channels = source_channels(translator.method, options.direction)
        self._pipeline = Pipeline(translator, options, self)
        self._to_write: dict[Job, int] = {}  # outputs that are not there yet
        self._written: list[Job] = []
        self._errors: dict[Job, str] = {}

    def run(self, jobs: Sequence[Job]) -> FolderReport:
        started = time.perf_counter()
        due = [job for job in jobs if not self._is_skipped(job)]
        self._pipeline.run(due)
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
        is_there = self._options.skip_existing and job.is_there()
        if is_there:
            self._on_done(job, None)
        return is_there

    def outputs(self, item: Job) -> int:
        return len(item.targets)

    def read(self, item: Job) -> Picture:
        return read_picture(item.source, channels=self._channels)

    def write(self, item: Job, picture: Picture, style: int, translation: Translation) -> None:
        made = to_translated_picture(translation, picture)
        target, is_marked = item.targets[style], self._options.is_marked
        if made.labels is None:
            alpha, quality = picture.alpha, self._options.quality
            write_picture(target, made.pixels, alpha=alpha, quality=quality, is_marked=is_marked)
        else:
            write_labels(target, made.labels, self._method.task.colours, is_marked=is_marked)
        if item.masks:
            for name, path in zip(self._method.mask_names, item.masks[style], strict=True):
                write_picture(path, mask_pixels(made.masks[name]), is_marked=is_marked)

    def written(self, item: Job, result: None) -> None:  # noqa: ARG002 - the files are the result
        left = self._to_write.pop(item, len(item.targets)) - 1
        if left:
            self._to_write[item] = left
        else:
            self._written.append(item)
            self._on_done(item, None)

    def failed(self, item: Job, fault: I2IError | OSError) -> None:
        raise_if_hopeless(fault, item.target)
        if item in self._errors:
            return  # another output of the same picture
        self._errors[item] = words_of(fault)
        self._on_done(item, self._errors[item])
