"""Style codes: drawn at random, or taken from pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2icli.methods.shared.base import Method
from i2icli.pictures.images import Picture, read_picture, to_tensor
from i2icli.translation.pictures import (
    check_direction,
    check_styles,
    evaluating,
    pad_to_suit,
    target_channels,
)
from i2icli.translation.scale import AS_IS, Scale
from i2icli.translation.sources import find_sources, is_picture


def random_styles(method: Method, count: int, *, seed: int = 0) -> Tensor:
    """Draw style codes, (count, style_size) on the CPU, from the normal distribution of training.

    The first codes of a seed are the same however many there are, on every device.

    Raises:
        ConfigError: if the method has no styles.
    """
    check_styles(method)
    generator = torch.Generator().manual_seed(seed)
    # One code at a time: torch fills larger tensors in another order.
    codes = [torch.randn(method.style_size, generator=generator) for _ in range(count)]
    return torch.stack(codes) if codes else torch.empty(0, method.style_size)


def encode_picture_style(
    method: Method, picture: Picture, direction: str = "a2b", *, scale: Scale = AS_IS
) -> Tensor:
    """Return the style, (style_size,), of a picture of the domain that `direction` leads to.

    The picture, of `target_channels` channels, is taken at the size that `scale` gives it, padded
    as translation pads; the code is computed in float32 and returned on the CPU.

    Raises:
        ConfigError: if the method has no styles, or does not translate in that direction.
    """
    check_direction(method, direction)
    check_styles(method)
    device = next(method.parameters()).device
    images = scale.worked_on(to_tensor(picture.pixels)[None])
    images = pad_to_suit(method, images).to(device)
    with torch.inference_mode(), evaluating(method):
        codes = method.encode_style(images, direction=direction)
    return codes[0].float().cpu().clone()


@dataclass(frozen=True)
class SameStyles:
    """Gives every picture the same styles: `codes`, (N, style_size)."""

    codes: Tensor

    def __call__(self, _item: object) -> Tensor:
        """Return the codes."""
        return self.codes


def style_names(count: int) -> tuple[str, ...]:
    """Return names of random styles, in whose alphabetical order they are: style1, style2, ..."""
    width = len(str(count))
    return tuple(f"style{number:0{width}d}" for number in range(1, count + 1))


def styles_of_pictures(
    method: Method, named: Sequence[str], direction: str, *, scale: Scale = AS_IS
) -> tuple[tuple[str, ...], Tensor]:
    """Return the names (stems) and the codes, (N, style_size), of picture files and folders.

    Raises:
        ConfigError: if the method has no styles, or a picture does not exist.
        DataError: if a picture cannot be read.
    """
    check_styles(method)
    paths = [source.path for name in named for source in find_sources(name)]
    channels = target_channels(method, direction)
    codes = [
        encode_picture_style(method, read_picture(path, channels=channels), direction, scale=scale)
        for path in paths
    ]
    return tuple(p.stem if is_picture(p) else p.name for p in paths), torch.stack(codes)
