"""A distance of translations to real pictures without an adversary, over several steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from i2icli.losses.sliced import sliced_wasserstein
from i2icli.methods.shared.draws import Draws
from i2icli.networks.taps import gather_places
from i2icli.system.device import widen

_PLACES = 160  # of a layer, of each picture
_DIRECTIONS = 64
_STEPS = 24


class SlicedDistance:
    """The sliced Wasserstein distance between features of translations and of real pictures.

    The vectors of one step are too few for a distribution, so those of the last steps are kept and
    compared along with them, as constants. Each process keeps and compares its own.
    """

    def __init__(self) -> None:
        self._kept: list[list[Tensor]] = []  # by step, then layer: (2, N, C), translations first

    def between(self, fake: Sequence[Tensor], real: Sequence[Tensor], draws: Draws) -> Tensor:
        """Return the mean distance over the layers, a scalar, and keep this step's vectors.

        Each layer's distance is divided by the deviation of its real features, and multiplied so
        that the gradient does not shrink with what is kept.

        Args:
            fake: features of translations, (B, C_l, H_l, W_l) a layer.
            real: the same of pictures of the target domain; constants.
            draws: choose places and directions.
        """
        rows = [
            _rows_of(*layer, draws, f"sliced.{number}")
            for number, layer in enumerate(zip(fake, real, strict=True))
        ]
        distances = [self._distance(number, each, draws) for number, each in enumerate(rows)]
        self._kept = [*self._kept, [each.detach() for each in rows]][-_STEPS:]
        return torch.stack(distances).mean()

    def state(self) -> list[list[Tensor]]:
        """Return the vectors that are kept, by step, then layer."""
        return list(self._kept)

    def restore(self, state: Sequence[list[Tensor]]) -> None:
        """Take up what `state` returned."""
        self._kept = list(state)

    def _distance(self, layer: int, rows: Tensor, draws: Draws) -> Tensor:
        past = [step[layer].to(rows) for step in self._kept]
        ours, theirs = torch.cat([*past, rows], dim=1)
        directions = draws.normal(f"sliced.{layer}.directions", (_DIRECTIONS, rows.shape[2]))
        directions = directions.to(rows, non_blocking=True)
        distance = sliced_wasserstein(ours, theirs, directions)
        return distance * (len(past) + 1) / (rows[1].std() + 1e-6)


def _rows_of(fake: Tensor, real: Tensor, draws: Draws, name: str) -> Tensor:
    """Return feature vectors at drawn places, (2, B * N, C), translations first."""
    maps = {"fake": fake, "real": real}
    totals = {side: each.shape[2] * each.shape[3] for side, each in maps.items()}
    count = min(_PLACES, *totals.values())
    rows = []
    for side, each in maps.items():
        places = draws.places(f"{name}.{side}", count=count, total=totals[side])
        places = places.to(each.device, non_blocking=True)
        rows.append(widen(gather_places(each, places)).flatten(0, 1))
    return torch.stack(rows)
