"""Decoded pictures through a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2icli.methods.shared.base import Method, Translation
from i2icli.pictures.images import Picture, Pixels, from_tensor, to_tensor
from i2icli.pictures.label_maps import Labels
from i2icli.translation.pixels import (
    check_direction,
    check_styles,
    padded_side,
    translate_full,
)

_ROWS = 256  # of a picture that are rounded at once


@dataclass(frozen=True)
class TranslatedPicture:
    """What a method makes of one picture.

    Attributes:
        pixels: the translation, (H, W, C'), uint8 or uint16; of a label map a drawing in colours.
        labels: the label map, (H, W) int64; None where the method does not segment.
        masks: maps by name, (H, W) float32 in [0, 1]; empty where the method makes none.
    """

    pixels: Pixels
    labels: Labels | None = None
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def translate_pictures(
    method: Method,
    pictures: Sequence[Picture],
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
    batch_size: int = 1,
    style: Tensor | None = None,
) -> list[Pixels]:
    """Translate decoded pictures of any sizes; the result does not depend on what they are with.

    Args:
        method: the method, on the device that computes.
        pictures: read with as many channels as `source_channels` says.
        direction: one of `method.directions`.
        precision: type of the autocast region; 16-bit pictures are translated in float32.
        batch_size: pictures of one size that go through the networks together.
        style: a style code, (style_size,); None: the method's default, if it has styles.

    Returns:
        For each picture the pixels of its translation, (H, W, C'), of the picture's own type,
        uint8 or uint16. Alpha is left with the picture.

    Raises:
        ConfigError: if the method does not translate in that direction, or has no styles.
    """
    made = translate_pictures_full(
        method, pictures, direction, precision=precision, batch_size=batch_size, style=style
    )
    return [one.pixels for one in made]


def translate_pictures_full(
    method: Method,
    pictures: Sequence[Picture],
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
    batch_size: int = 1,
    style: Tensor | None = None,
) -> list[TranslatedPicture]:
    """Translate as `translate_pictures` does, and return all that the method makes."""
    check_direction(method, direction)
    if style is not None:
        check_styles(method)
    groups: dict[object, list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(batch_key(method, picture), []).append(index)
    results: dict[int, TranslatedPicture] = {}
    for indices in groups.values():
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            batch = [pictures[i] for i in chosen]
            translated = translate_batch(method, batch, direction, precision=precision, style=style)
            for i, translation in zip(chosen, translated, strict=True):
                results[i] = to_translated_picture(translation, pictures[i])
    return [results[i] for i in range(len(pictures))]


def translate_batch(
    method: Method,
    pictures: Sequence[Picture],
    direction: str,
    *,
    precision: torch.dtype,
    style: Tensor | None = None,
) -> list[Translation]:
    """Translate pictures that have one `batch_key`, in one forward pass.

    Args:
        method: as in `translate_pictures`.
        pictures: read with as many channels as `source_channels` says.
        direction: one of `method.directions`.
        precision: as in `translate_pictures`.
        style: style codes, (style_size,) for all or (B, style_size).

    Returns:
        For each picture its translation, a batch of one, on the CPU.
    """
    if pictures[0].bits == 16:
        precision = torch.float32  # 16-bit floats hold 8 to 11 bits of a 16-bit picture
    images = [to_tensor(picture.pixels)[None] for picture in pictures]
    translated = translate_full(method, images, direction, precision=precision, style=style)
    return [
        Translation(
            one.images.cpu(),
            None if one.labels is None else one.labels.cpu(),
            {name: mask.cpu() for name, mask in one.masks.items()},
        )
        for one in translated
    ]


def batch_key(method: Method, picture: Picture) -> tuple[int, int, int]:
    """Return what pictures must have in common to go through the networks together."""
    width, height = picture.size
    return padded_side(method, height), padded_side(method, width), picture.bits


def to_translated_picture(translation: Translation, picture: Picture) -> TranslatedPicture:
    """Bring a translation, a batch of one on the CPU, to the depth of the picture it is of."""
    return TranslatedPicture(
        _to_pixels(translation.images[0], bits=picture.bits),
        None if translation.labels is None else translation.labels[0].numpy(),
        {name: mask[0, 0].numpy() for name, mask in translation.masks.items()},
    )


def _to_pixels(image: Tensor, *, bits: int) -> Pixels:
    """Return the pixels of (C, H, W), some rows at a time: rounding takes copies in float32."""
    channels, height, width = image.shape
    pixels = np.empty((height, width, channels), np.uint16 if bits == 16 else np.uint8)
    for top in range(0, height, _ROWS):
        pixels[top : top + _ROWS] = from_tensor(image[:, top : top + _ROWS], bits=bits)
    return pixels


def mask_pixels(mask: NDArray[np.float32]) -> Pixels:
    """Round a mask, (H, W) in [0, 1], clipped, to grey pixels, (H, W, 1) uint8."""
    pixels: Pixels = np.rint(mask.clip(0.0, 1.0) * 255).astype(np.uint8)[..., None]
    return pixels


def source_channels(method: Method, direction: str) -> int:
    """Return the channels that pictures are read with for a direction."""
    return method.channels["a" if direction == "a2b" else "b"]


def target_channels(method: Method, direction: str) -> int:
    """Return the channels of what a direction leads to."""
    return method.channels["b" if direction == "a2b" else "a"]
