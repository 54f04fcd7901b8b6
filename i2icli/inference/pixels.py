"""Tensors of any size through a method: pad, translate, crop back.

Training samples, measurements, `i2i translate` and the Python API all end here, so the same
picture gives the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from i2icli.errors import ConfigError
from i2icli.methods.base import Method
from i2icli.runtime import autocast


def translate_tensor(
    method: Method,
    images: Tensor,
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Translate pictures of one size, whatever that size is.

    Dropout is off and no gradient is recorded. The method's training mode, and that of each of
    its parts, is afterwards what it was.

    Args:
        method: the method, on the device that computes.
        images: source pictures, (B, C, H, W) in [-1, 1], on any device, H and W at least 1.
        direction: one of `method.directions`.
        precision: type of the autocast region; `torch.float32` means none.

    Returns:
        The translations, (B, C', H, W) in [-1, 1], float32, on the device of the method.

    Raises:
        ConfigError: if the method does not translate in that direction.
    """
    return translate_tensors(method, [images], direction, precision=precision)[0]


def translate_tensors(
    method: Method,
    images: Sequence[Tensor],
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Translate pictures of several sizes that have one padded size, together.

    On a CPU the result for a picture is bit for bit the same whatever it is with; on a GPU the
    libraries choose their algorithms by the size of the batch, which changes the rounding.

    Args:
        method: as in `translate_tensor`.
        images: source pictures, each (B_i, C, H_i, W_i) in [-1, 1]; `padded_side` of all the
            H_i is one number, and of all the W_i one number.
        direction: as in `translate_tensor`.
        precision: as in `translate_tensor`.

    Returns:
        For each entry its translations, (B_i, C', H_i, W_i) in [-1, 1], float32.

    Raises:
        ConfigError: as in `translate_tensor`.
    """
    check_direction(method, direction)
    device = next(method.parameters()).device
    padded = torch.cat([pad_to_suit(method, part) for part in images]).to(device)
    with torch.inference_mode(), evaluating(method), autocast(device, precision):
        # On a CPU one picture at a time: more at once are no faster, and rounding would depend on
        # how many there are, so that a batch would not equal its pictures bit for bit.
        portions = torch.split(padded, 1 if device.type == "cpu" else len(padded))
        translated = torch.cat([method.translate(p, direction=direction).images for p in portions])
    parts = torch.split(translated.float(), [len(part) for part in images])
    # Copies: ordinary tensors, which autograd and pickle take without the padding or the batch.
    return [
        part[..., : source.shape[-2], : source.shape[-1]].clone()
        for part, source in zip(parts, images, strict=True)
    ]


def check_direction(method: Method, direction: str) -> None:
    """Refuse a direction that the method does not offer.

    Raises:
        ConfigError: naming the directions there are.
    """
    if direction not in method.directions:
        known = " or ".join(method.directions)
        raise ConfigError(f"this checkpoint does not translate {direction!r}: it offers {known}.")


def padded_side(method: Method, side: int) -> int:
    """Return the side that a picture's side is padded to, pixels.

    It is the smallest multiple of `method.size_multiple` that holds `side` and `method.min_size`.
    """
    return -(-max(side, method.min_size) // method.size_multiple) * method.size_multiple


def pad_to_suit(method: Method, images: Tensor) -> Tensor:
    """Pad pictures on the right and at the bottom to a size that the method takes.

    The top left pixel stays where it is, so the networks' strides fall on the picture as in
    training. Pixels are mirrored at the border; on an axis where the picture is not larger than
    the padding, its last pixel is repeated.

    Args:
        method: says what sizes it takes.
        images: (B, C, H, W).

    Returns:
        (B, C, H', W'), `images` itself where nothing is missing.
    """
    height, width = images.shape[-2:]
    right = padded_side(method, width) - width
    bottom = padded_side(method, height) - height
    if right:
        images = F.pad(images, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    if bottom:
        images = F.pad(
            images, (0, 0, 0, bottom), mode="reflect" if bottom < height else "replicate"
        )
    return images


@contextmanager
def evaluating(method: Method) -> Iterator[None]:
    """Put the method in evaluation mode, and each of its parts back to its own mode afterwards."""
    modes = [(part, part.training) for part in method.modules()]
    method.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
