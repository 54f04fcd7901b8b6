"""A small network in the place of Inception."""

from pathlib import Path

import torch

from i2icli.metrics.inception import FEATURES
from i2icli.pretrained.weights import FoundWeights

INCEPTION = FoundWeights("inception", Path("none.pt"), "0" * 64)


def look(images, cells=4):
    """Return features that tell pictures apart."""
    means = torch.nn.functional.adaptive_avg_pool2d(images, cells).flatten(1)
    return torch.nn.functional.pad(means, (0, FEATURES - means.shape[1]))


def use_stand_in(patch, build=lambda *_: look):
    """Build `look`, or what is given, where Inception is asked for."""
    patch.setattr("i2icli.metrics.features.build_network", build)
    for name in ("features", "realism", "choose"):
        patch.setattr(f"i2icli.metrics.{name}.find_inception", lambda _mode: INCEPTION)
