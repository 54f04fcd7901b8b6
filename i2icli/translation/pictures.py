"""Pictures of any size through a method: where a picture meets a network.

Training samples, measurements, `i2i translate`, views and the Python API all come through
`translate_images`, so the same picture gives the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from i2icli.errors import ConfigError
from i2icli.methods.shared.base import Method, Translation
from i2icli.pictures.images import Picture, Pixels, from_tensor, to_tensor
from i2icli.pictures.label_maps import Labels
from i2icli.system.device import autocast
from i2icli.system.waiting import look_around
from i2icli.translation.full_size import WayBack, at_full_size, change_of, way_back
from i2icli.translation.scale import AS_IS, Scale

CPU = torch.device("cpu")
_ROWS = 256  # of a picture that are rounded at once: rounding takes copies in float32


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
    scale: Scale = AS_IS,
) -> list[TranslatedPicture]:
    """Translate decoded pictures of any sizes; the result does not depend on what they are with.

    Each has the channels of `source_channels`. Those of one size go through the networks together,
    `batch_size` at most; 16-bit pictures are translated in float32. A style is (style_size,); None:
    the method's default, if it has styles. For `scale` see `translate_images`.

    Returns:
        For each picture all that the method makes of it; the pixels are of the picture's own
        type, uint8 or uint16. Alpha is left with the picture.

    Raises:
        ConfigError: if the method does not translate in that direction, or has no styles.
    """
    check_direction(method, direction)
    if style is not None:
        check_styles(method)
    groups: dict[object, list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(batch_key(method, picture, scale), []).append(index)
    results: dict[int, TranslatedPicture] = {}
    for indices in groups.values():
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            translated = translate_images(
                method,
                [to_tensor(pictures[i].pixels)[None] for i in chosen],
                direction,
                precision=precision_for(pictures[chosen[0]], precision),
                style=style,
                scale=scale,
                to=CPU,
            )
            for i, translation in zip(chosen, translated, strict=True):
                results[i] = to_translated_picture(translation, pictures[i])
    return [results[i] for i in range(len(pictures))]


def translate_images(
    method: Method,
    images: Sequence[Tensor],
    direction: str = "a2b",
    *,
    precision: torch.dtype = torch.float32,
    style: Tensor | None = None,
    scale: Scale = AS_IS,
    to: torch.device | None = None,
) -> list[Translation]:
    """Translate tensors of several sizes that have one padded size: pad, translate, crop back.

    `images` are each (B_i, C, H_i, W_i) in [-1, 1], on any device, sides at least 1. `scale` says
    at which size the network works on each; the result comes back at the picture's own, see
    `full_size`. `padded_side` of all working heights is one number, and of all working widths one
    number. A style is for all, (style_size,), or one a picture, (B, style_size), where B is the sum
    of the B_i; None: the method's `default_style`, if it has styles. A precision of float32 means
    no autocast.

    Dropout is off and no gradient is recorded. The method's training mode, and that of each of
    its parts, is afterwards what it was. On a CPU the result for a picture is bit for bit the same
    whatever it is with; on a GPU the libraries choose their algorithms by the size of the batch,
    which changes the rounding.

    Returns:
        For each entry its translation on `to`, else the method's device, cut to its size: images
        (B_i, C', H_i, W_i) in [-1, 1] and masks (B_i, 1, H_i, W_i) in [0, 1], float32; labels
        (B_i, H_i, W_i), int64, or None.

    Raises:
        ConfigError: if the method does not translate in that direction, or a style is given and
            it has none.
        ValueError: if the style has another shape.
    """
    check_direction(method, direction)
    device = next(method.parameters()).device
    worked_on = [scale.worked_on(part) for part in images]
    is_rescaled = any(part is not own for part, own in zip(worked_on, images, strict=True))
    padded = torch.cat([pad_to_suit(method, part) for part in worked_on]).to(device)
    padded = padded.contiguous(memory_format=method.memory_format)
    styles = _styles_for(method, style, count=len(padded))
    way = way_back(method, direction) if is_rescaled else None
    run = partial(change_of, method) if way == "change" else method.translate
    # On a CPU one picture at a time: more at once are no faster, and rounding would depend on
    # how many there are, so that a batch would not equal its pictures bit for bit.
    step = 1 if device.type == "cpu" else len(padded)
    parts = []
    with torch.inference_mode(), evaluating(method), autocast(device, precision):
        for at in range(0, len(padded), step):
            look_around(device)
            code = None if styles is None else styles[at : at + step].to(device)
            parts.append(run(padded[at : at + step], direction=direction, style=code))
        translated = _join(parts)
    return _apart(translated, images, worked_on, way=way, to=device if to is None else to)


def _apart(
    translated: Translation,
    images: Sequence[Tensor],
    worked_on: Sequence[Tensor],
    *,
    way: WayBack | None,
    to: torch.device,
) -> list[Translation]:
    # For each entry its translation, without padding, at full size.
    ends = list(accumulate((len(part) for part in images), initial=0))
    made = [
        _cut(translated, slice(*ends), size=part.shape[-2:], to=to)
        for ends, part in zip(pairwise(ends), worked_on, strict=True)
    ]
    if way is None:
        return made
    with torch.no_grad():
        return [
            at_full_size(one, own.to(to), None if part is own else part.to(to), way=way)
            for one, own, part in zip(made, images, worked_on, strict=True)
        ]


def batch_key(method: Method, picture: Picture, scale: Scale = AS_IS) -> tuple[int, int, int]:
    """Return padded height, padded width and bits: pictures of one key share a forward pass.

    Sides are those at which the network works on the picture.
    """
    height, width = scale.working_size((picture.size[1], picture.size[0]))
    return padded_side(method, height), padded_side(method, width), picture.bits


def precision_for(picture: Picture, precision: torch.dtype) -> torch.dtype:
    """Return the type to translate a picture in: `precision`, or float32 for one of 16 bits."""
    # 16-bit floats hold 8 to 11 bits of a 16-bit picture.
    return torch.float32 if picture.bits == 16 else precision


def to_translated_picture(translation: Translation, picture: Picture) -> TranslatedPicture:
    """Bring a translation, a batch of one on the CPU, to the depth of the picture it is of."""
    image = translation.images[0]
    channels, height, width = image.shape
    pixels = np.empty((height, width, channels), np.uint16 if picture.bits == 16 else np.uint8)
    for top in range(0, height, _ROWS):
        pixels[top : top + _ROWS] = from_tensor(image[:, top : top + _ROWS], bits=picture.bits)
    return TranslatedPicture(
        pixels,
        None if translation.labels is None else translation.labels[0].numpy(),
        {name: mask[0, 0].numpy() for name, mask in translation.masks.items()},
    )


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


def _styles_for(method: Method, style: Tensor | None, *, count: int) -> Tensor | None:
    """Return a style code for each of `count` pictures, (count, style_size); None: no styles."""
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


def check_direction(method: Method, direction: str) -> None:
    """Refuse a direction that the method does not offer.

    Raises:
        ConfigError: naming the directions there are.
    """
    if direction not in method.directions:
        known = " or ".join(method.directions)
        raise ConfigError(f"this checkpoint does not translate {direction!r}: it offers {known}.")


def padded_side(method: Method, side: int) -> int:
    """Return the smallest multiple of `size_multiple` that holds `side` and `min_size`, pixels."""
    return -(-max(side, method.min_size) // method.size_multiple) * method.size_multiple


def pad_to_suit(method: Method, images: Tensor) -> Tensor:
    """Pad pictures, (B, C, H, W), on the right and at the bottom to a size that the method takes.

    The top left pixel stays where it is, so the networks' strides fall on the picture as in
    training. Pixels are mirrored at the border; on an axis where the picture is not larger than
    the padding, its last pixel is repeated. Where nothing is missing, `images` itself returns.
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


def _join(parts: Sequence[Translation]) -> Translation:
    labels = [part.labels for part in parts if part.labels is not None]
    return Translation(
        torch.cat([part.images for part in parts]),
        torch.cat(labels) if labels else None,
        {name: torch.cat([part.masks[name] for part in parts]) for name in parts[0].masks},
    )


def _cut(
    translated: Translation, which: slice, *, size: Sequence[int], to: torch.device
) -> Translation:
    height, width = size

    def cut(tensor: Tensor, kind: torch.dtype = torch.float32) -> Tensor:
        # A copy: an ordinary tensor, which autograd and pickle take without the batch.
        return tensor[which, ..., :height, :width].to(
            to, kind, copy=True, memory_format=torch.contiguous_format
        )

    return Translation(
        cut(translated.images),
        None if translated.labels is None else cut(translated.labels, torch.int64),
        {name: cut(mask) for name, mask in translated.masks.items()},
    )
