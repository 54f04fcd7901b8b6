"""Pictures in and out: the one loader of training, translation and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from i2icli.errors import I2IError
from i2icli.pictures.decode import (
    SUFFIXES,
    Pixels,
    decode,
    luma,
    max_pixels,
    open_picture,
    upright_size,
)
from i2icli.pictures.encode import to_8_bits, write_picture

__all__ = [
    "SUFFIXES",
    "Picture",
    "Pixels",
    "from_tensor",
    "max_pixels",
    "read_picture",
    "read_size",
    "to_8_bits",
    "to_tensor",
    "write_picture",
]


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright and in sRGB.

    Attributes:
        pixels: (H, W, C), uint8, or uint16 for grey files of more than 8 bits.
        alpha: opacity, (H, W), of the same type; None where the file has no transparency.
        path: the file it came from.
        format: the file's format in Pillow's words, for example "JPEG".
    """

    pixels: Pixels
    alpha: Pixels | None = None
    path: Path | None = None
    format: str | None = None

    @property
    def bits(self) -> Literal[8, 16]:
        """Bits a channel."""
        return 16 if self.pixels.dtype == np.uint16 else 8

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_picture(path: Path, *, channels: int | None = 3, content: bytes | None = None) -> Picture:
    """Read a picture file; of several frames or pages the first.

    EXIF orientation is applied, an embedded profile converted to sRGB (8-bit pictures), alpha
    kept apart. Colour of 16 bits is reduced to 8, grey of 16 bits is kept.

    Args:
        path: the file; its content decides the format, not its suffix.
        channels: 3 repeats grey, 1 reduces colour to luma (ITU-R 601), None keeps what there is.
        content: the file's bytes, where they come from elsewhere; `path` then only names it.

    Raises:
        DataError: naming the file, when it is missing, no picture, damaged, incomplete, or has
            more pixels than `I2I_MAX_PIXELS`.
    """
    path = Path(path)
    with open_picture(path, content) as image:
        name = "JPEG" if image.format == "MPO" else image.format
        pixels, alpha = decode(image, path)
    return Picture(with_channels(pixels, channels), alpha=alpha, path=path, format=name)


def with_channels(pixels: Pixels, channels: int | None) -> Pixels:
    """Bring pixels, (H, W, C), to 1 channel by luma or to 3 by repetition; None keeps them."""
    if channels in (None, pixels.shape[2]):
        return pixels
    return luma(pixels) if channels == 1 else np.repeat(pixels, 3, axis=2)


def read_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright picture from the file's header alone.

    Raises:
        DataError: naming the file, when its header cannot be read or its size is refused.
    """
    with open_picture(Path(path)) as image:
        return upright_size(image)


def to_tensor(pixels: Pixels) -> Tensor:
    """Turn pixels, (H, W, C) uint8 or uint16, into float32 (C, H, W) in [-1, 1].

    The arithmetic is that of the released pipelines: divide by the largest value, subtract 0.5,
    divide by 0.5.
    """
    top = float(np.iinfo(pixels.dtype).max)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    return torch.from_numpy(planes).div_(top).sub_(0.5).div_(0.5)


def from_tensor(tensor: Tensor, *, bits: int = 8) -> Pixels:
    """Turn a picture, (C, H, W) in [-1, 1], clipped, into pixels (H, W, C) of 8 or 16 bits.

    Raises:
        I2IError: when the picture holds NaN.
    """
    values = tensor.detach().to(device="cpu", dtype=torch.float32)
    if bool(values.isnan().any()):
        raise I2IError(
            "the translation is not a number at some pixels; "
            "if it was computed in half precision, try `--precision float32`"
        )
    top = 65535 if bits == 16 else 255
    # Departs from the official code: values are rounded, because truncation darkens a picture by
    # half a grey level and does not give back the pixels that went in.
    counts = values.clamp(-1.0, 1.0).add(1.0).mul_(top / 2).round_().numpy()
    pixels: Pixels = counts.transpose(1, 2, 0).astype(np.uint16 if bits == 16 else np.uint8)
    return np.ascontiguousarray(pixels)
