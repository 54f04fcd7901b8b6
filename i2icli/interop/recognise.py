"""The networks that state dicts of others are of."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from i2icli.errors import CheckpointError
from i2icli.interop.discriminators import (
    recognise_munit_discriminator,
    recognise_patchgan,
    recognise_projection,
    recognise_similarity,
    recognise_stylegan2_discriminator,
)
from i2icli.interop.generators import (
    recognise_munit_generator,
    recognise_resnet,
    recognise_stylegan2_generator,
)
from i2icli.interop.network import Network

_GENERATORS = (recognise_munit_generator, recognise_stylegan2_generator, recognise_resnet)
_OTHERS = (
    recognise_projection,
    recognise_similarity,
    recognise_patchgan,
    recognise_stylegan2_discriminator,
    recognise_munit_discriminator,
)


def recognise(weights: Mapping[str, Tensor], *, source: str) -> Network:
    """Return the network that a state dict is of.

    Raises:
        CheckpointError: naming `source`, the file, and some tensors, if it is of no known kind.
    """
    for recognise_other in _OTHERS:
        if network := recognise_other(weights):
            return network
    for recognise_generator in _GENERATORS:
        if network := recognise_generator(weights, source=source):
            return network
    names = ", ".join(list(weights)[:3])
    raise CheckpointError(
        f"{source} holds a network that is not known ({len(weights)} tensors: {names}, ...): "
        "generators of CycleGAN, CUT, QS-Attn, SeSim, SRC, joliGEN (resnet), SinCUT and MUNIT can "
        "be imported."
    )
