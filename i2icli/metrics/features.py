"""Inception features of sets of pictures: clean-fid's network and resizing, kept on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from i2icli.errors import DataError, I2IError
from i2icli.metrics.cache import KeptFeatures, Positions, Rows, features_folder, features_key
from i2icli.metrics.inception import (
    FEATURES,
    FeatureMode,
    Network,
    build_network,
    build_resizer,
    find_inception,
    prepare,
    quiet,
)
from i2icli.metrics.picture_sets import (
    AnyPicture,
    broken_pictures,
    contents_of,
    describe_set,
)
from i2icli.pictures.decode import Pixels, open_picture
from i2icli.pictures.images import read_picture, to_8_bits
from i2icli.system.cores import usable_cores
from i2icli.system.processes.work_queue import Emit, cut, in_order
from i2icli.system.shares import ALONE, Process, device_of_rank

Progress = Callable[[int, int | None], None]
Put = Callable[[list[int], Rows], None]
_CPU_BATCH, _GPU_BATCH = 16, 128  # pictures through the network at once


def extract_features(
    pictures: Sequence[AnyPicture],
    *,
    mode: FeatureMode,
    device: torch.device,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    work: Path | None = None,
    content: str | None = None,
    process: Process = ALONE,
) -> Rows:
    """Return the Inception features of pictures, kept by content under `I2I_HOME/features`.

    What is computed is on disk after each batch, and a later call with the same pictures, in as
    many processes as it likes, goes on from there.

    Args:
        pictures: files or pictures inside shards, at least one.
        mode: clean-fid's way of resizing.
        device: where the network computes.
        batch_size: pictures through the network at once; None: as the device likes.
        workers: threads that decode; None: one a CPU core.
        progress: called with the pictures done and their total; not when they were kept.
        cache: whether to look for kept features and to keep new ones.
        work: keep them in this folder, which all processes see, not in `I2I_HOME/features`.
        content: digest of the pictures, where it is known; see `picture_sets.SetFacts`.
        process: this process' part in the work; each computes its own share, all get all.

    Returns:
        (N, 2048) float32, in the order of `pictures`; as they lie on disk where they are kept, and
        then none in a process that does not see them there, which the first always does.

    Raises:
        DataError: naming every picture that cannot be read; or if some changed meanwhile.
        WeightsError: the weights are not here.
        I2IError: memory or disk does not suffice.
    """
    find_inception(mode)  # before any work
    kept = None
    if cache or work is not None:
        digest = describe_set(pictures).digest if process.is_first and not content else ""
        content = content or process.agree(digest)
        kept = find_kept(content, len(pictures), mode=mode, device=device, work=work)
        if (rows := _load(kept, process)) is not None:
            return rows
    threads = workers or min(16, usable_cores())
    passing = FeatureWork(mode, str(device), batch_size, threads)
    task = _Task(pictures, passing, progress, process)
    if kept is not None and _can_keep_parts(kept, work, process):
        return _extract_in_parts(task, kept, content)
    rows = _extract_in_memory(task)
    # A picture that changed meanwhile must not be kept under its old content.
    if kept is not None and process.is_first and describe_set(pictures).digest == content:
        kept.store(rows)
    return rows


def find_kept(
    content: str, count: int, *, mode: FeatureMode, device: torch.device, work: Path | None = None
) -> KeptFeatures:
    """Return the kept features of a set of `count` pictures, as `extract_features` finds them.

    Raises:
        WeightsError: the weights are not here.
    """
    weights = find_inception(mode)
    key = features_key(content, mode=mode, weights=weights.sha256, device=device.type)
    return KeptFeatures(work or features_folder(), key, count)


def read_stored(picture: AnyPicture) -> Pixels:
    """Return the pixels, (H, W, 3) uint8, that are stored in a file, as clean-fid reads it.

    Grey of more than 8 bits, which clean-fid clips, is scaled.

    Raises:
        DataError: naming the file, when it is no picture, damaged or too large.
    """
    path, content = contents_of(picture)
    with open_picture(path, content) as image:
        if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
            return to_8_bits(read_picture(path, channels=3, content=content).pixels)
        # Neither an embedded profile nor the EXIF orientation is applied, though training and
        # translation apply both: published numbers come from the stored values. (41 pictures of
        # horse2zebra carry profiles other than sRGB; applying them lowers its FID by 0.1.)
        return np.array(image.convert("RGB"))


class _FeaturePass:
    """One pass over pictures, in batches of one shape.

    They are decoded and resized by threads ahead of the network, so that it never waits; Pillow
    does both without holding Python's lock. All else happens in the calling thread.
    """

    def __init__(
        self, mode: FeatureMode, device: torch.device, network: Network, batch_size: int | None
    ) -> None:
        self._resize = build_resizer(mode)
        self._device = device
        self._network = network
        self._batch_size = batch_size or _usual_batch(device.type)
        self._waiting: dict[torch.Size, list[tuple[int, Tensor]]] = {}

    def run(
        self, pictures: Sequence[tuple[int, AnyPicture]], put: Put, *, workers: int
    ) -> list[Exception]:
        """Compute the features of pictures, each with its position in the set.

        Args:
            pictures: as above.
            put: called for each batch with its positions and their rows, (n, 2048).
            workers: threads that decode.

        Returns:
            The faults of those that cannot be read.

        Raises:
            I2IError: memory does not suffice.
        """
        self._put = put
        faults: list[Exception] = []
        with quiet():
            for position, image in self._prepared(pictures, workers):
                if isinstance(image, Exception):
                    faults.append(image)
                elif not faults:  # after a fault only the other broken ones are of interest
                    self._collect(position, image)
            for shape in [] if faults else list(self._waiting):
                self._flush(shape)
        return faults

    def _prepared(
        self, pictures: Sequence[tuple[int, AnyPicture]], workers: int
    ) -> Iterator[tuple[int, Tensor | Exception]]:
        ahead: deque[tuple[int, Future[Tensor]]] = deque()
        waiting = iter(pictures)
        room = 2 * self._batch_size + workers
        with ThreadPoolExecutor(workers, thread_name_prefix="features") as pool:
            while True:
                for position, picture in islice(waiting, room - len(ahead)):
                    ahead.append((position, pool.submit(self._read, picture)))
                if not ahead:
                    return
                position, future = ahead.popleft()
                try:
                    yield position, future.result()
                except (DataError, OSError) as fault:
                    yield position, fault

    def _read(self, picture: AnyPicture) -> Tensor:
        return prepare(read_stored(picture), self._resize)

    def _collect(self, position: int, image: Tensor) -> None:
        bucket = self._waiting.setdefault(image.shape, [])
        bucket.append((position, image))
        if len(bucket) == self._batch_size:
            self._flush(image.shape)
        # Few of many shapes must not fill the memory: the fullest go.
        elif sum(map(len, self._waiting.values())) >= 4 * self._batch_size:
            self._flush(max(self._waiting, key=lambda shape: len(self._waiting[shape])))

    def _flush(self, shape: torch.Size) -> None:
        entries = self._waiting.pop(shape)
        batch = torch.stack([image for _, image in entries])
        try:
            with torch.inference_mode():
                rows = self._network(batch.to(self._device)).float().cpu().numpy()
        except torch.OutOfMemoryError:
            raise I2IError(
                f"{self._device} has too little memory for {len(entries)} pictures at once: "
                f"use a smaller --batch than {self._batch_size}, or `--device cpu`."
            ) from None
        self._put([position for position, _ in entries], rows)


def _usual_batch(device: str) -> int:
    return _CPU_BATCH if device == "cpu" else _GPU_BATCH


Piece = Sequence[tuple[int, AnyPicture]]


@dataclass(frozen=True)
class FeatureWork:
    """Computes features of pictures, some at a time.

    The rows of each batch are an event, with the positions of its pictures; the result is the
    faults of those that cannot be read.
    """

    mode: FeatureMode
    device: str
    batch_size: int | None
    workers: int

    def setup(self) -> Callable[[Piece, Emit], list[str]]:
        """Load the network onto this process' device; return the function that computes by it."""
        device = torch.device(device_of_rank(self.device))
        network = build_network(self.mode, device, find_inception(self.mode))

        def extract(piece: Piece, emit: Emit) -> list[str]:
            passing = _FeaturePass(self.mode, device, network, self.batch_size)
            faults = passing.run(
                piece, lambda positions, rows: emit((positions, rows)), workers=self.workers
            )
            return [str(fault) for fault in faults]

        return extract

    def describe(self, piece: Piece) -> str:
        """Return the names of the first and the last picture."""
        first, last = (contents_of(picture)[0] for _, picture in (piece[0], piece[-1]))
        return f"{first} to {last}"


@dataclass(frozen=True)
class _Task:
    pictures: Sequence[AnyPicture]
    work: FeatureWork
    progress: Progress | None
    process: Process


def _load(kept: KeptFeatures, process: Process) -> Rows | None:
    """Return features that the first process finds; none in one that does not see them."""
    found = kept.load() if process.is_first else None
    if not process.agree(found is not None):
        return None
    rows = found if found is not None else kept.load()
    return np.zeros((0, FEATURES), dtype=np.float32) if rows is None else rows


def _can_keep_parts(kept: KeptFeatures, work: Path | None, process: Process) -> bool:
    mark = process.agree(kept.open_parts() if process.is_first else None)
    is_seen = mark is not None and all(process.collect(kept.sees(mark)))
    if is_seen or work is None:
        return is_seen
    raise I2IError(
        f"features cannot be kept in {work}: it cannot be written, has no room, or not every "
        "process sees it. Name another folder with --work."
    )


def _extract_in_parts(task: _Task, kept: KeptFeatures, content: str | None) -> Rows:
    process = task.process
    # What an earlier call, killed perhaps, has put on disk is not computed again.
    missing = process.agree(kept.missing() if process.is_first else None)
    assert missing is not None, "the first process always says"
    part = kept.part(process.rank, process.count)
    try:
        _extract(task, missing, part.append)
        if process.is_first:
            if describe_set(task.pictures).digest != content:
                raise DataError("some pictures changed while they were looked at: measure again.")
            kept.assemble()
    except DataError:
        if process.is_first:
            kept.remove()  # once it is repaired, the content is another
        raise
    except OSError as fault:
        raise I2IError(
            f"features cannot be written ({fault.strerror or fault}): make room, or name another "
            "folder with --work. The same command goes on from there."
        ) from fault
    rows = _load(kept, process)
    if rows is None:
        raise I2IError("the features that were just written are gone: run the command again.")
    return rows


def _extract_in_memory(task: _Task) -> Rows:
    process, count = task.process, len(task.pictures)
    rows = np.zeros((len(process.share(range(count))), FEATURES), dtype=np.float32)

    def put(positions: list[int], found: Rows) -> None:
        rows[[position // process.count for position in positions]] = found

    _extract(task, np.arange(count), put)
    return process.gather(rows, count)


def _extract(task: _Task, positions: Positions, put: Put) -> None:
    process, total = task.process, len(task.pictures)
    executor = process.executor
    own = [(position, task.pictures[position]) for position in process.share(positions.tolist())]
    done = total - len(positions) if process.count == 1 else 0
    last = done + len(own)
    batch = task.work.batch_size or _usual_batch(torch.device(task.work.device).type)

    def take(event: tuple[list[int], Rows]) -> None:
        nonlocal done
        put(*event)
        done += len(event[0])
        if task.progress is not None:
            task.progress(done, last)

    pieces = cut(own, executor.count, most=4 * batch, multiple=batch)
    faults = [text for part in in_order(executor.run(task.work, pieces, take)) for text in part]
    texts = [text for part in process.collect(faults) for text in part]
    if texts:
        raise broken_pictures([DataError(text) for text in texts], total)
