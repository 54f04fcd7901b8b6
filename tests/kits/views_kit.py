"""Made-up views of every kind, for tests of what is drawn from them."""

from __future__ import annotations

import torch
from attention_kit import make_view

from i2icli.methods.shared.views import (
    AnyView,
    ChannelView,
    MaskView,
    PositionView,
    ScaleView,
    SimilarityView,
)

HEIGHT, WIDTH = 6, 8  # places, for 24 x 32 pixels of which a made-up picture has 22 x 30


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_mask(**changes: object) -> MaskView:
    mask = torch.linspace(0, 1, HEIGHT * WIDTH).view(HEIGHT, WIDTH)
    values = {"layer": "mask", "name": "attention mask", "low": "kept", "high": "made anew"}
    return MaskView(**{**values, "mask": mask, **changes})  # type: ignore[arg-type]


def make_similarity(form: str = "tanh", **changes: object) -> SimilarityView:
    source = random(12, HEIGHT, WIDTH, seed=1)
    translation = source + 0.5 * random(12, HEIGHT, WIDTH, seed=2)
    values = {"layer": f"relu {form}", "source": source, "translation": translation, "form": form}
    return SimilarityView(**{**values, "scale": 0.1, **changes})  # type: ignore[arg-type]


def make_position() -> PositionView:
    queries, keys = random(4, HEIGHT, WIDTH, seed=3), random(4, HEIGHT, WIDTH, seed=4)
    return PositionView("position", queries, keys)


def make_channel(total: int = 10) -> ChannelView:
    weights = (2 * random(total, total, seed=5)).softmax(dim=1)
    return ChannelView("channel", weights, random(3, HEIGHT, WIDTH, seed=6), (1, 4, 7))


def make_scale(count: int = 3) -> ScaleView:
    weights = random(count, HEIGHT, WIDTH, seed=7).softmax(dim=0)
    return ScaleView("scales", (1.0, 0.75, 0.5)[:count], weights)


def make_all() -> tuple[AnyView, ...]:
    """Return one view of every kind, similarity in both forms."""
    return (
        make_view(),
        make_mask(),
        make_similarity("tanh"),
        make_similarity("cosine"),
        make_position(),
        make_channel(),
        make_scale(),
    )
