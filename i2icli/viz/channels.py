"""Channel attention: how much each channel gathers from every other, and what channels see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torch.nn import functional as F

from i2icli.methods.shared.views import ChannelView
from i2icli.viz.drawer import Document, Drawer, bytes_of
from i2icli.viz.looks import Look
from i2icli.viz.panels import (
    INK,
    WIDTH,
    aspect_of,
    draw_bar,
    grid_of,
    show_map,
    show_picture,
    start_sheet,
)

MATRIX = "magma"
RESPONSE = "cividis"
MOST_CELLS = 128  # a side of the matrix as drawn
_MOST_COLUMNS = 8


def small_matrix(weights: Tensor) -> Tensor:
    """Return the largest weight of each block, (S, S), at most `MOST_CELLS` a side."""
    channels = len(weights)
    block = -(-channels // MOST_CELLS)
    padding = -channels % block
    padded = F.pad(weights, (0, padding, 0, padding))
    return F.max_pool2d(padded[None, None], block)[0, 0]


def gathered(view: ChannelView) -> Tensor:
    """Return the share that all channels gather from each, (C,); 1 is an equal share."""
    return view.weights.sum(dim=0)


def _explain(view: ChannelView) -> str:
    block = -(-len(view.weights) // MOST_CELLS)
    said = (
        "Every channel (a row of the matrix) gathers from all channels (its columns), by weights "
        "that sum to 1. Bright columns are channels that many others gather from. "
    )
    if block > 1:
        said += f"A cell is the largest weight of {block} x {block} channels. "
    if view.numbers:
        said += (
            "Below, the responses of some channels, each on its own scale from dark (lowest) to "
            "bright (highest), with what all channels gather from it in equal shares."
        )
    return said


def _heading(view: ChannelView) -> str:
    weights = view.weights
    own = float(weights.diagonal().mean())
    return (
        f"{view.layer}: channel attention, {len(weights)} channels; the largest weight is "
        f"{float(weights.max()):.2g}, an equal share {1 / len(weights):.2g}; a channel gathers "
        f"{own:.2g} from itself in the mean"
    )


def _draw_overview(figure: SubFigure, look: Look, view: ChannelView) -> None:
    panels = figure.subplots(2, 3, height_ratios=[1, 0.045])
    show_picture(panels[0, 0], look.source, "source")
    show_picture(panels[0, 1], look.translation, look.made)
    matrix = panels[0, 2]
    norm = PowerNorm(0.5, 0, max(float(view.weights.max()), 1e-12))
    channels = len(view.weights)
    matrix.imshow(
        small_matrix(view.weights).numpy(), cmap=MATRIX, norm=norm, interpolation="nearest",
        extent=(0, channels, channels, 0),
    )  # fmt: skip
    matrix.set_title("weights", fontsize=10, color=INK)
    matrix.set_xlabel("gathered from channel", fontsize=8.5)
    matrix.set_ylabel("by channel", fontsize=8.5)
    matrix.tick_params(labelsize=7.5)
    draw_bar(panels[1, 2], ScalarMappable(norm, MATRIX), "weight, square root scale")
    for axes in panels[1, :2]:
        axes.axis("off")


def _draw_response(axes: Axes, look: Look, view: ChannelView, number: int, share: float) -> None:
    values = view.channels[number]
    low, high = float(values.min()), float(values.max())
    norm = Normalize(low, high if high > low else low + 1e-6)
    show_map(axes, look, values, norm, colours=RESPONSE)
    axes.set_title(
        f"channel {view.numbers[number]}\n{share:.2g} equal shares", fontsize=8.5, color=INK
    )


class _ChannelDrawer(Drawer[ChannelView]):
    kind = "channel"

    def draw(self, look: Look, view: ChannelView, queries: Sequence[int]) -> Figure:  # noqa: ARG002
        aspect = aspect_of(look)
        count = len(view.numbers)
        bands = [WIDTH / 3 * 0.95 + 0.75]
        rows = -(-count // _MOST_COLUMNS)
        columns = -(-count // max(1, rows))  # rows as even as can be
        if count:
            bands.append(rows * (WIDTH / max(5, columns) * aspect + 0.45))
        figure, parts = start_sheet(look, facts=_heading(view), about=_explain(view), bands=bands)
        _draw_overview(parts[0], look, view)
        if count:
            shares = gathered(view)
            for number, axes in enumerate(grid_of(parts[1], count, columns=max(5, columns))):
                _draw_response(axes, look, view, number, float(shares[view.numbers[number]]))
        return figure

    def arrays(self, look: Look, view: ChannelView, queries: Sequence[int]) -> dict[str, Tensor]:  # noqa: ARG002
        return {
            "weights": view.weights,
            "channels": view.channels,
            "numbers": torch.tensor(view.numbers, dtype=torch.int64),
        }

    def summary(self, look: Look, view: ChannelView, queries: Sequence[int]) -> Document:  # noqa: ARG002
        shares = gathered(view)
        return {
            "map": list(view.size),
            "channels": len(view.weights),
            "largest": float(view.weights.max()),
            "shown": [
                {"channel": number, "equal_shares": float(shares[number])}
                for number in view.numbers
            ],
        }

    def pack(self, look: Look, view: ChannelView, share: float) -> tuple[Document, float]:  # noqa: ARG002
        height, width = view.size
        matrix, top = small_matrix(view.weights), float(view.weights.max())
        low = view.channels.amin(dim=(1, 2), keepdim=True)
        span = (view.channels.amax(dim=(1, 2), keepdim=True) - low).clamp(min=1e-12)
        document = {
            "width": width,
            "height": height,
            "total": len(view.weights),
            "cells": len(matrix),
            "block": -(-len(view.weights) // MOST_CELLS),
            "top": top,
            # Square roots, since most weights are far below the largest.
            "matrix": bytes_of((matrix / max(top, 1e-12)).sqrt()),
            "numbers": list(view.numbers),
            "shares": [float(gathered(view)[number]) for number in view.numbers],
            "channels": bytes_of((view.channels - low) / span),
        }
        return document, top / 255


DRAWER = _ChannelDrawer()
