"""Spatial self-similarity (F-SeSim and L-SeSim, Zheng et al., CVPR 2021).

What a place of a picture resembles within the same picture is its structure, whatever the
picture's colours: a translation should keep it. https://arxiv.org/abs/2104.00854.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.system.device import full_precision

PlaceLayout = Literal["paper", "released"]
MapComparison = Literal["cos", "l1"]
PRODUCT_SCALE = 0.1  # of products, before the tanh of similarity that is no cosine


@full_precision
def centred_features(features: Tensor, *, normalise: bool) -> Tensor:
    """Subtract each channel's mean over the picture, then scale; (B, C, H, W), float32 at least.

    With `normalise` each place's vector to length 1; otherwise divide by sqrt(C).
    """
    centred = features - features.mean(dim=(2, 3), keepdim=True)
    if normalise:
        return F.normalize(centred, dim=1)
    return centred / math.sqrt(features.shape[1])


@full_precision
def similarity_maps(
    features: Tensor,
    places: Tensor,
    *,
    patch_size: int,
    normalise: bool = False,
    layout: PlaceLayout = "paper",
) -> Tensor:
    """Return the similarity of some positions to those around them (SeSim, eq. 2).

    Args:
        features: of one picture each, (B, C, H, W).
        places: flat positions row * W + column, shared by the batch, (P,) int64.
        patch_size: side of the window around a place, moved inside the map at its edges. A window
            that is not smaller than both sides of the map means the whole map.
        normalise: cosines; otherwise tanh(0.1 product) of features divided by sqrt(C).
        layout: "paper" centres each window on its place. "released" finds the centre as the
            released code does, which divides by the map's height where the width is meant; the
            two are one on square maps.

    Returns:
        (B, P, N) in [-1, 1], N = patch_size**2, or H * W over the whole map.
    """
    height, width = features.shape[2:]
    flat = centred_features(features, normalise=normalise).flatten(2)
    products = torch.bmm(flat.index_select(2, places).mT, flat)  # (B, P, HW)
    if patch_size < min(height, width):
        # Cheaper than to gather the windows' features: they overlap.
        window = _windows(places, height, width, patch_size, layout)
        products = products.gather(2, window.expand(len(features), -1, -1))
    return products if normalise else torch.tanh(PRODUCT_SCALE * products)


def _windows(
    places: Tensor, height: int, width: int, patch_size: int, layout: PlaceLayout
) -> Tensor:
    """Return the flat positions in each place's window, (P, patch_size**2)."""
    # Departs from the official code: a position is decoded with the map's width, not its height,
    # because on maps that are not square the windows would lie elsewhere than the places.
    divisor = width if layout == "paper" else height
    top = (places // divisor - patch_size // 2).clamp(0, height - patch_size)
    left = (places % divisor - patch_size // 2).clamp(0, width - patch_size)
    steps = torch.arange(patch_size, device=places.device)
    rows = top[:, None] + steps
    columns = left[:, None] + steps
    return (rows[:, :, None] * width + columns[:, None, :]).flatten(1)


def mask_maps(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Keep of both maps, (B, P, N), the entries where the target is highest; others become 0.

    As released, what is below the (N // 4)-th highest value, counted from 0, goes: N // 4 + 1
    entries stay, more where values tie.
    """
    rank = target.shape[-1] // 4
    threshold = target.detach().topk(rank + 1, dim=-1).values[..., -1:]
    is_low = target < threshold
    return source.masked_fill(is_low, 0.0), target.masked_fill(is_low, 0.0)


@full_precision
def map_distance(
    source: Tensor, target: Tensor, *, compare: MapComparison = "cos", normalise: bool = False
) -> Tensor:
    """Return the distance of two pictures' self-similarity maps (SeSim, eq. 3), a scalar.

    The mean over batch and places; 0 for equal maps.

    Args:
        source: maps of the source, (B, P, N).
        target: maps of the translation, (B, P, N); decides which entries count.
        compare: "cos" compares the cosine of both maps with 1; "l1" compares entry by entry, both
            multiplied by N / (N // 4).
        normalise: whether the maps hold cosines: then the criterion is L1, otherwise smooth L1.
    """
    criterion = F.l1_loss if normalise else F.smooth_l1_loss
    kept_source, kept_target = mask_maps(source, target)
    if compare == "cos":
        cosine = F.cosine_similarity(kept_source, kept_target, dim=-1)
        return criterion(cosine, torch.ones_like(cosine))
    count = target.shape[-1]
    factor = count / max(1, count // 4)
    return criterion(factor * kept_target, factor * kept_source)


@full_precision
def contrast_logits(source: Tensor, target: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """Return the logits that the learned head classifies (SeSim, eq. 5), (B, P, 3 P).

    A source map with all target maps, with all other maps, and the target map of its place with all
    other maps. The right answer of row i is column i.

    Args:
        source: maps of a picture, (B, P, N).
        target: maps of its other appearance at the same places, the same shape.
        other: maps of an unrelated picture, the same shape.
        temperature: divides the cosines.
    """
    source, target, other = (F.normalize(maps, dim=-1) for maps in (source, target, other))
    pairs = ((source, target), (source, other), (target, other))
    return torch.cat([torch.bmm(a, b.mT) for a, b in pairs], dim=-1) / temperature


def map_contrast(
    source: Tensor, target: Tensor, other: Tensor, *, temperature: float = 0.07
) -> Tensor:
    """Return the contrast that trains the learned head, a scalar in nats (SeSim, eq. 5).

    Arguments as in `contrast_logits`; gradient flows to all three.
    """
    logits = contrast_logits(source, target, other, temperature=temperature)
    right = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), right.flatten())
