"""Which drawer draws which kind of view; a further kind adds a line here."""

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
from i2icli.viz.attention import AttentionDrawer
from i2icli.viz.channels import ChannelDrawer
from i2icli.viz.drawer import Drawer
from i2icli.viz.masks import MaskDrawer
from i2icli.viz.positions import PositionDrawer
from i2icli.viz.scales import ScaleDrawer
from i2icli.viz.similarity import SimilarityDrawer

DRAWERS: dict[type, Drawer[Any]] = {
    AttentionView: AttentionDrawer(),
    MaskView: MaskDrawer(),
    SimilarityView: SimilarityDrawer(),
    PositionView: PositionDrawer(),
    ChannelView: ChannelDrawer(),
    ScaleView: ScaleDrawer(),
}


def drawer_of(view: AnyView) -> Drawer[Any]:
    """Return what draws a view."""
    return DRAWERS[type(view)]
