"""Feature maps and factors of products small enough for a page, and how far they are from exact.

Views need the products of features alone, so the features are turned onto their principal axes,
where the last axes matter least and each has a range of its own, and stored in 8 or 16 bits an
axis. For attention the mean is taken off first: what it adds to a product is one number a
position, kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

GOOD_ENOUGH = 0.02  # error of a value below which no more room is taken
# Parts of the axes and bytes a number, in order of the room they take.
_FORMS = ((1 / 8, 1), (1 / 4, 1), (1 / 2, 1), (3 / 4, 1), (1.0, 1), (3 / 4, 2), (1.0, 2))
_PROBES = 128

Finish = Callable[[Tensor], Tensor]


def pack_own(factors: Tensor, finish: Finish, *, share: float) -> tuple[dict[str, Any], float]:
    """Pack vectors, (C, HW), whose products with each other are shown.

    The row of position i is finish(f_i . f_k) over all k. Vectors are turned onto their principal
    axes, of which the last ones matter least, and take as few axes (`share` of C at most) and
    bytes as an error of `GOOD_ENOUGH` allows.

    Returns:
        What the page's script takes, and the largest error of a value over the rows probed.
    """
    flat = factors.double()
    _, basis = torch.linalg.eigh(flat @ flat.mT)  # ascending
    turned = basis.flip(1).mT @ flat
    positions = probes_of(flat.shape[1])
    exact = finish(flat[:, positions].mT @ flat)
    most = max(1, int(min(1.0, share) * len(flat)))
    for part, width in _FORMS:
        count = min(most, max(1, round(part * len(flat))))
        values, scales = _round(turned[:count], width)
        kept = values * scales
        error = float((finish(kept[:, positions].mT @ kept) - exact).abs().max())
        if error <= GOOD_ENOUGH or (share < 1 and count == most):
            break
    return _document(values, scales, width), error


def pack_pair(
    queries: Tensor, keys: Tensor, finish: Finish
) -> tuple[dict[str, dict[str, Any]], float]:
    """Pack vectors, (C, HW), of which one kind is multiplied with the other.

    The row of position i is finish(q_i . k_j) over all j.

    Returns:
        "queries" and "keys" for the page's script, and the largest error of a value over the rows
        probed.
    """
    positions = probes_of(queries.shape[1])
    packed, kept = {}, []
    for name, vectors in (("queries", queries), ("keys", keys)):
        values, scales = _round(vectors.double(), 2)
        packed[name] = _document(values, scales, 2)
        kept.append(values * scales)
    exact = finish(queries.double()[:, positions].mT @ keys.double())
    ours = finish(kept[0][:, positions].mT @ kept[1])
    return packed, float((ours - exact).abs().max())


def probes_of(total: int) -> Tensor:
    """Return evenly spaced positions, by whose rows an error is measured."""
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


_CLOSE_WEIGHT = 0.01  # error of a weight below which axes are left out to save room


@dataclass(frozen=True)
class PackedFeatures:
    """Feature map f of C channels, as the page keeps it.

    With c = `values` * `scales`, the product of the features of positions i and k is
    c_i . c_k + bias_i + bias_k + constant.
    """

    values: NDArray[np.int16]  # (H * W, R) int16
    scales: NDArray[np.float32]  # of each axis, (R,) float32
    bias: NDArray[np.float32]  # (H * W,) float32
    constant: float  # squared norm of the mean
    error: float  # largest error of a weight over the rows probed, of the kinds that the view shows

    @property
    def rank(self) -> int:
        """Axes kept."""
        return int(self.values.shape[1])

    def document(self) -> dict[str, Any]:
        """Return the features as the page's script takes them."""
        return {
            "rank": self.rank,
            "values": text_of(self.values.astype("<i2")),
            "scales": text_of(self.scales.astype("<f4")),
            "bias": text_of(self.bias.astype("<f4")),
            "constant": self.constant,
        }


def pack(view: AttentionView, side: Side, *, axes: int | None = None) -> PackedFeatures:
    """Pack the features of one side of a view on at most `axes` axes.

    Without a bound it keeps as many as `_CLOSE_WEIGHT` needs. Windows in the released layout mix
    channels, so that their features stay as they are: no axis is turned and none is left out.
    """
    flat = view.features(side).flatten(1).double()  # (C, HW)
    channels = len(flat)
    probes = probes_of(flat.shape[1])
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
        if packed.error <= _CLOSE_WEIGHT:
            break
    return packed


def _is_mixed(view: AttentionView) -> bool:
    return view.has_window and view.layout == "released"


def _exact(view: AttentionView, side: Side, probes: Tensor) -> list[Tensor]:
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
    values, scales = _round(axes, 2)
    kept = values * scales
    bias = torch.zeros_like(axes[0]) if bias is None else bias.float().double()
    constant = float(mean.square().sum())
    products = kept[:, probes].mT @ kept + bias  # of all positions, but for one number a row
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
        scales=scales[:, 0].float().numpy(),
        bias=bias.float().numpy(),
        constant=constant,
        error=max(errors),
    )


def _windows_of(view: AttentionView, products: Tensor, positions: Tensor) -> Tensor:
    height, width = view.entropy.shape
    padded = F.pad(products.view(-1, height, width), [view.window // 2] * 4)
    windows = [
        padded[i, row : row + view.window, column : column + view.window].flatten()
        for i, (row, column) in enumerate(divmod(int(position), width) for position in positions)
    ]
    return torch.stack(windows)
