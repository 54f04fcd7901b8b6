"""Random changes of colour, the same for all pixels of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from i2icli.methods.shared.draws import Draws

_STRENGTH = 0.5
_HUE = 0.3


def jitter_colours(images: Tensor, draws: Draws, name: str) -> Tensor:
    """Change brightness, contrast, saturation (factors 0.5 to 1.5) and hue (by up to 0.3 turns).

    Each picture gets its own draws, and the four changes in its own order (L-SeSim's
    augmentation).

    Args:
        images: colour pictures, (B, 3, H, W) in [-1, 1].
        draws: decides.
        name: of the draws.

    Returns:
        Pictures of the same shape and range, detached.
    """
    # Departs from the official code: tensors are changed, not 8-bit pictures, because the crops are
    # tensors already; values differ by the rounding of 8 bits.
    choices = draws.for_pictures(len(images), lambda _: _draw(draws, name))
    pictures = (images.detach() + 1.0) / 2.0
    changed = [_jitter(image, *choice) for image, choice in zip(pictures, choices, strict=True)]
    return torch.stack(changed) * 2.0 - 1.0


def _draw(draws: Draws, name: str) -> tuple[dict[str, float], list[int]]:
    """Draw how much to change of each kind in one picture, and in which order."""
    low, high = 1.0 - _STRENGTH, 1.0 + _STRENGTH
    amounts = {
        what: draws.uniform(f"{name}.{what}", low=low, high=high)
        for what in ("brightness", "contrast", "saturation")
    }
    amounts["hue"] = draws.uniform(f"{name}.hue", low=-_HUE, high=_HUE)
    count = len(amounts)
    order: list[int] = draws.places(f"{name}.order", count=count, total=count).tolist()
    return amounts, order


def _jitter(image: Tensor, amounts: Mapping[str, float], order: Sequence[int]) -> Tensor:
    """Change one picture, (3, H, W) in [0, 1]."""
    from torchvision.transforms.v2 import functional as change

    steps = {
        "brightness": change.adjust_brightness,
        "contrast": change.adjust_contrast,
        "saturation": change.adjust_saturation,
        "hue": change.adjust_hue,
    }
    for number in order:
        what = list(steps)[number]
        image = steps[what](image, amounts[what])
    return image
