"""Writing pictures: each format's best form of the pixels, and never half a file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2icli.errors import DataError, I2IError
from i2icli.pictures.decode import Pixels
from i2icli.pictures.mark import mark_options, mark_png, png_chunk
from i2icli.system.faults import advice
from i2icli.system.files import write_whole

# Suffix to Pillow's name of the format.
WRITABLE = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
# Names by which people ask for pictures and documents that i2i does not write.
UNWRITABLE = frozenset(
    f".{name}"
    for names in (
        "gif avif avifs heic heif hif jp2 j2k jpx jpf jpc jxl jxr wdp jpe jif jfif apng",
        "pdf ps eps svg psd xcf kra tga ppm pgm pbm pnm pfm exr hdr ico icns dds pcx qoi sgi",
        "xbm xpm fits dng raw cr2 cr3 nef arw orf raf rw2 dcm nii mp4 mov webm avi mkv",
    )
    for name in names.split()
)
_WITH_ALPHA = ("PNG", "WEBP", "TIFF")
_WHITE = (255, 255, 255)


def write_picture(
    path: Path,
    pixels: Pixels,
    *,
    alpha: Pixels | None = None,
    quality: int = 95,
    matte: tuple[int, int, int] = _WHITE,
    is_marked: bool = False,
) -> None:
    """Write pixels, (H, W, 1 or 3), and alpha, (H, W), in the format of the suffix, or nothing.

    16 bits are kept by PNG (grey and colour, with alpha) and by TIFF (grey without alpha);
    elsewhere they become 8. JPEG and BMP have no alpha: the picture is laid over the matte, an
    8-bit colour. `quality` is of JPEG and WebP, 1 to 100. `is_marked`: with the mark of
    `pictures.mark`, which BMP cannot carry. Missing folders are made.

    Raises:
        DataError: for a suffix that i2i does not write, or a picture that the format cannot hold.
        I2IError: when the file cannot be written; nothing is left behind then.
    """
    content = encode_picture(
        pixels,
        suffix=path.suffix,
        alpha=alpha,
        quality=quality,
        matte=matte,
        is_marked=is_marked,
    )
    _write_file(path, content)


def write_labels(
    path: Path,
    labels: NDArray[np.int64],
    colours: Sequence[tuple[int, int, int]],
    *,
    is_marked: bool = False,
) -> None:
    """Write ids, (H, W) from 0 to 255, as palette PNG, all of it or nothing: they are its indices.

    Colours are those of the ids from 0 on; the others are black.

    Raises:
        DataError: for another suffix, or ids that a byte does not hold.
        I2IError: as `write_picture`.
    """
    if path.suffix.lower() != ".png":
        raise DataError(f"cannot write {path}: label maps are written as PNG, which keeps the ids.")
    _write_file(path, encode_labels(labels, colours, name=path, is_marked=is_marked))


def encode_labels(
    labels: NDArray[np.int64],
    colours: Sequence[tuple[int, int, int]],
    *,
    name: object,
    is_marked: bool = False,
) -> bytes:
    """Return the bytes of the file that `write_labels` writes; `name` is what errors call it."""
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= 255:
        raise DataError(
            f"cannot write {name}: its ids run from {labels.min()} to {labels.max()}, and a "
            "palette holds 0 to 255."
        )
    image = Image.fromarray(np.ascontiguousarray(labels.astype(np.uint8)))
    entries = np.zeros((256, 3), np.uint8)
    entries[: len(colours)] = np.array(colours, np.uint8).reshape(-1, 3)[:256]
    image.putpalette(entries.tobytes())
    return _save(image, "PNG", quality=100, is_marked=is_marked)


def encode_picture(
    pixels: Pixels,
    *,
    suffix: str,
    alpha: Pixels | None = None,
    quality: int = 95,
    matte: tuple[int, int, int] = _WHITE,
    is_marked: bool = False,
) -> bytes:
    """Return the bytes of the file that `write_picture` writes."""
    name = WRITABLE.get(suffix.lower())
    if name is None:
        raise DataError(
            f"cannot write pictures as {suffix or 'a file without suffix'!s}: "
            f"use one of {', '.join(sorted(WRITABLE))}"
        )
    if alpha is not None and name not in _WITH_ALPHA:
        pixels, alpha = _flatten(pixels, alpha, matte), None
    if pixels.dtype == np.uint16:
        if name == "PNG":
            content = encode_png16(pixels, alpha)
            return mark_png(content) if is_marked else content
        if name == "TIFF" and pixels.shape[2] == 1 and alpha is None:
            return _save(Image.fromarray(pixels[..., 0]), name, quality, is_marked)
        pixels = to_8_bits(pixels)
        alpha = None if alpha is None else to_8_bits(alpha)
    return _save(to_image(pixels, alpha), name, quality, is_marked)


def to_8_bits(values: Pixels) -> Pixels:
    """Scale 16-bit values so that 65535 becomes 255, rounded; 8-bit values stay as they are."""
    if values.dtype == np.uint8:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def encode_png16(pixels: Pixels, alpha: Pixels | None = None) -> bytes:
    """Encode uint16, (H, W, 1 or 3) and alpha (H, W), as PNG, which Pillow does for grey alone."""
    layers = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=2)
    height, width, count = layers.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    rows = layers.astype(">u2").view(np.uint8).reshape(height, width * count * 2)
    lines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = 2  # every line as its difference from the one above (PNG filter "Up")
    lines[:, 1:] = rows
    lines[1:, 1:] -= rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            png_chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)),
            png_chunk(b"IEND", b""),
        ]
    )


def _flatten(pixels: Pixels, alpha: Pixels, matte: tuple[int, int, int]) -> Pixels:
    top = int(np.iinfo(pixels.dtype).max)
    colour = np.array(matte, dtype=np.float64) * (top / 255)
    if pixels.shape[2] == 1 and len(set(matte)) == 1:
        colour = colour[:1]
    share = alpha[..., None].astype(np.float64) / top
    mixed = pixels * share + colour * (1.0 - share)
    flat: Pixels = np.rint(mixed).astype(pixels.dtype)
    return flat


def to_image(pixels: Pixels, alpha: Pixels | None = None) -> Image.Image:
    """Return pixels, (H, W, 1 or 3) uint8, and alpha, (H, W), as a Pillow image."""
    layers = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=2)
    return Image.fromarray(layers[..., 0] if layers.shape[2] == 1 else np.ascontiguousarray(layers))


def _save(image: Image.Image, name: str, quality: int, is_marked: bool) -> bytes:
    options = mark_options(name) if is_marked else {}
    if name == "JPEG":
        options |= {"quality": quality, "subsampling": 0}  # colour at full resolution
    elif name == "WEBP":
        options |= {"quality": quality, "exact": True}  # keep colours under transparency
    elif name == "TIFF":
        options |= {"compression": "tiff_adobe_deflate"}
    stream = BytesIO()
    try:
        image.save(stream, name, **options)
    except (OSError, ValueError) as error:
        width, height = image.size
        raise DataError(
            f"a picture of {width} x {height} cannot be stored as {name} ({error}); use .png"
        ) from error
    content = stream.getvalue()
    return mark_png(content) if is_marked and name == "PNG" else content


def _write_file(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, is_shared=True)
    except OSError as error:
        said = f"cannot write {path}: {error.strerror or error}. {advice(error)}"
        raise I2IError(said) from error
