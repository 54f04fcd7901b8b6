"""At which scale training shows the pictures, against the one at which they are translated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from i2icli.config.sections import DataConfig
from i2icli.data.images import read_size
from i2icli.errors import DataError

_LOOKED_AT = 16
_TOLERATED = 1.35


def scale_note(data: DataConfig, pictures: Sequence[Path]) -> str | None:
    """Return a sentence where training sees another scale than `i2i translate`; None else.

    Released code squashes test pictures to the training size, so that the scales agree by force;
    translate keeps sizes, and a network trained on small copies sees objects of a size it never
    saw.

    Args:
        data: how training prepares pictures.
        pictures: training pictures, of which some are looked at.
    """
    if data.preprocess in ("crop", "none"):
        return None
    sides = list(_sides(pictures[:: max(1, len(pictures) // _LOOKED_AT)]))
    if not sides:
        return None
    side = median(sides)
    in_decay = data.resize if data.jitter_in_decay or data.preprocess == "resize" else data.crop
    worst = max(data.resize, in_decay, key=lambda shown: max(shown / side, side / shown))
    if max(worst / side, side / worst) <= _TOLERATED:
        return None
    return (
        f"training shows pictures at {worst / side:.2g} of their size ({worst} of {side:g} "
        "pixels), but `i2i translate` keeps sizes: set data.resize to what will be translated "
        "(and, for crops much smaller than that, data.jitter_in_decay=true), or scale those too."
    )


def _sides(pictures: Sequence[Path]) -> list[int]:
    """Return the widths of the pictures that can be read."""
    sides = []
    for path in pictures:
        try:
            sides.append(read_size(path)[0])
        except DataError:
            continue
    return sides
