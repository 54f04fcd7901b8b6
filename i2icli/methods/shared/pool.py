"""A history of translated pictures that keeps the discriminator from forgetting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from i2icli.methods.shared.draws import Draws


class ImagePool:
    """Show the discriminator past translations half of the time (Shrivastava et al., CVPR 2017).

    Processes that share a batch have a pool each, of their own slices.

    Args:
        size: pictures to remember; 0 remembers none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def query(self, images: Tensor, draws: Draws, name: str) -> Tensor:
        """Exchange new pictures for a mix of new and remembered ones.

        The pictures of a batch are handled one after the other. Until the pool is full each is
        stored and returned; then a draw says which slot it changes places with, if any.

        Args:
            images: new translations, (B, C, H, W).
            draws: decides.
            name: name of the draw.

        Returns:
            (B, C, H, W), detached; `images` itself if the pool has no slots.
        """
        if self.size == 0:
            return images
        return torch.stack([self._exchange(image, draws, name) for image in images.detach()])

    def _exchange(self, image: Tensor, draws: Draws, name: str) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        # Pools of processes that share a batch are as full as each other, so all draw here.
        (slot,) = draws.for_pictures(1, lambda _: draws.swap(name, size=self.size))
        if slot is None:
            return image
        remembered = self._images[slot]
        self._images[slot] = image.clone()
        return remembered.to(image.device)

    def state(self) -> list[Tensor]:
        """Return the remembered pictures, (C, H, W) each, in the order of their slots."""
        return list(self._images)

    def restore(self, state: Sequence[Tensor]) -> None:
        """Take up pictures that `state` returned."""
        self._images = list(state)
