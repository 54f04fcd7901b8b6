"""Patch-wise contrastive loss (CUT, Park et al., ECCV 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from i2icli.networks.taps import gather_places
from i2icli.system.device import full_precision


def rows_at(features: Tensor, places: Tensor) -> Tensor:
    """Return feature vectors at drawn positions, (N,), from maps, or as they are if taken there.

    Features are (B, C, H, W), or (B, N, C); the result is (B, N, C).
    """
    if features.dim() == 3:
        return features
    return gather_places(features, places.to(features.device, non_blocking=True))


@full_precision
def patch_nce(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float = 0.07,
    batch_negatives: bool = False,
    all_keys: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """Match each translated patch to the source patch at its place (CUT, eq. 3).

    Negatives are the other patches of the same image, or of the whole batch.

    Args:
        queries: features of the translation, (B, N, C), unit norm along C.
        keys: features of the source at the same places, of the same shape and norm; constants.
        temperature: divides the cosine similarities.
        batch_negatives: take the patches of all images of the batch as negatives.
        all_keys: with `batch_negatives`, the keys of a larger batch that these are a part of,
            (B', N, C); None: these are all.
        first: number of the first of these images in the larger batch.

    Returns:
        Cross entropy in nats of each patch, (B, N).
    """
    batch, count, _ = queries.shape
    keys = keys.detach()
    others = keys
    if batch_negatives:
        others = (keys if all_keys is None else all_keys.detach()).flatten(0, 1)[None]
        queries, keys = queries.reshape(1, batch * count, -1), keys.reshape(1, batch * count, -1)
    positive = (queries * keys).sum(dim=-1, keepdim=True)
    # (1, B * N, C) now with the whole batch; a patch's own key lies at its row of the larger batch.
    rows = torch.arange(queries.shape[1], device=queries.device) + first * count
    is_self = rows[:, None] == torch.arange(others.shape[1], device=queries.device)
    # As released, the positive among the negatives gets a similarity of -10, no hole.
    negatives = torch.bmm(queries, others.mT).masked_fill(is_self, -10.0)
    logits = torch.cat([positive, negatives], dim=-1) / temperature  # the positive is class 0
    return -logits.log_softmax(dim=-1)[..., 0].reshape(batch, count)
