"""Many pictures through a translator: reading and writing overlap with computing."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from i2icli.errors import I2IError
from i2icli.methods.shared.base import Translation
from i2icli.pictures.images import Picture
from i2icli.translation.forward import BatchRunner
from i2icli.translation.large import TilesOptions
from i2icli.translation.pictures import batch_key
from i2icli.translation.translator import Translator

_THREADS = min(8, os.cpu_count() or 1)  # for reading, and as many for writing
_AHEAD_PIXELS = 64_000_000  # read ahead or waiting to be written, about 200 MB each
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no later file would fare better

T = TypeVar("T")
W = TypeVar("W")
T_contra = TypeVar("T_contra", contravariant=True)


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
        tiles: when large pictures go in tiles, and the memory that they may take.
    """

    direction: str = "a2b"
    batch_size: int | None = None
    quality: int = 95
    skip_existing: bool = False
    styles_of: Callable[[Any], Tensor] | None = None
    tiles: TilesOptions = TilesOptions()


class Ends(Protocol[T_contra, W]):
    """Where pictures come from and where they go; `read` and `write` run in threads."""

    def outputs(self, item: T_contra) -> int:
        """Return how many outputs a picture has, one a style; the same for all."""

    def read(self, item: T_contra) -> Picture:
        """Decode a picture."""

    def write(self, item: T_contra, picture: Picture, place: int, translation: Translation) -> W:
        """Encode the output of one style, a batch of one on the CPU."""

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


class Pipeline(Generic[T, W]):
    """Sends pictures through a translator; what is under way is bounded by its pixels.

    Args:
        translator: what translates.
        options: how.
        ends: what reads and writes.
        warn: called with a sentence when a batch had to be made smaller.

    Raises:
        ConfigError: if the translator does not offer the direction.
    """

    def __init__(
        self,
        translator: Translator,
        options: FolderOptions,
        ends: Ends[T, W],
        *,
        warn: Callable[[str], None],
    ) -> None:
        self._method = translator.method
        self._options = options
        self._ends = ends
        self._runner = BatchRunner(
            translator.method,
            options.direction,
            precision=translator.precision,
            batch_size=options.batch_size,
            warn=warn,
            tiles=options.tiles,
        )
        self._buckets: dict[tuple[int, int, int], list[_Read[T]]] = {}
        self._writes: deque[tuple[_Read[T], Future[W]]] = deque()

    def run(self, items: Iterable[T]) -> None:
        """Translate every item; one that fails stops no other.

        Args:
            items: taken a bounded number ahead of their use, in the calling thread.

        Raises:
            I2IError: if memory does not suffice for one picture.
        """
        self._readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="read")
        self._writers = ThreadPoolExecutor(_THREADS, thread_name_prefix="write")
        try:
            for read in self._read_in_order(items):
                self._collect(read)
            for key in list(self._buckets):
                self._flush(key)
            self._settle(leave=0)
        finally:
            # After a fault or Ctrl-C: what is being written is finished, the rest dropped.
            self._readers.shutdown(cancel_futures=True)
            self._writers.shutdown(cancel_futures=True)

    def _read_in_order(self, items: Iterable[T]) -> Iterator[_Read[T]]:
        """Yield what can be read, a bounded number of pixels ahead of its use."""
        waiting = iter(items)
        ahead: deque[tuple[T, Future[_Read[T]]]] = deque()
        largest = 1
        while True:
            room = max(2, min(4 * _THREADS, _AHEAD_PIXELS // largest)) - len(ahead)
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
        for place in range(self._ends.outputs(reads[0].item)):
            styles = self._styles(reads, place)
            made = self._runner.translate([read.picture for read in reads], styles)
            for read, translation in zip(reads, made, strict=True):
                future = self._writers.submit(
                    self._ends.write, read.item, read.picture, place, translation
                )
                self._writes.append((read, future))
            self._settle(leave=max(2, min(4 * _THREADS, _AHEAD_PIXELS // pixels)))

    def _styles(self, reads: Sequence[_Read[T]], place: int) -> Tensor | None:
        styles_of = self._options.styles_of
        if styles_of is None:
            return None
        return torch.stack([styles_of(read.item)[place] for read in reads])

    def _settle(self, *, leave: int) -> None:
        """Take note of finished writes; wait until at most `leave` are not."""
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
        raise I2IError(
            f"{target} was not written: {cause.strerror}. Make room, then run the same "
            "command with --skip-existing."
        ) from None


def words_of(fault: I2IError | OSError) -> str:
    """Return a fault in the words of a report."""
    return f"{fault.strerror or fault}" if isinstance(fault, OSError) else str(fault)
