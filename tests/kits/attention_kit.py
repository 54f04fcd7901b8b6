"""Made-up views of attention, for tests of what is drawn from them."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from i2icli.losses.attention import global_entropy, local_entropy
from i2icli.methods.shared.views import AttentionView
from i2icli.viz.looks import Look

# Ways to select, each in every layout that it has.
KINDS = [
    ("global", "paper"),
    ("local", "paper"),
    ("local", "released"),
    ("local-global", "paper"),
    ("local-global", "released"),
]


def texts(figure: Figure) -> str:
    """Return all words of a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def drawn(figure: Figure) -> list[np.ndarray]:
    """Return all pictures and maps of a figure."""
    return [np.asarray(im.get_array()) for ax in figure.findobj(Axes) for im in ax.images]


def make_view(selection: str = "global", *, layout: str = "paper", layer: int = 12):
    random = torch.Generator().manual_seed(3)
    source, translation = torch.randn((2, 5, 6, 8), generator=random)
    entropies = [
        global_entropy(f[None]) if selection == "global" else local_entropy(f[None], layout=layout)
        for f in (source, translation)
    ]
    ours, theirs = (entropy[0].view(6, 8) for entropy in entropies)
    places = ours.flatten().argsort(stable=True)[:9]
    return AttentionView(layer, ours, theirs, places, source, translation, selection, 7, layout)


def make_look(*views: AttentionView, height: int = 22, width: int = 30) -> Look:
    random = np.random.default_rng(0)
    source, translation = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return Look("deep/a_$x$.png", source, translation, (24, 32), views)
