"""Query-selected attention as it is written down: every row, and then those that are selected.

The same numbers as `attention`, which never holds the whole matrix; here all of it is kept for the
gradient, H * W by H * W numbers. It is what the other is compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.losses.attention import WindowLayout, entropy_of, route_global
from i2icli.system.device import full_precision

Choose = Callable[[Tensor], Tensor]


@full_precision
def attend_everywhere(
    source: Tensor, query: Tensor, choose: Choose, *, entropy: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Route both feature maps by selected rows of the source's attention over its whole map.

    Args:
        source: source features, (B, C, H, W).
        query: translated features, the same shape.
        choose: takes the entropies, (B, H * W) nats, and returns flat positions, (B, N).
        entropy: what to choose by; None: that of these rows.

    Returns:
        As `attention.attend_global`.
    """
    flat = source.flatten(2)
    scores = torch.bmm(flat.mT, flat)
    chosen = choose(entropy_of(scores.detach()) if entropy is None else entropy)
    rows = _take(scores.softmax(dim=-1), chosen)
    return route_global(rows, query), route_global(rows, source).detach()


@full_precision
def attend_in_windows(
    source: Tensor, query: Tensor, choose: Choose, *, window: int = 7, layout: WindowLayout
) -> tuple[Tensor, Tensor]:
    """Route both feature maps by selected rows of the source's attention over windows.

    As `attend_everywhere`, with the windows of `attention.local_rows`.
    """
    scores = _window_scores(source, window, layout)
    places = choose(entropy_of(scores.detach()))
    rows = _take(scores.softmax(dim=-1), places)[..., None, :]
    routed, key = (
        (rows @ _window_values(features, places, window, layout))[..., 0, :]
        for features in (query, source)
    )
    return routed, key.detach()


@full_precision
@torch.no_grad()
def window_entropy(features: Tensor, *, window: int = 7, layout: WindowLayout) -> Tensor:
    """Return the entropy of each place's attention over its window, (B, H * W) nats."""
    return entropy_of(_window_scores(features, window, layout))


def _take(rows: Tensor, places: Tensor) -> Tensor:
    # (B, N, K) of (B, HW, K)
    return rows.gather(1, places[..., None].expand(-1, -1, rows.shape[2]))


def _unfold(features: Tensor, window: int) -> Tensor:
    return F.unfold(features, window, padding=window // 2)  # (B, C * K, HW), channel by channel


def _window_scores(features: Tensor, window: int, layout: WindowLayout) -> Tensor:
    batch, channels, _, _ = features.shape
    columns = _unfold(features, window).mT  # (B, HW, C * K)
    if layout == "paper":  # else what the released code reads as the window's places
        keys = columns.reshape(batch, -1, channels, window**2).mT
    else:
        keys = columns.reshape(batch, -1, window**2, channels)
    scores: Tensor = (keys @ features.flatten(2).mT[..., None])[..., 0]
    return scores


def _window_values(features: Tensor, places: Tensor, window: int, layout: WindowLayout) -> Tensor:
    batch, channels, _, _ = features.shape
    columns = _unfold(features, window)
    index = places[:, None, :].expand(-1, columns.shape[1], -1)
    taken = columns.gather(2, index)  # (B, C * K, N)
    if layout == "paper":
        return taken.mT.reshape(batch, -1, channels, window**2).mT
    return taken.reshape(batch, -1, window**2, channels)
