"""Cross-entropy of class scores against label maps."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from i2icli.system.device import full_precision


@full_precision
def label_loss(
    scores: Tensor, labels: Tensor, *, ignore: int, count: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy averaged over the pixels that are labelled, a scalar.

    Where no pixel of the batch is labelled the loss is 0, with a gradient of zeros.

    Args:
        scores: class scores before the softmax, (B, K, H, W).
        labels: class ids, (B, H, W) int64, from 0 to K - 1, or `ignore`.
        ignore: id of the pixels that do not count.
        count: divides the sum over the pixels; None: the pixels that are labelled, at least 1.
    """
    divisor = (labels != ignore).sum().clamp(min=1) if count is None else count
    total = F.cross_entropy(scores, labels, ignore_index=ignore, reduction="sum")
    return total / divisor.to(total.dtype)
