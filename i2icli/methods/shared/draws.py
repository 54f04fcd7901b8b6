"""The random choices of a method, in one place, so that a run can resume and a test can replay.

Every choice has a name. `Draws` makes it from its own generator, whose state is part of the
checkpoint; a test hands the method a subclass that returns recorded choices instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Draws:
    """Random choices from one CPU generator, independent of the global one and of the device.

    Where several processes share a batch, all make the same choices: those for single pictures
    are made for the whole batch, and each process takes those of its pictures.

    Attributes:
        pins: give tensors in page-locked memory, which a GPU takes without making anyone wait.
    """

    pins = False
    # Which process this is, and of how many; a replay of recorded choices is the only one.
    _rank, _world = 0, 1

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def join(self, rank: int, world: int) -> None:
        """Choose for the `rank`-th of `world` equal slices of every batch."""
        self._rank, self._world = rank, world

    def for_pictures(self, count: int, draw: Callable[[int], T]) -> list[T]:
        """Make a choice for each of the `count` pictures that this process has of the batch.

        `draw` takes the number of a picture in the whole batch.
        """
        first = self._rank * count
        return [draw(number) for number in range(self._world * count)][first : first + count]

    def places(self, name: str, *, count: int, total: int) -> Tensor:  # noqa: ARG002
        """Draw `min(count, total)` distinct flat positions out of `total`, shared by a batch.

        Args:
            name: which draw this is, for example "nce.0"; only a replay looks at it.
            count: positions wanted.
            total: positions there are, H * W.

        Returns:
            Positions row * W + column in random order, (min(count, total),), int64, on the CPU.
        """
        return self._pinned(torch.randperm(total, generator=self._generator)[:count])

    def lowest(self, name: str, scores: Tensor, *, count: int) -> Tensor:  # noqa: ARG002
        """Choose the positions of the lowest scores, (B, HW); equal scores in order of position.

        No randomness, but it goes through here: near-ties depend on rounding, and a replay must be
        able to fix them.

        Returns:
            (B, min(count, HW)) positions, lowest score first, on the device of `scores`.
        """
        # Stable: in a fresh network one entropy in eight may be exactly 0, and what a sort makes of
        # ties must not hang on the device.
        return scores.argsort(dim=1, stable=True)[:, :count]

    def flip(self, name: str) -> bool:  # noqa: ARG002
        """Draw a fair coin."""
        return bool(torch.randint(2, (), generator=self._generator))

    def uniform(self, name: str, *, low: float, high: float) -> float:  # noqa: ARG002
        """Draw a number between `low` and `high`."""
        return low + (high - low) * float(torch.rand((), generator=self._generator))

    def chance(self, name: str, *, one_in: int) -> bool:  # noqa: ARG002
        """Draw whether it is this one of so many."""
        return int(torch.randint(one_in, (), generator=self._generator)) == 0

    def shares(self, name: str, shape: Sequence[int]) -> Tensor:  # noqa: ARG002
        """Draw numbers in [0, 1) for pictures, float32, on the CPU; see `normal`."""
        count, *rest = shape
        drawn = torch.rand((self._world, count, *rest), generator=self._generator)
        return self._pinned(drawn[self._rank])

    def normal(self, name: str, shape: Sequence[int], *, parts: int = 1) -> Tensor:  # noqa: ARG002
        """Draw standard normal numbers for pictures, float32, on the CPU.

        The first axis of `shape` is the pictures of this process: `parts` batches of equal size,
        one after the other.
        """
        count, *rest = shape
        drawn = torch.randn((self._world * count, *rest), generator=self._generator)
        by_rank = drawn.view(parts, self._world, count // parts, *rest)
        return self._pinned(by_rank[:, self._rank].reshape(tuple(shape)))

    def swap(self, name: str, *, size: int) -> int | None:  # noqa: ARG002
        """Draw an image-pool decision: the slot to swap with, or None to keep the new image.

        All `size` slots of the pool are full.
        """
        keep = torch.rand((), generator=self._generator) <= 0.5
        slot = torch.randint(size, (), generator=self._generator)
        return None if keep else int(slot)

    def state(self) -> Tensor:
        """Return the generator's state, (N,) uint8."""
        return self._generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Take up a state that `state` returned."""
        self._generator.set_state(state.cpu())

    def _pinned(self, drawn: Tensor) -> Tensor:
        return drawn.pin_memory() if self.pins else drawn


class ImagePool:
    """The last `size` translations: the discriminator sees past ones half of the time.

    Shrivastava et al., CVPR 2017. Processes that share a batch have a pool each, of their slices.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def query(self, images: Tensor, draws: Draws, name: str) -> Tensor:
        """Exchange new pictures, (B, C, H, W), for a mix of new and remembered ones, detached.

        The pictures of a batch are handled one after the other. Until the pool is full each is
        stored and returned; then a draw says which slot it changes places with, if any.
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


class PastImages(ImagePool):
    """Pictures of past steps, for the discriminator to see beside the new ones.

    Kept in half precision, which holds pictures of 8 bits exactly.

    Args:
        size: pictures that are kept.
        one_in: once there are so many, one in so many new pictures takes the slot of another.
    """

    def __init__(self, size: int, *, one_in: int = 1) -> None:
        super().__init__(size)
        self._one_in = one_in

    def recall(self, images: Tensor, draws: Draws, name: str, *, count: int) -> Tensor:
        """Return past pictures, and keep new ones, (B, C, H, W).

        Returns:
            `count` past pictures for each new one, all different and of its size; fewer where there
            are not so many: (N, C, H, W), N <= count * B, in the type of the new ones.
        """
        alike = [image for image in self._images if image.shape == images.shape[1:]]
        total = len(alike)
        slots = draws.places(name, count=count * len(images), total=total).tolist() if total else []
        past = [alike[slot].to(images) for slot in slots]
        for image in images.detach():
            self._keep(image.half(), draws, name)
        return torch.stack(past) if past else images[:0].detach()

    def _keep(self, image: Tensor, draws: Draws, name: str) -> None:
        if len(self._images) < self.size:
            self._images.append(image)
        elif draws.chance(f"{name}.keep", one_in=self._one_in):
            self._images[int(draws.places(f"{name}.slot", count=1, total=self.size))] = image
