"""Random changes of colour, the same for all pixels of a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from i2icli.methods.draws import Draws

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
    changed = [_jitter(image, draws, name) for image in (images.detach() + 1.0) / 2.0]
    return torch.stack(changed) * 2.0 - 1.0


def _jitter(image: Tensor, draws: Draws, name: str) -> Tensor:
    """Change one picture, (3, H, W) in [0, 1]."""
    from torchvision.transforms.v2 import functional as change

    low, high = 1.0 - _STRENGTH, 1.0 + _STRENGTH
    brightness, contrast, saturation = (
        draws.uniform(f"{name}.{what}", low=low, high=high)
        for what in ("brightness", "contrast", "saturation")
    )
    hue = draws.uniform(f"{name}.hue", low=-_HUE, high=_HUE)
    steps = (
        lambda picture: change.adjust_brightness(picture, brightness),
        lambda picture: change.adjust_contrast(picture, contrast),
        lambda picture: change.adjust_saturation(picture, saturation),
        lambda picture: change.adjust_hue(picture, hue),
    )
    for number in draws.places(f"{name}.order", count=len(steps), total=len(steps)).tolist():
        image = steps[number](image)
    return image
