"""Opening a picture file and bringing its pixels into one form: upright, sRGB, alpha apart.

What every kind of file becomes is written down in `docs/pictures.md`. Nothing here needs torch.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from i2icli.errors import ConfigError, DataError

Pixels = NDArray[np.uint8 | np.uint16]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
MAX_PIXELS = 500_000_000

# Only these decoders may run: by content alone Pillow would hand an EPS file to Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_GREY = ("1", "L", "LA", "La")
_HEADER_LOCKS: dict[int, threading.Lock] = {}


def max_pixels() -> int:
    """Return the most pixels of a picture: `I2I_MAX_PIXELS`, else 500 million.

    Raises:
        ConfigError: when the variable is not a whole number above 0.
    """
    text = os.environ.get("I2I_MAX_PIXELS")
    if text is None:
        return MAX_PIXELS
    try:
        limit = int(text.replace("_", ""))
    except ValueError:
        limit = 0
    if limit < 1:
        raise ConfigError(
            f"I2I_MAX_PIXELS is {text!r}: give a whole number of pixels above 0, "
            f"for example I2I_MAX_PIXELS={MAX_PIXELS}"
        )
    return limit


@contextmanager
def open_picture(path: Path, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open a picture file, its header read and its size accepted, its pixels not yet decoded.

    Where `content` is given, the file's bytes, `path` is only its name in messages.

    Raises:
        DataError: naming the file, when it is missing, no picture, damaged or too large; also
            for whatever goes wrong with the file inside the `with` block.
    """
    try:
        with _open_stream(path, content) as stream, _open_header(stream) as image:
            _check_size(image, path)
            yield image
    except (DataError, ConfigError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not a JPEG, PNG, WebP, BMP, TIFF or GIF picture, or its beginning is "
            "damaged; `i2i data check` lists all such files"
        ) from error
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory") from error
    except OSError as error:
        if error.errno is None:  # the decoder's own, not the system's
            raise _damaged(path, error) from error
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # decoders raise anything on damaged files
        raise _damaged(path, error) from error


def decode(image: Image.Image, path: Path) -> tuple[Pixels, Pixels | None]:
    """Decode a picture of `open_picture`: upright, in sRGB, its alpha channel apart.

    Returns:
        Pixels in their native number of channels, (H, W, 1 or 3) uint8 or uint16, and alpha,
        (H, W) of the same type, or None for a picture without transparency.
    """
    image.load()  # the first frame or page of a file that has several
    image = _turn_upright(image)
    if image.mode in _DEEP_GREY:
        return _decode_deep_grey(image, path)
    alpha = None
    if image.has_transparency_data:
        profile = image.info.get("icc_profile")
        image = image.convert("LA" if image.mode in _GREY else "RGBA")
        alpha = np.array(image.getchannel("A"))
        image = image.convert("L" if image.mode == "LA" else "RGB")
        image.info["icc_profile"] = profile
    pixels = np.array(_to_srgb(image))
    return pixels.reshape(*pixels.shape[:2], -1), alpha


def upright_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Return (width, height) as the picture is meant to be seen, from its header alone."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow has swapped them where needed
        return width, height
    if image.format == "PNG" and "exif" not in image.info and _has_late_metadata(image):
        image.load()  # Pillow reaches what lies behind the pixels only by decoding them
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def luma(pixels: Pixels) -> Pixels:
    """Reduce colour, (H, W, 3), to grey, (H, W, 1), by ITU-R 601 luma, with Pillow's rounding."""
    weights = np.array([19595, 38470, 7471], dtype=np.uint64)
    total = pixels.astype(np.uint64) @ weights
    grey: Pixels = ((total + 0x8000) >> np.uint64(16)).astype(pixels.dtype)[..., None]
    return grey


def _open_stream(path: Path, content: bytes | None) -> IO[bytes]:
    if content is None:
        _check_is_file(path)
        return path.open("rb")
    if not content:
        raise DataError(f"{path} is empty (0 bytes)")
    return BytesIO(content)


def _check_is_file(path: Path) -> None:
    if path.is_file():
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)")
        return
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link to {os.readlink(path)}, which does not exist")
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a picture")
    if not path.exists():
        raise DataError(f"{path} does not exist")
    raise DataError(f"{path} is not a regular file")


def _open_header(stream: IO[bytes]) -> ImageFile.ImageFile:
    # Without Pillow's limit on the size, since `_check_size` applies our own.
    with _quietly():
        pillow_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(stream, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit


@contextmanager
def _quietly() -> Iterator[None]:
    # Warning filters and Pillow's limit are global, hence the lock; one a process, since a lock
    # that another thread holds during a fork would stay closed in the child.
    lock = _HEADER_LOCKS.setdefault(os.getpid(), threading.Lock())
    with lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_size(image: Image.Image, path: Path) -> None:
    limit = max_pixels()
    width, height = image.size
    if width * height > limit:
        raise DataError(
            f"{path} has {width} x {height} = {width * height} pixels, more than the limit of "
            f"{limit}; if it is what it should be, set I2I_MAX_PIXELS={width * height}"
        )


def _damaged(path: Path, error: Exception) -> DataError:
    lines = str(error).strip().splitlines()
    reason = (lines[0][:120] if lines else type(error).__name__).rstrip(".")
    return DataError(
        f"{path} is damaged or incomplete ({reason}); `i2i data check` lists all such files"
    )


def _turn_upright(image: Image.Image) -> Image.Image:
    # Pillow has already turned TIFF and dropped the tag.
    method = None if image.format == "TIFF" else _UPRIGHT.get(_orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info.update(image.info)
    return turned


def _orientation(image: Image.Image) -> int:
    try:
        with _quietly():
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture is not worse for broken metadata, which raises anything
        return 1


def _has_late_metadata(image: ImageFile.ImageFile) -> bool:
    stream = image.fp
    assert stream is not None, "an opened picture has its file"
    position = stream.tell()
    try:
        stream.seek(8)
        while len(head := stream.read(8)) == 8 and head[4:] not in (b"eXIf", b"iTXt"):
            stream.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return len(head) == 8
    finally:
        stream.seek(position)


def _decode_deep_grey(image: Image.Image, path: Path) -> tuple[Pixels, Pixels | None]:
    # Integers are taken as they are; real numbers that all lie in [0, 1] are scaled by 65535,
    # others are rounded. All must lie in 0..65535.
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    scale = 65535.0 if image.mode == "F" and high <= 1.0 else 1.0
    if not (low >= 0.0 and high * scale <= 65535.0):
        raise DataError(
            f"{path} holds values from {low:g} to "
            f"{high:g}; grey pictures may hold 0 to 65535, or real numbers from 0 to 1"
        )
    if image.mode == "F":
        values = np.rint(values.astype(np.float64) * scale)
    grey = values.astype(np.uint16)
    transparent = image.info.get("transparency")
    alpha = None
    if isinstance(transparent, int):
        alpha = np.where(grey == transparent, 0, 65535).astype(np.uint16)
    return grey[..., None], alpha


def _to_srgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return _lab_transform().apply(image)
    profile = image.info.get("icc_profile")
    if image.mode in ("L", "RGB", "CMYK") and profile:
        transform = _srgb_transform(profile, image.mode)
        if transform is not None:
            converted = transform.apply(image)
            return converted.getchannel("G") if image.mode == "L" else converted
    wanted = "L" if image.mode in _GREY else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


@lru_cache(maxsize=32)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    # A profile that calls itself sRGB is left alone, so that such pictures keep their exact values.
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
