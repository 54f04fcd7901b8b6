"""Many pictures through a translator: batches as memory allows, reading and writing meanwhile."""

from __future__ import annotations

import errno
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from i2icli.errors import I2IError
from i2icli.methods.shared.base import Method, Translation
from i2icli.pictures.images import Picture, to_tensor
from i2icli.system.cores import usable_cores
from i2icli.system.faults import advice, is_out_of_memory
from i2icli.translation.large import LargePictures, TilesOptions, Way
from i2icli.translation.pictures import (
    CPU,
    batch_key,
    check_direction,
    precision_for,
    translate_images,
)
from i2icli.translation.scale import AS_IS, Scale, ScaleChoice
from i2icli.translation.translator import Translator

log = logging.getLogger(__package__)

_MOST_THREADS = 8  # for reading, and as many for writing
_AHEAD_PIXELS = 64_000_000  # read ahead or waiting to be written, about 200 MB each
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no later file would fare better
_BYTES_PER_PIXEL = 4096  # of a generator 64 channels wide in float32, generously
_MOST = 64  # pictures

T = TypeVar("T")
W = TypeVar("W")
T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True)
class FolderOptions:
    """The way in which pictures are translated and written."""

    direction: str = "a2b"  # one of the translator's
    batch_size: int | None = None  # of one size, at once; None: as memory allows
    quality: int = 95  # of lossy formats, 1 to 100
    skip_existing: bool = False  # leave a picture whose outputs are all there
    styles_of: Callable[[Any], Tensor] | None = None  # of a job's targets, (N, style_size)
    tiles: TilesOptions = TilesOptions()  # for pictures that memory does not hold
    scale: ScaleChoice = "auto"  # at which the network works, see `Translator.translate`
    is_marked: bool = True  # with the mark of `pictures.mark`, where the format carries it


class Ends(Protocol[T_contra, W]):
    """The source and the destination of pictures; `read` and `write` run in threads."""

    def outputs(self, item: T_contra) -> int:
        """Return the number of outputs of a picture, one a style; the same for all."""

    def read(self, item: T_contra) -> Picture:
        """Decode a picture."""

    def write(self, item: T_contra, picture: Picture, style: int, translation: Translation) -> W:
        """Encode the output of the style at a position, a batch of one on the CPU."""

    def written(self, item: T_contra, result: W) -> None:
        """Take note of an output, in the calling thread."""

    def failed(self, item: T_contra, fault: I2IError | OSError) -> None:
        """Take note of a picture that cannot be read or written, in the calling thread."""


@dataclass(frozen=True)
class _Read(Generic[T]):
    item: T
    picture: Picture

    @property
    def pixels(self) -> int:
        width, height = self.picture.size
        return width * height


class BatchRunner:
    """Translates batches of one padded size, and halves them when memory runs out.

    Without a `batch_size` it follows from the size of the pictures and the free memory.

    Raises:
        ConfigError: if the method does not translate in that direction, or not in tiles.
    """

    def __init__(
        self,
        method: Method,
        direction: str,
        *,
        precision: torch.dtype,
        batch_size: int | None,
        tiles: TilesOptions | None = None,
        scale: Scale = AS_IS,
    ) -> None:
        check_direction(method, direction)
        self._method = method
        self._scale = scale
        self._direction = direction
        self._precision = precision
        self._device = next(method.parameters()).device
        self._batch_size = batch_size or _MOST
        self._pixels = math.inf if batch_size else _affordable_pixels(self._device)
        self._large = LargePictures(
            method, direction, precision=precision, options=tiles or TilesOptions(), scale=scale
        )
        self._ways: dict[tuple[int, int, int], Way] = {}

    def capacity(self, key: tuple[int, int, int]) -> int:
        """Return the number of pictures of a `batch_key` to translate at once, at least 1.

        Raises:
            I2IError: if they exceed the memory that was allowed, and cannot be done in tiles.
        """
        if self._way(key) != "whole":
            return 1
        return max(1, int(min(self._batch_size, self._pixels // (key[0] * key[1]))))

    def translate(
        self, pictures: Sequence[Picture], style: Tensor | None = None
    ) -> list[Translation]:
        """Translate B pictures of one `batch_key`, in the styles (B, style_size).

        Returns:
            For each picture its translation, a batch of one, on the CPU.

        Raises:
            I2IError: if memory does not suffice for one picture.
        """
        key = batch_key(self._method, pictures[0], self._scale)
        for picture in pictures:
            self._large.check_room(picture)
        way = self._way(key)
        if way != "whole":
            return [self._large.translate(picture, way) for picture in pictures]
        done: list[Translation] = []
        while len(done) < len(pictures):
            chosen = slice(len(done), len(done) + self.capacity(key))
            batch = pictures[chosen]
            translated = self._try(batch, None if style is None else style[chosen])
            if translated is not None:
                done += translated
            elif len(batch) == 1 and self._large.can_fall_back:
                self._ways[key] = "exact"  # memory is less than was thought
                return done + [
                    self._large.translate(picture, "exact") for picture in pictures[len(done) :]
                ]
            else:
                self._reduce(batch, key)
        return done

    def _way(self, key: tuple[int, int, int]) -> Way:
        # Decided at the first picture of a key, and again only when memory ran out.
        if key not in self._ways:
            self._ways[key] = self._large.way(key)
        return self._ways[key]

    def _try(self, batch: Sequence[Picture], style: Tensor | None) -> list[Translation] | None:
        try:
            return translate_images(
                self._method,
                [to_tensor(picture.pixels)[None] for picture in batch],
                self._direction,
                precision=precision_for(batch[0], self._precision),
                style=style,
                scale=self._scale,
                to=CPU,
            )
        except (MemoryError, RuntimeError) as fault:
            if not _is_out_of_memory(fault):
                raise
        # Only here, with the fault's frames gone, are its tensors free.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _reduce(self, batch: Sequence[Picture], key: tuple[int, int, int]) -> None:
        if len(batch) == 1:
            name = batch[0].path or "a picture"
            raise I2IError(
                f"{self._device} has too little memory to translate {name} ({key[1]} x {key[0]} "
                "pixels): use `--device cpu` or a smaller picture."
            )
        half = len(batch) // 2
        self._pixels = half * key[0] * key[1]
        log.warning(
            f"out of memory with {len(batch)} pictures of {key[1]} x {key[0]} at once: "
            f"going on with {half}"
        )


class Pipeline(Generic[T, W]):
    """Sends pictures through a translator; what is under way is bounded by its pixels.

    Raises:
        ConfigError: if the translator does not offer the direction.
    """

    def __init__(
        self,
        translator: Translator,
        options: FolderOptions,
        ends: Ends[T, W],
    ) -> None:
        self._method = translator.method
        self._scale = translator.scale_for(options.scale)
        self._options = options
        self._ends = ends
        self._runner = BatchRunner(
            translator.method,
            options.direction,
            precision=translator.precision,
            batch_size=options.batch_size,
            tiles=options.tiles,
            scale=self._scale,
        )
        self._threads = min(_MOST_THREADS, usable_cores())
        self._buckets: dict[tuple[int, int, int], list[_Read[T]]] = {}
        self._writes: deque[tuple[_Read[T], Future[W]]] = deque()

    def run(self, items: Iterable[T]) -> None:
        """Translate every item; one that fails stops no other.

        Raises:
            I2IError: if memory does not suffice for one picture.
        """
        self._readers = ThreadPoolExecutor(self._threads, thread_name_prefix="read")
        self._writers = ThreadPoolExecutor(self._threads, thread_name_prefix="write")
        try:
            for read in self._read_in_order(items):
                self._collect(read)
            for key in list(self._buckets):
                self._flush(key)
            self._take_finished(leave=0)
        finally:
            # After a fault or Ctrl-C: what is being written is finished, the rest dropped.
            self._readers.shutdown(cancel_futures=True)
            self._writers.shutdown(cancel_futures=True)

    def _read_in_order(self, items: Iterable[T]) -> Iterator[_Read[T]]:
        waiting = iter(items)
        ahead: deque[tuple[T, Future[_Read[T]]]] = deque()
        largest = 1
        while True:
            room = max(2, min(4 * self._threads, _AHEAD_PIXELS // largest)) - len(ahead)
            for item in islice(waiting, max(0, room)):
                ahead.append((item, self._readers.submit(self._read, item)))
            if not ahead:
                return
            item, future = ahead.popleft()
            try:
                read = future.result()
            except (I2IError, OSError) as fault:
                self._ends.failed(item, fault)
                continue
            largest = max(largest, read.pixels)
            yield read

    def _read(self, item: T) -> _Read[T]:
        return _Read(item, self._ends.read(item))

    def _collect(self, read: _Read[T]) -> None:
        key = batch_key(self._method, read.picture, self._scale)
        bucket = self._buckets.setdefault(key, [])
        bucket.append(read)
        if len(bucket) >= self._runner.capacity(key):
            self._flush(key)
        waiting = [item for items in self._buckets.values() for item in items]
        if sum(item.pixels for item in waiting) > _AHEAD_PIXELS or len(waiting) > 64:
            self._flush(max(self._buckets, key=lambda k: len(self._buckets[k])))

    def _flush(self, key: tuple[int, int, int]) -> None:
        reads = self._buckets.pop(key)
        pixels = max(read.pixels for read in reads)
        styles_of = self._options.styles_of
        for style in range(self._ends.outputs(reads[0].item)):
            codes = None
            if styles_of is not None:
                codes = torch.stack([styles_of(read.item)[style] for read in reads])
            made = self._runner.translate([read.picture for read in reads], codes)
            for read, translation in zip(reads, made, strict=True):
                future = self._writers.submit(
                    self._ends.write, read.item, read.picture, style, translation
                )
                self._writes.append((read, future))
            self._take_finished(leave=max(2, min(4 * self._threads, _AHEAD_PIXELS // pixels)))

    def _take_finished(self, *, leave: int) -> None:
        # Writes that are over; wait until at most `leave` are not.
        while self._writes and (len(self._writes) > leave or self._writes[0][1].done()):
            read, future = self._writes.popleft()
            try:
                result = future.result()
            except (I2IError, OSError) as fault:
                self._ends.failed(read.item, fault)
            else:
                self._ends.written(read.item, result)


def raise_if_hopeless(fault: I2IError | OSError, target: object) -> None:
    """Raise where no later output would fare better: the disk is full or cannot be written.

    Raises:
        I2IError: naming `target` and how to go on.
    """
    cause = fault if isinstance(fault, OSError) else fault.__cause__ or fault.__context__
    if isinstance(cause, OSError) and cause.errno in _HOPELESS:
        again = "run the same command with --skip-existing"
        raise I2IError(
            f"{target} was not written: {cause.strerror}. {advice(cause, again=again)}"
        ) from None


def words_of(fault: I2IError | OSError) -> str:
    """Return the words of a fault in a report."""
    return f"{fault.strerror or fault}" if isinstance(fault, OSError) else str(fault)


def _affordable_pixels(device: torch.device) -> float:
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return free / 2 / _BYTES_PER_PIXEL


def _is_out_of_memory(fault: Exception) -> bool:
    # On the CPU, torch raises a plain RuntimeError.
    return isinstance(fault, torch.OutOfMemoryError) or is_out_of_memory(fault)
