"""Batches through a method, as large as memory allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from i2icli.errors import I2IError
from i2icli.methods.shared.base import Method, Translation
from i2icli.pictures.images import Picture
from i2icli.translation.large import LargePictures, TilesOptions, Way
from i2icli.translation.pictures import batch_key, translate_batch
from i2icli.translation.pixels import check_direction

_BYTES_PER_PIXEL = 4096  # of a generator 64 channels wide in float32, generously
_MOST = 64  # pictures


class BatchRunner:
    """Translates batches, and halves them when memory runs out.

    Args:
        method: the method, on the device that computes.
        direction: one of the method's.
        precision: type of the autocast region.
        batch_size: pictures at once; None: chosen by their size and the free memory.
        warn: called with a sentence when a batch had to be halved, or a picture goes in tiles.
        tiles: when pictures go in tiles; None: when they do not fit whole.

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
        warn: Callable[[str], None],
        tiles: TilesOptions | None = None,
    ) -> None:
        check_direction(method, direction)
        self._method = method
        self._direction = direction
        self._precision = precision
        self._warn = warn
        self._device = next(method.parameters()).device
        self._batch_size = batch_size or _MOST
        self._pixels = math.inf if batch_size else _affordable_pixels(self._device)
        self._large = LargePictures(
            method, direction, precision=precision, options=tiles or TilesOptions(), say=warn
        )
        self._ways: dict[tuple[int, int, int], Way] = {}

    def capacity(self, key: tuple[int, int, int]) -> int:
        """Return how many pictures of a `batch_key` to translate at once, at least 1.

        Raises:
            I2IError: if they exceed the memory that was allowed, and cannot be done in tiles.
        """
        if self._way(key) != "whole":
            return 1
        return max(1, int(min(self._batch_size, self._pixels // (key[0] * key[1]))))

    def translate(
        self, pictures: Sequence[Picture], style: Tensor | None = None
    ) -> list[Translation]:
        """Translate pictures that have one `batch_key`.

        Args:
            pictures: B of them.
            style: their style codes, (B, style_size); None: the method's default, if it has any.

        Returns:
            For each picture its translation, a batch of one, on the CPU.

        Raises:
            I2IError: if memory does not suffice for one picture.
        """
        key = batch_key(self._method, pictures[0])
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
        """Return how pictures of a key go, decided at the first."""
        if key not in self._ways:
            self._ways[key] = self._large.way(key)
        return self._ways[key]

    def _try(self, batch: Sequence[Picture], style: Tensor | None) -> list[Translation] | None:
        """Return the translations, or None where memory ran out."""
        try:
            return translate_batch(
                self._method, batch, self._direction, precision=self._precision, style=style
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
        self._warn(
            f"out of memory with {len(batch)} pictures of {key[1]} x {key[0]} at once: "
            f"going on with {half}"
        )


def _affordable_pixels(device: torch.device) -> float:
    """Return how many pixels to translate at once; 0: one picture, since more gain nothing."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return free / 2 / _BYTES_PER_PIXEL


def _is_out_of_memory(fault: Exception) -> bool:
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    # On the CPU, torch raises a plain RuntimeError.
    return any(
        sign in str(fault) for sign in ("out of memory", "not enough memory", "can't allocate")
    )
