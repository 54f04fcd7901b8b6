"""Convolutions of random weights in the place of pretrained ones."""

import numpy as np
import torch

from i2icli.pretrained.weight_files import expected_shapes


def random_convolutions(name, gain=1.0):
    """Return tensors of the names and shapes of some weights, their variance by the fan-in."""
    generator = torch.Generator().manual_seed(7)
    return {
        key: gain * torch.randn(shape, generator=generator) / max(1, np.prod(shape[1:])) ** 0.5
        for key, shape in expected_shapes(name).items()
    }
