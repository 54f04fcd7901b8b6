"""The drawer of each kind of view; a further kind adds a line here."""

from __future__ import annotations

from typing import Any

from i2icli.methods.shared.views import (
    AnyView,
    AttentionView,
    ChannelView,
    MaskView,
    PositionView,
    ScaleView,
    SimilarityView,
)
from i2icli.viz import attention, channels, masks, positions, scales, similarity
from i2icli.viz.drawer import Drawer

DRAWERS: dict[type, Drawer[Any]] = {
    AttentionView: attention.DRAWER,
    MaskView: masks.DRAWER,
    SimilarityView: similarity.DRAWER,
    PositionView: positions.DRAWER,
    ChannelView: channels.DRAWER,
    ScaleView: scales.DRAWER,
}


def drawer_of(view: AnyView) -> Drawer[Any]:
    """Return the drawer of a view's kind."""
    return DRAWERS[type(view)]
