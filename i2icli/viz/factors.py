"""Rows that are products of two vectors a place, small enough for a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2icli.viz.drawer import text_of

GOOD_ENOUGH = 0.02  # error of a value below which no more room is taken
# Parts of the axes and bytes a number, in order of the room they take.
_FORMS = ((1 / 8, 1), (1 / 4, 1), (1 / 2, 1), (3 / 4, 1), (1.0, 1), (3 / 4, 2), (1.0, 2))
_PROBES = 128

Finish = Callable[[Tensor], Tensor]


def pack_own(factors: Tensor, finish: Finish, *, share: float) -> tuple[dict[str, Any], float]:
    """Pack vectors whose products with each other are shown.

    They are turned onto their principal axes, of which the last ones matter least, and take as
    few axes and bytes as an error of `GOOD_ENOUGH` allows.

    Args:
        factors: (C, HW); the row of place i is finish(f_i . f_k) over all k.
        finish: makes rows, (N, HW), of products.
        share: the most axes that may stay, as a part of C.

    Returns:
        What the page's script takes, and the largest error of a value over the rows probed.
    """
    flat = factors.double()
    _, basis = torch.linalg.eigh(flat @ flat.mT)  # ascending
    turned = basis.flip(1).mT @ flat
    places = probes_of(flat.shape[1])
    exact = finish(flat[:, places].mT @ flat)
    most = max(1, int(min(1.0, share) * len(flat)))
    for part, width in _FORMS:
        count = min(most, max(1, round(part * len(flat))))
        values, scales = _round(turned[:count], width)
        kept = values * scales
        error = float((finish(kept[:, places].mT @ kept) - exact).abs().max())
        if error <= GOOD_ENOUGH or (share < 1 and count == most):
            break
    return _document(values, scales, width), error


def pack_pair(
    queries: Tensor, keys: Tensor, finish: Finish
) -> tuple[dict[str, dict[str, Any]], float]:
    """Pack vectors of which one kind is multiplied with the other.

    Args:
        queries: (C, HW); the row of place i is finish(q_i . k_j) over all j.
        keys: (C, HW).
        finish: makes rows, (N, HW), of products.

    Returns:
        "queries" and "keys" for the page's script, and the largest error of a value over the rows
        probed.
    """
    places = probes_of(queries.shape[1])
    packed, kept = {}, []
    for name, vectors in (("queries", queries), ("keys", keys)):
        values, scales = _round(vectors.double(), 2)
        packed[name] = _document(values, scales, 2)
        kept.append(values * scales)
    exact = finish(queries.double()[:, places].mT @ keys.double())
    ours = finish(kept[0][:, places].mT @ kept[1])
    return packed, float((ours - exact).abs().max())


def probes_of(total: int) -> Tensor:
    """Return evenly spaced places, by whose rows an error is measured."""
    return torch.linspace(0, total - 1, min(total, _PROBES)).round().long()


def _round(vectors: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return whole numbers of `width` bytes, (R, HW), and a scale an axis, (R, 1)."""
    top = 2 ** (8 * width - 1) - 1
    scales = (vectors.abs().amax(dim=1, keepdim=True) / top).clamp(min=1e-30).float().double()
    return (vectors / scales).round().clamp(-top, top), scales


def _document(values: Tensor, scales: Tensor, width: int) -> dict[str, Any]:
    return {
        "rank": len(values),
        "bytes": width,
        "values": text_of(values.mT.numpy().astype(f"<i{width}")),
        "scales": text_of(scales[:, 0].numpy().astype(np.float32).astype("<f4")),
    }
