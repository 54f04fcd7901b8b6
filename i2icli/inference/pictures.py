"""Decoded pictures through a method."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from i2icli.data.images import Picture, Pixels, from_tensor, to_tensor
from i2icli.inference.pixels import check_direction, padded_side, translate_tensors
from i2icli.methods.base import Method


def translate_pictures(
    method: Method,
    pictures: Sequence[Picture],
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
    batch_size: int = 1,
) -> list[Pixels]:
    """Translate decoded pictures of any sizes; the result does not depend on what they are with.

    Args:
        method: the method, on the device that computes.
        pictures: read with as many channels as `source_channels` says.
        direction: one of `method.directions`.
        precision: type of the autocast region; 16-bit pictures are translated in float32.
        batch_size: pictures of one size that go through the networks together.

    Returns:
        For each picture the pixels of its translation, (H, W, C'), of the picture's own type,
        uint8 or uint16. Alpha is left with the picture.

    Raises:
        ConfigError: if the method does not translate in that direction.
    """
    check_direction(method, direction)
    groups: dict[object, list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(batch_key(method, picture), []).append(index)
    results: dict[int, Pixels] = {}
    for indices in groups.values():
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            batch = [pictures[i] for i in chosen]
            translated = translate_batch(method, batch, direction, precision=precision)
            for i, image in zip(chosen, translated, strict=True):
                results[i] = to_pixels(image, pictures[i])
    return [results[i] for i in range(len(pictures))]


def translate_batch(
    method: Method, pictures: Sequence[Picture], direction: str, *, precision: torch.dtype
) -> list[Tensor]:
    """Translate pictures that have one `batch_key`, in one forward pass.

    Returns:
        For each picture its translation, (C', H, W) in [-1, 1], float32, on the CPU.
    """
    if pictures[0].bits == 16:
        precision = torch.float32  # 16-bit floats hold 8 to 11 bits of a 16-bit picture
    images = [to_tensor(picture.pixels)[None] for picture in pictures]
    translated = translate_tensors(method, images, direction, precision=precision)
    return [image[0].cpu() for image in translated]


def batch_key(method: Method, picture: Picture) -> tuple[int, int, int]:
    """Return what pictures must have in common to go through the networks together."""
    width, height = picture.size
    return padded_side(method, height), padded_side(method, width), picture.bits


def to_pixels(image: Tensor, picture: Picture) -> Pixels:
    """Round a translation, (C', H, W) in [-1, 1], to the depth of the picture it was made from."""
    return from_tensor(image, bits=picture.bits)


def source_channels(method: Method, direction: str) -> int:
    """Return the channels that pictures are read with for a direction."""
    return method.channels["a" if direction == "a2b" else "b"]
