"""Query-selected attention (QS-Attn, Hu et al., CVPR 2022).

A place that attends to few others has low entropy, and its features are worth contrasting. The
attention of source features picks the places and routes the features of source and translation
alike. Logits are bare dot products: no projection, no scaling.

Global attention lets every place look at all H * W places; local attention at a window around it,
in one of two layouts:

- "paper": true windows. Places beyond the edge are zero vectors and take part with logit 0.
- "released": what the published code computes. It reads the windows, unfolded channel by channel,
  as if they were unfolded place by place, so that each of its keys mixes channels and places; its
  values mix the windows of all selected places too. Its trained weights belong to this layout.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from i2icli.networks.taps import gather_places
from i2icli.system.device import full_precision

WindowLayout = Literal["paper", "released"]

_MOST_ROWS = 2**23  # numbers of attention rows kept for the gradient: 32 MiB in float32
_PORTION_NUMBERS = 2**22  # numbers of a portion of the rows beyond that: 16 MiB
_CHUNK_NUMBERS = 2**21  # numbers of one temporary: 8 MiB in float32


@full_precision
@torch.no_grad()
def global_entropy(features: Tensor, chunk: int | None = None) -> Tensor:
    """Return the entropy of each place's attention over the whole map, (B, H * W) nats.

    Without gradient. Weights that underflow to 0 contribute 0. `chunk` places are scored at once,
    which bounds the memory; by default about 8 MiB.
    """
    flat = features.flatten(2)  # (B, C, HW)
    batch, _, total = flat.shape
    chunk = chunk or max(1, _CHUNK_NUMBERS // (batch * total))
    # One result for all chunks: small ones between the large temporaries would keep the C library
    # from reusing their memory, gigabytes of it at 256x256 places.
    entropies = flat.new_empty(batch, total)
    for start in range(0, total, chunk):
        scores = torch.bmm(flat[:, :, start : start + chunk].mT, flat)
        entropies[:, start : start + chunk] = entropy_of(scores)
    return entropies


@full_precision
@torch.no_grad()
def local_entropy(features: Tensor, *, window: int = 7, layout: WindowLayout) -> Tensor:
    """Return the entropy of each place's attention over its window, (B, H * W) nats.

    Without gradient. `window` is its side, odd, places; for `layout` see the module's docstring.
    """
    scores = _shifted_scores if layout == "paper" else _scrambled_scores
    return entropy_of(scores(features, window))


@full_precision
def global_rows(features: Tensor, places: Tensor) -> Tensor:
    """Return selected places' attention over the whole map, (B, N, H * W), with gradient.

    `features` are the source's, (B, C, H, W), `places` flat positions, (B, N); each row sums to 1.
    """
    # With gradient, as released: the encoder learns on the source side too, through the rows.
    return torch.bmm(gather_places(features, places), features.flatten(2)).softmax(dim=-1)


@full_precision
def local_rows(
    features: Tensor, places: Tensor, *, window: int = 7, layout: WindowLayout
) -> Tensor:
    """Return selected places' attention over their windows, (B, N, window * window), with gradient.

    Args:
        features: source features, (B, C, H, W).
        places: selected flat positions, (B, N).
        window: side of the window, odd, in places.
        layout: see the module's docstring.
    """
    keys = _windows(features, places, window)  # (B, N, K, C)
    if layout == "released":
        keys = _scramble(keys)
    return (keys @ gather_places(features, places)[..., None])[..., 0].softmax(dim=-1)


@full_precision
def route_global(rows: Tensor, features: Tensor) -> Tensor:
    """Average features over the whole map by the weights of each row, (B, N, C).

    `rows` are attention, (B, N, H * W); `features`, of either picture, are (B, C, H, W).
    """
    return torch.bmm(rows, features.flatten(2).mT)


def attend_global(
    source: Tensor, query: Tensor, places: Tensor, *, most: int = _MOST_ROWS
) -> tuple[Tensor, Tensor]:
    """Route both feature maps by the attention of selected places of the source.

    Args:
        source: source features, (B, C, H, W).
        query: translated features, the same shape.
        places: selected flat positions, (B, N).
        most: numbers of the rows that are kept.

    Returns:
        What the places gather from the translation, with gradient to both maps, and from the
        source, a constant; each (B, N, C).
    """
    # Where the rows are many numbers, they are computed in portions, and again for the gradient,
    # instead of being kept.
    if places.shape[1] * source.shape[0] * source.shape[2] * source.shape[3] > most:
        routed: tuple[Tensor, Tensor] = _AttendInPortions.apply(source, query, places)
        return routed
    rows = global_rows(source, places)
    return route_global(rows, query), route_global(rows.detach(), source.detach())


class _AttendInPortions(torch.autograd.Function):
    """`attend_global` with rows that live only as long as their portion."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, query: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(source, query, places)
        # One image at a time, so that of half-precision maps only one is there in float32 too.
        images = [_route_image(*image) for image in zip(source, query, places, strict=True)]
        from_query, from_source = (torch.stack(routed) for routed in zip(*images, strict=True))
        ctx.mark_non_differentiable(from_source)
        return from_query, from_source

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _of_constant: Tensor) -> tuple[Tensor, Tensor, None]:
        source, query, places = ctx.saved_tensors
        to_source, to_query = torch.empty_like(source), torch.empty_like(query)
        for image in range(len(source)):
            given = source[image], query[image], places[image], gradient[image]
            to_source[image], to_query[image] = _route_image_back(*given)
        return to_source, to_query, None


@full_precision
def _route_image(source: Tensor, query: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    # Maps are (C, H, W), places (N,), the routed features (N, C).
    flat, flat_query = source.flatten(1), query.flatten(1)
    parts = []
    for part in torch.split(places, _portion(flat)):
        rows = _rows_of_image(flat, part)
        parts.append((rows @ flat_query.mT, rows @ flat.mT))
    from_query, from_source = (torch.cat(routed) for routed in zip(*parts, strict=True))
    return from_query, from_source


@full_precision
def _route_image_back(
    source: Tensor, query: Tensor, places: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    flat, flat_query = source.flatten(1), query.flatten(1)
    to_source, to_query = torch.zeros_like(flat), torch.zeros_like(flat)
    size = _portion(flat)
    for part, upper in zip(torch.split(places, size), torch.split(gradient, size), strict=True):
        rows = _rows_of_image(flat, part)
        to_query.addmm_(upper.mT, rows)
        change = upper @ flat_query  # of the rows, then of the scores
        # The softmax's backward: rows * (change - sum of change * rows).
        change -= torch.einsum("np,np->n", change, rows)[:, None]
        change *= rows
        to_source.addmm_(flat[:, part], change)
        to_source.index_add_(1, part, (change @ flat.mT).mT)
    return to_source.view_as(source), to_query.view_as(query)


def _rows_of_image(flat: Tensor, places: Tensor) -> Tensor:
    return (flat[:, places].mT @ flat).softmax(dim=-1)  # (n, HW) of (n,) and (C, HW)


def _portion(flat: Tensor) -> int:
    return max(1, _PORTION_NUMBERS // flat.shape[1])


@full_precision
def route_local(
    rows: Tensor, features: Tensor, places: Tensor, *, window: int = 7, layout: WindowLayout
) -> Tensor:
    """Average features over the windows of selected places by the weights of each row, (B, N, C).

    Args:
        rows: attention, (B, N, window * window).
        features: source or translated features, (B, C, H, W).
        places: selected flat positions, (B, N).
        window: side of the window, odd, in places.
        layout: see the module's docstring.
    """
    values = _windows(features, places, window)
    if layout == "released":
        values = _scramble_values(values)
    return (rows[..., None, :] @ values)[..., 0, :]


def entropy_of(scores: Tensor) -> Tensor:
    """Return the entropy in nats of softmax(scores) along the last axis."""
    # From the log-softmax: the shortcut log-sum-exp minus the mean score cancels where scores reach
    # thousands, and picks other places. The weights are not its exponential, which on a CPU takes
    # eight times as long as all of softmax where it underflows, as it does nearly everywhere.
    return -(scores.softmax(dim=-1) * scores.log_softmax(dim=-1)).sum(dim=-1)


def _reach(window: int) -> int:
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be odd and positive, got {window}")
    return window // 2


def _shifted_scores(features: Tensor, window: int) -> Tensor:
    height, width = features.shape[2:]
    padded = F.pad(features, [_reach(window)] * 4)
    # One shift of the whole map at a time, (B, HW) each.
    shifts = [
        (features * padded[:, :, top : top + height, left : left + width]).sum(dim=1).flatten(1)
        for top in range(window)
        for left in range(window)
    ]
    return torch.stack(shifts, dim=-1)


def _scrambled_scores(features: Tensor, window: int) -> Tensor:
    batch, channels, height, width = features.shape
    places = torch.arange(height * width, device=features.device).expand(batch, -1)
    chunk = max(1, _CHUNK_NUMBERS // (batch * channels * window**2))
    parts = []
    for start in range(0, height * width, chunk):
        part = places[:, start : start + chunk]
        keys = _scramble(_windows(features, part, window))
        parts.append((keys @ gather_places(features, part)[..., None])[..., 0])
    return torch.cat(parts, dim=1)


def _windows(features: Tensor, places: Tensor, window: int) -> Tensor:
    """Cut the windows around places, row by row, zero beyond the edge: (B, N, K, C)."""
    reach = _reach(window)
    padded = F.pad(features, [reach] * 4)
    batch, channels, height, width = padded.shape
    side = torch.arange(window, device=places.device)
    offsets = (side[:, None] * width + side).flatten()
    inner = width - 2 * reach
    corners = places // inner * width + places % inner  # of the window, in the padded map
    images = torch.arange(batch, device=places.device)[:, None, None] * (height * width)
    index = images + corners[..., None] + offsets  # (B, N, K)
    rows = padded.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, index.flatten())
    return rows.view(*index.shape, channels)


def _scramble(windows: Tensor) -> Tensor:
    # The released code holds a window, (K, C), as one vector with all K places of channel 0 first,
    # then those of channel 1, and reads it as K vectors of C numbers.
    return windows.mT.reshape(windows.shape)


def _scramble_values(windows: Tensor) -> Tensor:
    # On top of the order of keys, the selected places are the fastest axis in memory when it is
    # read as windows again.
    # Departs from the official code: a copying reshape also for one image, because its view
    # raises there on a current PyTorch.
    return windows.permute(0, 3, 2, 1).reshape(windows.shape)
