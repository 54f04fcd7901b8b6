"""Pictures that do not fit into memory whole: says so, and translates them in tiles."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from i2icli.errors import ConfigError, I2IError
from i2icli.methods.shared.base import Method, Translation
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.stylegan2 import StyleGAN2Generator
from i2icli.pictures.images import Picture, to_tensor
from i2icli.system.allocator import return_freed_memory
from i2icli.system.device import autocast
from i2icli.system.memory import LiveBytes, free_bytes, in_words, parse_bytes, resident_bytes
from i2icli.translation.full_size import at_full_size, way_back
from i2icli.translation.pictures import (
    CPU,
    evaluating,
    pad_to_suit,
    precision_for,
    source_channels,
    translate_images,
)
from i2icli.translation.scale import AS_IS, Scale, Size
from i2icli.translation.tiling import Room, run_in_bands, tileable
from i2icli.translation.tiling_fast import OVERLAP, measure_fast, run_fast

log = logging.getLogger(__package__)

Tiles = Literal["auto", "exact", "fast", "off"]
Way = Literal["whole", "exact", "fast"]
Key = tuple[int, int, int]  # height and width as padded, bits

_PROBE = 128  # side of the picture whose translation is measured, pixels
_MARGIN = 1.5  # what libraries take for themselves comes on top of the tensors
_SURELY = 16_384  # bytes a pixel that suffice any usual method: spares the measurement
_FAST_SHARE = 0.4  # of what is left, for a tile: pieces of several sizes waste memory
_FAST_LIBRARIES = 224 << 20  # bytes that kernels for tiles of up to nine shapes take
_SHARE = 0.8  # of the free memory, where nothing else bounds it
_PICTURE_BYTES = 40  # a pixel: picture, padded picture and translation in float32, and writing
_WRITING_BYTES = 12  # of these, for writing alone
_STATISTICS_PIXELS = 1 << 20  # of the reduced picture of fast tiles, at most
_MOST_TILE, _LEAST_TILE = 1024, 64  # pixels


@dataclass(frozen=True)
class TilesOptions:
    """When and how pictures are translated in tiles."""

    tiles: Tiles = "auto"  # "auto": exactly, where the whole does not fit
    memory: int | None = None  # bytes, on a GPU those there; None: what is free


def parse_tiles(tiles: str, memory: str | None) -> TilesOptions:
    """Return the options that `--tiles` and `--memory` name.

    Raises:
        ConfigError: if they say nothing that is known.
    """
    if tiles not in get_args(Tiles):
        raise ConfigError(f"--tiles {tiles!r} is not known: use auto, exact, fast or off.")
    bound = None if memory is None else parse_bytes(memory)
    return TilesOptions(cast(Tiles, tiles), bound)


class LargePictures:
    """Decides how a picture goes through a method, and sends large ones through in tiles.

    Raises:
        ConfigError: if tiles are asked for that the method cannot do.
    """

    def __init__(
        self,
        method: Method,
        direction: str,
        *,
        precision: torch.dtype,
        options: TilesOptions,
        scale: Scale = AS_IS,
    ) -> None:
        self._scale = scale
        self._method, self._direction, self._precision = method, direction, precision
        self._options = options
        self._device = next(method.parameters()).device
        self._network = method.generator_of(direction)
        self._per_pixel: float | None = None
        if options.memory is not None:
            return_freed_memory()  # a bound counts what is kept for later
        self._can_tile = tileable(self._network)
        if options.tiles in ("exact", "fast") and not self._can_tile:
            raise ConfigError(
                f"--tiles {options.tiles} is for methods with a residual generator without "
                f"attention, which this one ({type(method).__name__}) is not: leave it out."
            )

    @property
    def can_fall_back(self) -> bool:
        """Whether a picture for which memory ran out may be done in tiles."""
        return self._can_tile and self._options.tiles == "auto"

    def way(self, key: Key) -> Way:
        """Return the way that a picture of a `batch_key` is translated.

        Raises:
            I2IError: if it exceeds the memory that was allowed, and cannot be done in tiles.
        """
        pixels = key[0] * key[1]
        asked = self._options.tiles
        if asked == "off" or isinstance(self._network, StyleGAN2Generator):  # has its own tiles
            return "whole"
        if asked == "fast":
            return "whole" if pixels <= self._statistics_pixels(pixels) else "fast"
        if asked == "exact":
            return "exact"
        available = self._available()
        if available is None or _SURELY * pixels <= available or self.needed(pixels) <= available:
            return "whole"
        if self._can_tile:
            return "exact"
        if self._options.memory is None:
            return "whole"  # an estimate alone is no reason to refuse
        raise I2IError(
            f"a picture of {key[1]} x {key[0]} pixels needs about {in_words(self.needed(pixels))}, "
            f"and --memory leaves {in_words(available)}; this method cannot work in tiles: use a "
            "smaller picture, or allow more memory."
        )

    def translate(self, picture: Picture, way: Way) -> Translation:
        """Translate a picture in tiles; return it as a batch of one on the CPU.

        Raises:
            I2IError: if there is too little memory even so, or no room on disk.
        """
        assert isinstance(self._network, ResnetGenerator)
        return_freed_memory()
        left = self._left_for_tiles(picture)
        own = to_tensor(picture.pixels)[None]
        worked_on = self._scale.worked_on(own)
        height, width = worked_on.shape[-2:]
        is_rescaled, way_to_size = worked_on is not own, way_back(self._method, self._direction)
        image = pad_to_suit(self._method, worked_on)[0]
        precision = precision_for(picture, self._precision)
        run = self._fast if way == "fast" else self._exact
        with evaluating(self._method), autocast(self._device, precision):
            change = is_rescaled and way_to_size == "change"
            result = run(self._network, image, picture, left, change=change)
        made = Translation(result[None, :, :height, :width])
        if not is_rescaled:
            return made
        with torch.no_grad():
            return at_full_size(made, own, worked_on, way=way_to_size)

    def check_room(self, picture: Picture) -> None:
        """Refuse a picture that itself exceeds the memory that was allowed, whatever its way.

        Raises:
            I2IError: saying what it needs.
        """
        is_rescaled = self._size(picture) != picture.pixels.shape[:2]
        # Of others the translation needs far more, which `way` has seen to.
        if is_rescaled and self._options.memory is not None and self._device.type == "cpu":
            self._left_for_tiles(picture)

    def needed(self, pixels: int) -> float:
        """Return the bytes, roughly, that the translation of a whole picture takes."""
        if self._per_pixel is None:
            channels = source_channels(self._method, self._direction)
            probe = torch.zeros(1, channels, _PROBE, _PROBE)
            with LiveBytes() as live:
                translate_images(self._method, [probe], self._direction, precision=self._precision)
            self._per_pixel = _MARGIN * live.peak / _PROBE**2
        return self._per_pixel * pixels

    def _exact(
        self, network: ResnetGenerator, image: Tensor, picture: Picture, left: int, *, change: bool
    ) -> Tensor:
        bands = left * 2 // 5
        maps = left - bands if self._device.type == "cpu" else (free_bytes(CPU) or 0) // 2
        self._announce(picture, "exact tiles, which give what the whole would give")
        result, spilled = run_in_bands(network, image, Room(bands, maps), change=change)
        if spilled:
            log.info(f"{_name(picture)}: {in_words(spilled)} of feature maps went to disk")
        return result

    def _fast(
        self, network: ResnetGenerator, image: Tensor, picture: Picture, left: int, *, change: bool
    ) -> Tensor:
        # What a picture is written with is not needed yet, and serves them meanwhile.
        spare = _WRITING_BYTES * picture.pixels.shape[0] * picture.pixels.shape[1]
        left = max(0, left - max(0, _FAST_LIBRARIES - spare))
        side = math.isqrt(int(left * _FAST_SHARE / self.needed(1))) // 4 * 4 - 2 * OVERLAP
        if side < _LEAST_TILE:
            raise I2IError(
                f"memory leaves too little for fast tiles of {_name(picture)}: allow more "
                "(--memory), or use --tiles exact, which need less."
            )
        side = min(side, _MOST_TILE)
        pixels = self._statistics_pixels(image[0].numel(), left)
        self._announce(picture, "fast tiles")
        deviation = measure_fast(network, image, side=side, pixels=pixels)
        result = run_fast(network, image, side=side, pixels=pixels, change=change)
        log.info(
            f"{_name(picture)}: fast tiles differ from the whole picture by {deviation.mean:.2f} "
            f"of 255 on average, {deviation.largest:.0f} at most, measured on it reduced to "
            f"{deviation.size[1]} x {deviation.size[0]}{_advice(side)}"
        )
        return result

    def _statistics_pixels(self, pixels: int, left: int | None = None) -> int:
        if left is None:
            available = self._available()
            if available is None:
                return _STATISTICS_PIXELS
            left = max(0, available - _PICTURE_BYTES * pixels)
        return min(_STATISTICS_PIXELS, int(left * _FAST_SHARE / self.needed(1)))

    def _available(self) -> int | None:
        # None where that is not known.
        free = free_bytes(self._device)
        share = None if free is None else int(free * _SHARE)
        allowed = self._options.memory
        if allowed is None:
            return share
        on_device = self._device.type == "cuda"
        held = torch.cuda.memory_allocated(self._device) if on_device else resident_bytes()
        return max(0, allowed - held if share is None else min(allowed - held, share))

    def _left_for_tiles(self, picture: Picture) -> int:
        # What remains beside the picture and its translation.
        available = self._available()
        if available is None:
            return _MOST_UNKNOWN
        if self._device.type == "cpu":  # elsewhere the picture stays in host memory
            available -= _PICTURE_BYTES * max(
                math.prod(picture.size), math.prod(self._size(picture))
            )
        if available <= 0:
            raise _too_little(picture, self._options.memory)
        return available

    def _size(self, picture: Picture) -> Size:
        # At which the network works on it.
        return self._scale.working_size((picture.size[1], picture.size[0]))

    def _announce(self, picture: Picture, what: str) -> None:
        height, width = self._size(picture)
        reason = ""
        if self._options.tiles == "auto":
            available = self._available() or 0
            reason = (
                f"the whole would need about {in_words(self.needed(height * width))} and "
                f"{in_words(available)} are left, so "
            )
        log.info(f"{_name(picture)} ({width} x {height} pixels): {reason}it goes in {what}")


_MOST_UNKNOWN = 1 << 30  # bytes taken where the system does not say what is free


def _name(picture: Picture) -> str:
    return str(picture.path or "a picture")


def _advice(side: int) -> str:
    if side >= 4 * OVERLAP:
        return ""
    return (
        f"; memory leaves tiles of {side} pixels only, most of whose work is overlap: allow more, "
        "or use exact tiles"
    )


def _too_little(picture: Picture, memory: int | None) -> I2IError:
    height, width = picture.pixels.shape[:2]
    given = "the free memory" if memory is None else f"--memory {in_words(memory)}"
    need = in_words(_PICTURE_BYTES * height * width)
    return I2IError(
        f"{given} is too little for {_name(picture)}, {width} x {height} pixels: the picture and "
        f"its translation alone need {need} beside the program itself. Allow more, or use a "
        "smaller picture."
    )
