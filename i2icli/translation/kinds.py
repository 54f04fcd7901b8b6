"""The kinds of pictures that Python code may hand to a translator, and back again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from i2icli.pictures.decode import decode
from i2icli.pictures.encode import to_image
from i2icli.pictures.images import Picture, Pixels, read_picture, to_8_bits, with_channels

Kind = str | Path | bytes | Image.Image | Picture | Pixels


def to_picture(value: object, *, channels: int) -> Picture:
    """Bring a path, a file's bytes, Pillow image, array or picture to 1 or 3 channels.

    Arrays are (H, W), (H, W, 1) or (H, W, 3), or with alpha last (H, W, 2) or (H, W, 4), uint8 or
    uint16.

    Raises:
        DataError: if a file cannot be read.
        TypeError: if the value is none of these.
        ValueError: if an array has another shape or type.
    """
    if isinstance(value, str | Path):
        return read_picture(Path(value), channels=channels)
    if isinstance(value, bytes):
        return read_picture(Path("the picture"), channels=channels, content=value)
    if isinstance(value, Picture):
        picture = value
    elif isinstance(value, Image.Image):
        pixels, alpha = decode(value, Path("the picture"))
        picture = Picture(pixels, alpha)
    elif isinstance(value, np.ndarray):
        picture = _split_array(value)
    else:
        raise TypeError(
            f"cannot translate a {type(value).__name__}: give a path, a file's bytes, a Pillow "
            "image, a NumPy array, a tensor, or a list of these"
        )
    return replace(picture, pixels=with_channels(picture.pixels, channels))


def to_batch(images: Tensor, direction: str, *, channels: int) -> Tensor:
    """Return a tensor of pictures, (C, H, W) or (B, C, H, W), as (B, C, H, W) float32.

    Raises:
        ValueError: if it has another shape or no floats.
    """
    if not images.is_floating_point() or images.ndim not in (3, 4):
        raise ValueError(
            f"a tensor of {images.dtype} and shape {tuple(images.shape)} is no picture: give "
            "floats in [-1, 1], (C, H, W) or (B, C, H, W)"
        )
    if images.shape[-3] != channels or 0 in images.shape:
        raise ValueError(
            f"a tensor of shape {tuple(images.shape)} does not suit: {direction} takes "
            f"{channels} channels, (..., {channels}, H, W)"
        )
    return (images if images.ndim == 4 else images[None]).float()


def to_kind_of(value: object, pixels: Pixels, picture: Picture) -> Image.Image | Picture | Pixels:
    """Bring pixels, (H, W, C'), to the kind of what was translated; else to a Pillow image.

    Alpha is that of `picture`, which `to_picture` made of `value`.
    """
    if isinstance(value, Picture):
        return replace(value, pixels=pixels)
    if not isinstance(value, np.ndarray):
        return _to_image(pixels, picture.alpha)
    if picture.alpha is not None:
        return np.concatenate([pixels, picture.alpha[..., None]], axis=2)
    return pixels[..., 0] if value.ndim == 2 and pixels.shape[2] == 1 else pixels


def _split_array(array: Pixels) -> Picture:
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"an array of {array.dtype} has no known range: give uint8 or uint16, "
            "or a float tensor in [-1, 1]"
        )
    layers = array[..., None] if array.ndim == 2 else array
    if layers.ndim != 3 or not 1 <= layers.shape[2] <= 4 or 0 in layers.shape:
        raise ValueError(f"an array of shape {array.shape} is no picture: give (H, W) or (H, W, C)")
    if layers.shape[2] in (2, 4):
        return Picture(layers[..., :-1], np.ascontiguousarray(layers[..., -1]))
    return Picture(layers)


def _to_image(pixels: Pixels, alpha: Pixels | None) -> Image.Image:
    # Pillow holds 16 bits in grey pictures without alpha alone.
    if pixels.dtype == np.uint16 and pixels.shape[2] == 1 and alpha is None:
        return Image.fromarray(pixels[..., 0])
    return to_image(to_8_bits(pixels), None if alpha is None else to_8_bits(alpha))
