"""Tensors of any size through a method: pad, translate, crop back.

Training samples, measurements, `i2i translate` and the Python API all end here, so the same
picture gives the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from i2icli.errors import ConfigError
from i2icli.methods.shared.base import Method, Translation
from i2icli.system.device import autocast


def translate_tensor(
    method: Method,
    images: Tensor,
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
    style: Tensor | None = None,
) -> Tensor:
    """Translate pictures of one size, whatever that size is.

    Dropout is off and no gradient is recorded. The method's training mode, and that of each of
    its parts, is afterwards what it was.

    Args:
        method: the method, on the device that computes.
        images: source pictures, (B, C, H, W) in [-1, 1], on any device, H and W at least 1.
        direction: one of `method.directions`.
        precision: type of the autocast region; `torch.float32` means none.
        style: as in `translate_full`.

    Returns:
        The translations, (B, C', H, W) in [-1, 1], float32, on the device of the method.

    Raises:
        ConfigError: if the method does not translate in that direction, or has no styles.
    """
    full = translate_full(method, [images], direction, precision=precision, style=style)
    return full[0].images


def translate_full(
    method: Method,
    images: Sequence[Tensor],
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
    style: Tensor | None = None,
) -> list[Translation]:
    """Translate pictures of several sizes that have one padded size, together.

    On a CPU the result for a picture is bit for bit the same whatever it is with; on a GPU the
    libraries choose their algorithms by the size of the batch, which changes the rounding.

    Args:
        method: as in `translate_tensor`.
        images: source pictures, each (B_i, C, H_i, W_i) in [-1, 1]; `padded_side` of all the
            H_i is one number, and of all the W_i one number.
        direction: as in `translate_tensor`.
        precision: as in `translate_tensor`.
        style: a style code for all, (style_size,), or one a picture, (B, style_size), where B is
            the sum of the B_i; None: the method's `default_style`, if it has styles.

    Returns:
        For each entry what became of it, cut to its size: images (B_i, C', H_i, W_i) in [-1, 1]
        and masks (B_i, 1, H_i, W_i) in [0, 1], float32; labels (B_i, H_i, W_i), int64, or None.

    Raises:
        ConfigError: as in `translate_tensor`, or a style for a method that has none.
        ValueError: if the style has another shape.
    """
    check_direction(method, direction)
    device = next(method.parameters()).device
    padded = torch.cat([pad_to_suit(method, part) for part in images]).to(device)
    padded = padded.contiguous(memory_format=method.memory_format)
    # On a CPU one picture at a time: more at once are no faster, and rounding would depend on
    # how many there are, so that a batch would not equal its pictures bit for bit.
    step = 1 if device.type == "cpu" else len(padded)
    styles = styles_for(method, style, count=len(padded))
    codes = None if styles is None else styles.to(device)
    with torch.inference_mode(), evaluating(method), autocast(device, precision):
        translated = _join(
            [
                method.translate(
                    padded[at : at + step],
                    direction=direction,
                    style=None if codes is None else codes[at : at + step],
                )
                for at in range(0, len(padded), step)
            ]
        )
    ends = list(accumulate((len(part) for part in images), initial=0))
    return [
        _part(translated, slice(*places), size=(source.shape[-2], source.shape[-1]))
        for places, source in zip(pairwise(ends), images, strict=True)
    ]


def styles_for(method: Method, style: Tensor | None, *, count: int) -> Tensor | None:
    """Return a style code for each of `count` pictures, (count, style_size), float32.

    Args:
        method: whose styles they are.
        style: (style_size,) or (count, style_size); None: the method's `default_style`.
        count: pictures.

    Returns:
        None where the method has no styles.

    Raises:
        ConfigError: if there is a style, and the method has none.
        ValueError: if the style has another shape.
    """
    size = method.style_size
    if size == 0:
        if style is not None:
            check_styles(method)
        return None
    codes = method.default_style() if style is None else style
    if tuple(codes.shape) not in ((size,), (count, size)):
        raise ValueError(
            f"a style of shape {tuple(codes.shape)} does not suit: give ({size},), or "
            f"({count}, {size}) for {count} pictures"
        )
    return codes.detach().float().expand(count, size)


def check_styles(method: Method) -> None:
    """Refuse styles for a method that has none.

    Raises:
        ConfigError: saying that its translation of a picture is always the same.
    """
    if method.style_size == 0:
        raise ConfigError(
            "this checkpoint's method has no styles, it makes one translation of a picture: leave "
            "the style out (--styles, --style-from)."
        )


def _join(parts: Sequence[Translation]) -> Translation:
    """Return the translations of one batch after the other as those of one batch."""
    labels = [part.labels for part in parts if part.labels is not None]
    return Translation(
        torch.cat([part.images for part in parts]),
        torch.cat(labels) if labels else None,
        {name: torch.cat([part.masks[name] for part in parts]) for name in parts[0].masks},
    )


def _part(translated: Translation, places: slice, *, size: tuple[int, int]) -> Translation:
    """Return some of a batch without its padding.

    These are copies: ordinary tensors, which autograd and pickle take without the batch.
    """
    height, width = size

    def cut(tensor: Tensor, kind: torch.dtype = torch.float32) -> Tensor:
        return tensor[places, ..., :height, :width].to(
            kind, copy=True, memory_format=torch.contiguous_format
        )

    return Translation(
        cut(translated.images),
        None if translated.labels is None else cut(translated.labels, torch.int64),
        {name: cut(mask) for name, mask in translated.masks.items()},
    )


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
    training = [part for part in method.modules() if part.training]
    if training:  # setting the mode takes longer than a small picture
        method.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def quiet_randomness(method: Method) -> AbstractContextManager[None]:
    """Return a context that gives back the random states of the CPU and the method's device."""
    device = next(method.parameters()).device
    devices = [device] if device.type == "cuda" else []
    forked: AbstractContextManager[None] = torch.random.fork_rng(devices=devices)
    return forked
