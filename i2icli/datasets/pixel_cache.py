"""Makes the cache that `pixel_cache` reads: every training picture decoded and resized once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_domains
from i2icli.data.kept_pictures import channels_of, crop_plans, training_folder
from i2icli.data.pixel_cache import (
    ABOUT,
    COLUMNS,
    INDEX,
    PIXELS,
    FirstStep,
    PixelCache,
    UnusableCacheError,
)
from i2icli.data.transforms import CropPlan, resize_first
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.pictures.images import Pixels, read_picture
from i2icli.system.cores import usable_cores
from i2icli.system.files import NO_ROOM, whole_folder
from i2icli.system.processes.work_queue import Emit, Executor, InProcess, in_order

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Built:
    """What one cache holds.

    Attributes:
        folder: where it lies.
        step: what was done to the pictures, in words.
        pictures: kept.
        bytes: of pixels.
        failed: pictures that could not be read, with the reason; training skips them, too.
        was_there: it was there already, and up to date.
    """

    folder: Path
    step: str
    pictures: int
    bytes: int
    failed: tuple[str, ...] = ()
    was_there: bool = False


def build_caches(
    config: DataConfig, *, progress: Progress | None = None, executor: Executor | None = None
) -> list[Built]:
    """Keep the training pictures of `data.root` as this configuration first resizes them.

    A configuration whose crops end their jitter in the decay half has two ways of resizing, and
    gets a cache of each. Caches of other settings that are there stay.

    Args:
        config: names the root, and how pictures are resized.
        progress: called with pictures done and of how many.
        executor: decodes and resizes; None: this process, in a thread a core.

    Raises:
        ConfigError: without a root, or if pictures are resized at random.
        DataError: for missing pictures.
        I2IError: if the cache cannot be written, for example on a full disk.
    """
    if config.root is None:
        raise ConfigError("a cache lies in the folder that holds trainA and trainB: name that one.")
    domains = find_domains(config)
    assert domains.root is not None, "the configuration has one"
    jobs = []
    for side, files in (("a", domains.train_a), ("b", domains.train_b)):
        steps = {FirstStep.of(plan, channels_of(side, config)): plan for plan in crop_plans(config)}
        for step, plan in steps.items():
            if step is None:
                raise ConfigError(
                    f'data.preprocess is "{config.preprocess}", which draws the size of every '
                    "crop anew: there is nothing that a cache could keep."
                )
            folder = domains.root / training_folder(side, config)
            jobs.append(_Job(folder, files, plan, step))
    total, before, built = sum(len(job.files) for job in jobs), 0, []
    for job in jobs:
        # The pictures of one cache are counted behind those of others.
        report = partial(_report, progress, before, total)
        built.append(_build(job, report, executor or InProcess()))
        before += len(job.files)
    return built


def _report(progress: Progress | None, before: int, total: int, done: int) -> None:
    if progress is not None:
        progress(before + done, total)


@dataclass(frozen=True)
class _Job:
    pictures: Path
    files: Sequence[Path]
    plan: CropPlan
    step: FirstStep


@dataclass(frozen=True)
class _Entry:
    pixels: Pixels | None
    row: dict[str, int]
    error: str = ""


def _build(job: _Job, report: Callable[[int], None], executor: Executor) -> Built:
    folder = job.step.folder(job.pictures)
    files = [str(path) for path in job.files]
    if current := _current(folder, files, job):
        return current
    with _writing(folder) as fresh:
        failed, rows, position = [], [], 0
        with (fresh / PIXELS).open("wb") as out:
            for number, entry in enumerate(_entries(job, executor), start=1):
                row = {**entry.row, "start": -1}
                if entry.pixels is None:
                    failed.append(entry.error)
                else:
                    row["start"] = position
                    position += out.write(entry.pixels.data)
                rows.append(row)
                report(number)
        names = "\0".join(path.relative_to(job.pictures).as_posix() for path in job.files)
        columns: dict[str, Any] = {
            name: np.array([row[name] for row in rows], np.int64) for name in COLUMNS
        }
        raw = np.frombuffer(names.encode("utf-8", "surrogateescape"), np.uint8)
        np.savez(fresh / INDEX, names=raw, **columns)
        about = {"step": job.step.facts(), "bytes": position, "pictures": len(rows)}
        (fresh / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Built(folder, str(job.step), len(rows) - len(failed), position, tuple(failed))


def _current(folder: Path, files: list[str], job: _Job) -> Built | None:
    try:
        cache = PixelCache(folder, files, job.pictures, job.step)
    except UnusableCacheError:
        return None
    if cache.missing() or cache.changed(files, len(files))[0]:
        return None
    size = (folder / PIXELS).stat().st_size
    return Built(folder, str(job.step), cache.kept(), size, was_there=True)


def _entries(job: _Job, executor: Executor) -> Iterator[_Entry]:
    threads = max(1, usable_cores() // executor.count)
    group = 8 * threads
    pieces = [job.files[first : first + group] for first in range(0, len(job.files), group)]
    # The files are in the pieces.
    work = _Entering(replace(job, files=()), threads)
    for entries in in_order(executor.run(work, pieces)):
        yield from entries


@dataclass(frozen=True)
class _Entering:
    job: _Job
    threads: int

    def setup(self) -> Callable[[Sequence[Path], Emit], list[_Entry]]:
        def enter(files: Sequence[Path], _emit: Emit) -> list[_Entry]:
            with ThreadPoolExecutor(self.threads) as pool:
                return list(pool.map(lambda path: _enter(path, self.job), files))

        return enter

    def describe(self, piece: Sequence[Path]) -> str:
        return f"{piece[0]} to {piece[-1]}"


def _enter(path: Path, job: _Job) -> _Entry:
    row = dict.fromkeys(COLUMNS, 0)
    try:
        # Before the pixels: a change in between then shows.
        status = path.stat()
        row |= {"bytes": status.st_size, "time_ns": status.st_mtime_ns}
        row["changed_ns"] = status.st_ctime_ns
        picture = read_picture(path, channels=job.step.channels)
    except (DataError, OSError) as error:
        return _Entry(None, row, str(error))
    pixels = np.ascontiguousarray(resize_first(picture.pixels, job.plan))
    row |= {"height": pixels.shape[0], "width": pixels.shape[1], "crc": zlib.crc32(pixels.data)}
    row |= {"source_width": picture.size[0], "source_height": picture.size[1]}
    return _Entry(pixels, row)


@contextmanager
def _writing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` at the end; else nothing is left."""
    try:
        with whole_folder(folder, is_replaced=True) as fresh:
            yield fresh
    except OSError as error:
        hint = "; make room" if error.errno in NO_ROOM else ""
        raise I2IError(
            f"the cache {folder} cannot be written: {error.strerror or error}{hint}. Nothing "
            "half-made is left, and training works without it."
        ) from error
    finally:
        with suppress(OSError):  # a first cache that failed leaves an empty folder
            folder.parent.rmdir()
