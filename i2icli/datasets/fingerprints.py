"""The print that `i2i data check` takes of a picture: form, hash of the pixels, look.

The look is a difference hash of 128 bits: the picture in grey at 9x9, each cell compared with its
right and its lower neighbour. Re-encoded, resized or slightly brightened copies differ in a few
bits. A thumbnail decides where the hash leaves doubt, as it does on flat pictures.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from i2icli.errors import DataError
from i2icli.pictures.decode import open_picture
from i2icli.pictures.encode import WRITABLE, to_image
from i2icli.pictures.images import Picture, read_picture, to_8_bits

HASH_BYTES = 16
THUMBNAIL = 12  # side in pixels
_FORMATS = WRITABLE | {".gif": "GIF"}
# Luminance table at quality 50 (ITU-T T.81, table K.1), in any order: only its sum is compared.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


@dataclass(frozen=True)
class Print:
    """One picture's findings."""

    path: Path
    part: str  # where it belongs: trainA, trainB, testA or testB
    error: str | None = None  # why it cannot be read; then nothing below is known
    width: int = 0  # upright, pixels
    height: int = 0
    bits: int = 8  # a channel, 8 or 16
    has_alpha: bool = False  # some pixel is not opaque
    is_grey: bool = False  # all pixels are grey, however they are stored
    is_animated: bool = False  # it holds several frames, of which the first counts
    format: str = ""  # the content's, in Pillow's words
    has_wrong_suffix: bool = False  # the suffix belongs to another format
    quality: int | None = None  # JPEG quality, 1 to 100, estimated from the quantisation table
    pixels: bytes = b""  # hash of the decoded pixels with their shape
    look: bytes = b""  # the difference hash
    thumbnail: bytes = b""  # grey, THUMBNAIL x THUMBNAIL values


def take_print(path: Path, part: str) -> Print:
    """Decode a picture fully and return its print; a fault is a finding, not an exception."""
    try:
        with open_picture(path) as image:
            form = image.format or ""
            tables = getattr(image, "quantization", None)
            is_animated = getattr(image, "n_frames", 1) > 1 and form in ("GIF", "PNG", "WEBP")
        picture = read_picture(path, channels=None)
    except DataError as error:
        return Print(path, part, error=str(error))
    form = "JPEG" if form == "MPO" else form
    look, thumbnail = _looks(picture)
    return Print(
        path=path,
        part=part,
        width=picture.pixels.shape[1],
        height=picture.pixels.shape[0],
        bits=picture.bits,
        has_alpha=_is_transparent(picture),
        is_grey=_is_grey(picture),
        is_animated=is_animated,
        format=form,
        has_wrong_suffix=_FORMATS.get(path.suffix.lower()) != form,
        quality=_quality(tables) if form == "JPEG" and tables else None,
        pixels=_hash(picture),
        look=look,
        thumbnail=thumbnail,
    )


def _hash(picture: Picture) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{picture.pixels.shape} {picture.pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(picture.pixels).data)
    if picture.alpha is not None:
        digest.update(np.ascontiguousarray(picture.alpha).data)
    return digest.digest()


def _looks(picture: Picture) -> tuple[bytes, bytes]:
    image = to_image(to_8_bits(picture.pixels)).convert("L")
    cells = np.asarray(image.resize((9, 9), Image.Resampling.BOX), np.int16)
    across = cells[:8, :8] > cells[:8, 1:]  # (8, 8), 64 bits, and as many below
    down = cells[:8, :8] > cells[1:, :8]
    bits = np.packbits(np.concatenate([across.ravel(), down.ravel()]))
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return bits.tobytes(), small.tobytes()


def _is_transparent(picture: Picture) -> bool:
    return picture.alpha is not None and bool(
        (picture.alpha < np.iinfo(picture.alpha.dtype).max).any()
    )


def _is_grey(picture: Picture) -> bool:
    pixels = picture.pixels
    if pixels.shape[2] == 1:
        return True
    # JPEG gives grey pictures stored as colour a tint of a step or two.
    spread = pixels.max(axis=2).astype(np.int32) - pixels.min(axis=2)
    return int(np.percentile(spread, 99)) <= 3


def _quality(tables: dict[int, list[int]]) -> int:
    # The quality whose table, scaled as libjpeg does, has the nearest sum.
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = (np.array(_LUMINANCE)[None, :] * scale[:, None] + 50) // 100
    sums = np.clip(table, 1, 255).sum(axis=1)
    return int(np.abs(sums - sum(tables[min(tables)])).argmin()) + 1
