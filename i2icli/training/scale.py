"""At which scale training shows the pictures, against the one at which they are translated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from i2icli.config.sections import DataConfig
from i2icli.errors import DataError
from i2icli.pictures.images import read_size

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
    if data.preprocess in ("crop", "none", "zoom-and-patch"):
        return None
    looked_at = pictures[:: max(1, len(pictures) // _LOOKED_AT)]
    sides = list(_sides(looked_at, shorter=data.preprocess == "scale-shorter-and-crop"))
    if not sides:
        return None
    side = median(sides)
    in_decay = data.resize if data.jitter_in_decay or data.preprocess == "resize" else data.crop
    worst = max(data.resize, in_decay, key=lambda shown: max(shown / side, side / shown))
    # Random scales from half to twice reach so far anyway.
    tolerated = 2.0 if data.preprocess == "random-scale-and-crop" else _TOLERATED
    if max(worst / side, side / worst) <= tolerated:
        return None
    return (
        f"training shows pictures at {worst / side:.2g} of their size ({worst} of {side:g} "
        "pixels), but `i2i translate` keeps sizes: set data.resize to what will be translated "
        "(and, for crops much smaller than that, data.jitter_in_decay=true), or scale those too."
    )


def _sides(pictures: Sequence[Path], *, shorter: bool) -> list[int]:
    """Return the widths, or the shorter sides, of the pictures that can be read."""
    sides = []
    for path in pictures:
        try:
            size = read_size(path)
            sides.append(min(size) if shorter else size[0])
        except DataError:
            continue
    return sides
