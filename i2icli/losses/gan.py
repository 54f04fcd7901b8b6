"""Adversarial losses on the logits of a discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.system.device import full_precision

GanMode = Literal["lsgan", "vanilla", "hinge", "nonsaturating", "wgangp"]


def discriminator_gan_loss(
    prediction: Tensor | Sequence[Tensor], *, is_real: bool, mode: GanMode
) -> Tensor:
    """Return the discriminator's GAN loss on real or on translated pictures, a scalar.

    The mean over the map and the pictures, summed over scales.

    Args:
        prediction: logits, (B, ...), or one such map a scale.
        is_real: whether the pictures are real.
        mode: "lsgan" squares (Mao et al., ICCV 2017), "vanilla" and "nonsaturating" are the
            logistic loss (Goodfellow et al., 2014), "hinge" (Lim and Ye, 2017), "wgangp" the bare
            critic (Gulrajani et al., 2017) without its penalty.
    """
    maps = [prediction] if isinstance(prediction, Tensor) else prediction
    return _total([_gan_loss(logits, is_real=is_real, mode=mode) for logits in maps])


def generator_gan_loss(prediction: Tensor | Sequence[Tensor], *, mode: GanMode) -> Tensor:
    """Return the generator's GAN loss, given the logits of its pictures.

    Arguments and value as in `discriminator_gan_loss`.
    """
    maps = [prediction] if isinstance(prediction, Tensor) else prediction
    form: GanMode = "wgangp" if mode == "hinge" else mode  # it raises the logits themselves
    return _total([_gan_loss(logits, is_real=True, mode=form) for logits in maps])


def _total(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


@full_precision
def _gan_loss(logits: Tensor, *, is_real: bool, mode: GanMode) -> Tensor:
    if mode == "lsgan":
        return (logits - float(is_real)).square().mean()
    if mode == "wgangp":
        return -logits.mean() if is_real else logits.mean()
    if mode == "hinge":
        return F.relu(1.0 - logits if is_real else 1.0 + logits).mean()
    # softplus(-x) is the binary cross entropy of logit x with label 1
    return F.softplus(-logits if is_real else logits).mean()
