"""What a method can show of its own workings, for `viz-attention` to draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from i2icli.losses.attention import (
    WindowLayout,
    global_entropy,
    global_rows,
    local_entropy,
    local_rows,
)

Selection = Literal["global", "local", "local-global"]
Side = Literal["source", "translation"]
SIDES: tuple[Side, Side] = ("source", "translation")


@dataclass(frozen=True)
class Attending:
    """How attention looks around.

    Attributes:
        selection: where entropy is measured and features are routed.
        window: side of the local window, odd, feature pixels.
        layout: of the local windows.
    """

    selection: Selection
    window: int
    layout: WindowLayout

    def entropy(self, features: Tensor) -> Tensor:
        """Return the entropy of every place's attention, (B, HW) nats, without gradient."""
        if self.selection == "global":
            return global_entropy(features)
        return local_entropy(features, window=self.window, layout=self.layout)


@dataclass(frozen=True)
class AttentionView:
    """Query-selected attention at one layer of one picture.

    Everything is detached, in float32 and on the CPU; rows are computed from the features when
    asked for, since all of them together take gigabytes.

    Attributes:
        layer: number of the generator's module that was tapped.
        entropy: of every place's attention in the source, (H, W) nats; the method selects by it.
        translation_entropy: the same measured in the translation, (H, W) nats, to compare with.
        places: the selected flat positions row * W + column, lowest entropy first, (N,).
        source: features of the source, (C, H, W).
        translation: features of the translation, (C, H, W).
        selection: where entropy is measured and features are routed.
        window: side of the local window, feature pixels.
        layout: of the local windows.
    """

    layer: int
    entropy: Tensor
    translation_entropy: Tensor
    places: Tensor
    source: Tensor
    translation: Tensor
    selection: Selection
    window: int
    layout: WindowLayout

    @property
    def has_map(self) -> bool:
        """Whether features are routed over the whole picture."""
        return self.selection != "local"

    @property
    def has_window(self) -> bool:
        """Whether entropy is measured in a window."""
        return self.selection != "global"

    def features(self, side: Side) -> Tensor:
        """Return the features of one side, (C, H, W)."""
        return self.source if side == "source" else self.translation

    def map_rows(self, side: Side, places: Tensor) -> Tensor:
        """Return the attention of places over one side's whole map.

        Args:
            side: the picture whose features attend to each other.
            places: flat positions, (N,).

        Returns:
            Weights, (N, H, W), each map summing to 1.
        """
        features = self.features(side)
        rows = global_rows(features[None], places[None])[0]
        return rows.view(-1, *features.shape[1:])

    def window_rows(self, side: Side, places: Tensor) -> Tensor:
        """Return the attention of places over their windows.

        In layout "paper" an entry is a place; those beyond the edge are zero vectors and have
        weight too. In layout "released" an entry mixes channels of several places.

        Args:
            side: the picture whose features attend to each other.
            places: flat positions, (N,).

        Returns:
            Weights, (N, window, window), each window summing to 1.
        """
        rows = local_rows(
            self.features(side)[None], places[None], window=self.window, layout=self.layout
        )[0]
        return rows.view(-1, self.window, self.window)


def attention_views(
    layer: int,
    source: Tensor,
    translation: Tensor,
    *,
    attending: Attending,
    choose: Callable[[Tensor], Tensor],
) -> list[AttentionView]:
    """Return a view a picture.

    Args:
        layer: number of the module that the features come from.
        source: features of the sources, (B, C, H, W).
        translation: features of the translations, (B, C, H, W).
        attending: how attention looks around.
        choose: takes entropies, (B, HW), and returns flat positions, (B, N).
    """
    entropy = attending.entropy(source)
    theirs = attending.entropy(translation)
    places = choose(entropy)
    size = source.shape[2:]
    return [
        AttentionView(
            layer=layer,
            entropy=_kept(entropy[i]).view(size),
            translation_entropy=_kept(theirs[i]).view(size),
            places=places[i].detach().cpu(),
            source=_kept(source[i]),
            translation=_kept(translation[i]),
            selection=attending.selection,
            window=attending.window,
            layout=attending.layout,
        )
        for i in range(len(source))
    ]


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu()


# Further kinds join this union as methods bring them (masks, self-similarity maps, scale weights).
View = AttentionView
