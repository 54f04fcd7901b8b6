"""The sliced Wasserstein distance (Rabin et al., 2011; Bonneel et al., 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from i2icli.system.device import full_precision


@full_precision
def sliced_wasserstein(ours: Tensor, theirs: Tensor, directions: Tensor) -> Tensor:
    """Return the mean distance of two sets of vectors along directions, a scalar.

    Along a line the best transport joins the vectors in their order.

    Args:
        ours: (N, C).
        theirs: (N, C).
        directions: (K, C), of any length but 0.
    """
    lines = F.normalize(directions, dim=1).mT
    first, second = ((rows @ lines).sort(dim=0).values for rows in (ours, theirs))
    distance: Tensor = (first - second).abs().mean()
    return distance
