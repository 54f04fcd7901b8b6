"""Feature maps small enough for a page, and how far its attention is from the exact one.

Attention needs the products of features alone, so the features are turned onto their principal
axes, where the last axes matter least and each has a range of its own, and stored in 16 bits an
axis. The mean is taken off first: what it adds to a product is one number a place, kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from i2icli.losses.attention import local_rows
from i2icli.methods.shared.views import AttentionView, Side
from i2icli.viz.drawer import text_of

GOOD_ENOUGH = 0.01  # error of a weight below which axes are left out to save room
_TOP = 32767
_PROBES = 128


@dataclass(frozen=True)
class PackedFeatures:
    """Feature map f of C channels, as the page keeps it.

    With c = `values` * `scales`, the product of the features of places i and k is
    c_i . c_k + bias_i + bias_k + constant.

    Attributes:
        values: (H * W, R) int16.
        scales: of each axis, (R,) float32.
        bias: (H * W,) float32.
        constant: squared norm of the mean.
        error: largest error of a weight over the rows probed, of the kinds that the view shows.
    """

    values: NDArray[np.int16]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32]
    constant: float
    error: float

    @property
    def rank(self) -> int:
        """Axes kept."""
        return int(self.values.shape[1])

    def document(self) -> dict[str, Any]:
        """Return what the page's script takes."""
        return {
            "rank": self.rank,
            "values": text_of(self.values.astype("<i2")),
            "scales": text_of(self.scales.astype("<f4")),
            "bias": text_of(self.bias.astype("<f4")),
            "constant": self.constant,
        }


def pack(view: AttentionView, side: Side, *, axes: int | None = None) -> PackedFeatures:
    """Pack the features of one side of a view.

    Windows in the released layout mix channels, so that their features stay as they are: no axis
    is turned and none is left out.

    Args:
        view: what to pack.
        side: of which picture.
        axes: the most axes to keep; None: as many as `GOOD_ENOUGH` needs.
    """
    flat = view.features(side).flatten(1).double()  # (C, HW)
    channels = len(flat)
    probes = torch.linspace(0, flat.shape[1] - 1, min(flat.shape[1], _PROBES)).round().long()
    exact = _exact(view, side, probes)
    if _is_mixed(view):
        return _pack(view, flat, torch.zeros_like(flat[:, :1]), probes, exact)
    mean = flat.mean(dim=1, keepdim=True)
    centred = flat - mean
    _, basis = torch.linalg.eigh(centred @ centred.mT)  # ascending
    turned = basis.flip(1).mT @ centred
    bias = (mean.mT @ centred)[0]
    most = min(channels, axes or channels)
    kept = sorted({max(1, min(most, round(share * channels))) for share in (0.5, 0.75, 1.0)})
    for count in kept:
        packed = _pack(view, turned[:count], mean, probes, exact, bias=bias)
        if packed.error <= GOOD_ENOUGH:
            break
    return packed


def _is_mixed(view: AttentionView) -> bool:
    return view.has_window and view.layout == "released"


def _exact(view: AttentionView, side: Side, probes: Tensor) -> list[Tensor]:
    """Return the probed rows that the view shows, each (N, ...)."""
    rows = [view.map_rows(side, probes).flatten(1)] if view.has_map else []
    return rows + ([view.window_rows(side, probes).flatten(1)] if view.has_window else [])


def _pack(
    view: AttentionView,
    axes: Tensor,
    mean: Tensor,
    probes: Tensor,
    exact: Sequence[Tensor],
    *,
    bias: Tensor | None = None,
) -> PackedFeatures:
    """Round `axes`, (R, HW), and compare the rows that come out with the exact ones."""
    scales = (axes.abs().amax(dim=1, keepdim=True) / _TOP).clamp(min=1e-30).float()
    values = (axes / scales.double()).round()
    kept = values * scales.double()
    bias = torch.zeros_like(axes[0]) if bias is None else bias.float().double()
    constant = float(mean.square().sum())
    products = kept[:, probes].mT @ kept + bias  # of all places, but for one number a row
    ours = [products.softmax(dim=1)] if view.has_map else []
    if _is_mixed(view):
        features = kept.view(1, -1, *view.entropy.shape)
        rows = local_rows(features, probes[None], window=view.window, layout=view.layout)
        ours.append(rows[0])
    elif view.has_window:
        whole = products + bias[probes, None] + constant
        ours.append(_windows_of(view, whole, probes).softmax(dim=1))
    errors = [float((a - b).abs().max()) for a, b in zip(ours, exact, strict=True)]
    return PackedFeatures(
        values=np.ascontiguousarray(values.mT.numpy().astype(np.int16)),
        scales=scales[:, 0].numpy(),
        bias=bias.float().numpy(),
        constant=constant,
        error=max(errors),
    )


def _windows_of(view: AttentionView, products: Tensor, places: Tensor) -> Tensor:
    """Cut the window around each place out of its row of products; zero beyond the edge."""
    height, width = view.entropy.shape
    padded = F.pad(products.view(-1, height, width), [view.window // 2] * 4)
    windows = [
        padded[i, row : row + view.window, column : column + view.window].flatten()
        for i, (row, column) in enumerate(divmod(int(place), width) for place in places)
    ]
    return torch.stack(windows)
