"""Semantic relations of patches and decoupled contrast (SRC and hDCE, Jung et al., CVPR 2022).

https://arxiv.org/abs/2203.01532. How alike the patches of a picture are among themselves should
survive translation; and patches that are like the query are the harder negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.system.device import full_precision

_SELF = -10.0


@full_precision
def relation_consistency(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the divergence of the relations among patches (SRC, sec. 3.1), (B,) nats, at least 0.

    Relations are the soft-max of each patch's similarities with all patches of its picture,
    itself included. As released, their Jensen-Shannon divergence is added up over all patches,
    not averaged, so that it grows with their number.

    Args:
        queries: features of the translation, (B, N, C); scaled to length 1 here.
        keys: features of the source at the same places, (B, N, C); taken as constants.
    """
    ours = _similarities(queries).log_softmax(dim=-1)
    theirs = _similarities(keys.detach()).log_softmax(dim=-1)
    # Jensen-Shannon: half of each one's divergence from the mean of both, in logarithms.
    middle = torch.logaddexp(ours, theirs) - math.log(2.0)
    each = ours.exp() * (ours - middle) + theirs.exp() * (theirs - middle)
    return 0.5 * each.sum(dim=(1, 2))


@full_precision
def hardness_weights(keys: Tensor, *, gamma: float) -> Tensor:
    """Return the weight of each patch as a negative of each other (hDCE, sec. 3.2), (B, N, N).

    The most similar other patch weighs 1, all others less: exp((s - s_max) / gamma). No gradient;
    the diagonal means nothing.

    Args:
        keys: features of the source, (B, N, C); scaled to length 1 here, taken as constants.
        gamma: divides the similarities; small: only the hardest negatives keep their weight.
    """
    similarities = _without_self(_similarities(keys.detach()))
    hardest = similarities.amax(dim=-1, keepdim=True)
    return ((similarities - hardest) / gamma).exp()


@full_precision
def decoupled_contrast(
    queries: Tensor, keys: Tensor, weights: Tensor | None = None, *, temperature: float = 0.07
) -> Tensor:
    """Contrast each patch with the others of its picture, the positive apart (hDCE, eq. 7).

    Args:
        queries: features of the translation, (B, N, C), unit norm along C.
        keys: features of the source at the same places, of the same shape and norm; constants.
        weights: multiply the similarities of the negatives, (B, N, N); None: 1.
        temperature: divides cosine similarities.

    Returns:
        For each patch cross entropy in nats with the gradient of v, (B, N).
    """
    keys = keys.detach()
    positive = (queries * keys).sum(dim=-1, keepdim=True)
    negatives = torch.bmm(queries, keys.mT)
    if weights is not None:
        negatives = negatives * weights
    value = ((_without_self(negatives) - positive) / temperature).logsumexp(dim=-1)
    # With v the log-sum-exp of the weighted negatives less the positive, the gradient is that of v,
    # where cross entropy has that of log(1 + exp(v)). As released, the value is the cross entropy
    # nevertheless.
    return value - value.detach() + F.softplus(value.detach())


def _similarities(rows: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    unit = rows / (length + 1e-7)  # added, as released
    return torch.bmm(unit, unit.mT)


def _without_self(similarities: Tensor) -> Tensor:
    is_self = torch.eye(similarities.shape[1], dtype=torch.bool, device=similarities.device)
    return similarities.masked_fill(is_self, _SELF)  # which counts for nothing
