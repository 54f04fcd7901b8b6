"""Released checkpoints: which preset one is taken for where nobody says.

Many papers share an architecture, and nothing in a file says which one it comes from. It makes no
difference to translations, only to what further training would do.
"""

from __future__ import annotations

from collections.abc import Mapping

# By the family of the generator, and what else is there.
PRESETS: Mapping[str, str] = {
    "resnet": "cut",
    "resnet, both ways": "cyclegan",
    "resnet, similarity head": "lsesim",
    "stylegan2 of 1": "sincut",
    "stylegan2 of 2": "single-image-sesim",
    "munit auto-encoder": "munit",
}
