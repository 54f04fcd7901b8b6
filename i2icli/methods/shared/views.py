"""What a method can show of its own workings, for `viz-attention` to draw.

The views of one picture have layers of different names: those name files and arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.losses.attention import (
    WindowLayout,
    global_entropy,
    global_rows,
    local_entropy,
    local_rows,
)

Selection = Literal["global", "local", "local-global"]
Side = Literal["source", "translation"]
SimilarityForm = Literal["cosine", "tanh"]
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


class _Sized:
    """Maps whose last two axes are height and width; `sized_by` names the field of one."""

    sized_by: ClassVar[str]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the map, places."""
        height, width = getattr(self, self.sized_by).shape[-2:]
        return height, width


@dataclass(frozen=True)
class AttentionView(_Sized):
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
        selection, window, layout: as in `Attending`.
    """

    sized_by = "entropy"
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
        """Return the attention of flat positions, (N,), over one side's map, (N, H, W), sum 1."""
        features = self.features(side)
        rows = global_rows(features[None], places[None])[0]
        return rows.view(-1, *features.shape[1:])

    def window_rows(self, side: Side, places: Tensor) -> Tensor:
        """Return the attention of flat positions, (N,), over their windows, (N, window, window).

        Each window sums to 1. In layout "paper" an entry is a place; those beyond the edge are zero
        vectors and have weight too. In layout "released" an entry mixes channels of several places.
        """
        features, window = self.features(side)[None], self.window
        rows = local_rows(features, places[None], window=window, layout=self.layout)
        return rows[0].view(-1, window, window)


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
        translation: the same of the translations.
        attending: how attention looks around.
        choose: takes entropies, (B, HW), and returns flat positions, (B, N).
    """
    entropy, theirs = attending.entropy(source), attending.entropy(translation)
    places, size = choose(entropy), source.shape[2:]
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


@dataclass(frozen=True)
class MaskView(_Sized):
    """Where a translation changes the picture, or any map that belongs to one of its pixels.

    Attributes:
        layer: what it is called in captions and file names.
        name: what the values mean, for the legend, for example "attention mask".
        low: what 0 means, in words, for example "kept from the source".
        high: what 1 means, in words.
        mask: (H, W) in [0, 1], float32, on the CPU.
    """

    sized_by = "mask"
    layer: str
    name: str
    low: str
    high: str
    mask: Tensor


@dataclass(frozen=True)
class SimilarityView(_Sized):
    """Self-similarity of the features of two pictures: rows are computed when asked for.

    The similarity of the places i and k, with features f as the method compares them (centred,
    divided, projected: whatever it does before it multiplies), lies in [-1, 1]:

    - form "cosine": f_i . f_k / (|f_i| |f_k|), divided here even if they are unit vectors already;
    - form "tanh": tanh(scale * f_i . f_k).

    Attributes:
        layer: name of the tapped layer, such as "relu3_1".
        source: features of the source, (C, H, W), float32, on the CPU.
        translation: the same of the translation.
        scale: of form "tanh"; form "cosine" has none.
        name: what the values mean, for the legend.
    """

    sized_by = "source"
    layer: str
    source: Tensor
    translation: Tensor
    form: SimilarityForm
    scale: float = 1.0
    name: str = "self-similarity"

    def features(self, side: Side) -> Tensor:
        """Return the features of one side, (C, H, W)."""
        return self.source if side == "source" else self.translation

    def factors(self, side: Side) -> Tensor:
        """Return vectors, (C, HW), whose products are the similarities, before any tanh."""
        flat = self.features(side).flatten(1)
        if self.form == "cosine":
            return F.normalize(flat, dim=0)
        return flat * math.sqrt(self.scale)

    def map_rows(self, side: Side, places: Tensor) -> Tensor:
        """Return the similarity of places, (N,), with one side's whole map, (N, H, W)."""
        factors = self.factors(side)
        products = factors[:, places].mT @ factors
        rows = torch.tanh(products) if self.form == "tanh" else products
        return rows.view(-1, *self.size)


@dataclass(frozen=True)
class PositionView(_Sized):
    """Learned position attention (DANet): what each place gathers from all others.

    Attributes:
        layer: what it is called in captions and file names.
        queries: (C', H, W), float32, on the CPU.
        keys: (C', H, W).
    """

    sized_by = "queries"
    layer: str
    queries: Tensor
    keys: Tensor

    def map_rows(self, places: Tensor) -> Tensor:
        """Return the attention of flat positions, (N,), over the map, (N, H, W), each sums to 1."""
        rows = self.queries.flatten(1)[:, places].mT @ self.keys.flatten(1)
        return rows.softmax(dim=1).view(-1, *self.keys.shape[1:])


@dataclass(frozen=True)
class ChannelView(_Sized):
    """Channel attention (DANet): how much each channel gathers from every other.

    Attributes:
        layer: what it is called in captions and file names.
        weights: (C, C), each row sums to 1, float32, on the CPU.
        channels: responses of the channels that are shown, (K, H, W).
        numbers: which channels those are, K of them.
    """

    sized_by = "channels"
    layer: str
    weights: Tensor
    channels: Tensor
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class ScaleView(_Sized):
    """How much each scale of the picture says at each pixel (Attention-to-Scale).

    Attributes:
        layer: what it is called in captions and file names.
        scales: sizes relative to the picture, for example (1.0, 0.75, 0.5).
        weights: (S, H, W), sum 1 over the scales, float32, on the CPU.
    """

    sized_by = "weights"
    layer: str
    scales: tuple[float, ...]
    weights: Tensor


AnyView = AttentionView | MaskView | SimilarityView | PositionView | ChannelView | ScaleView
