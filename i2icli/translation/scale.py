"""The size at which the network works on a picture: that at which training showed pictures.

A network trained on small copies has never seen objects as large as a full picture shows them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from i2icli.config.sections import DataConfig
from i2icli.errors import ConfigError
from i2icli.methods.shared.configure import AnyRunConfig

log = logging.getLogger(__package__)

ScaleChoice = str | float  # "auto", "none", a factor of the picture's sides, or "144px"
Size = tuple[int, int]  # height and width, pixels
Side = Literal["mean", "shorter", "longer", "width"]

_TOLERATED = 1.25  # that pictures differ from what training showed
_MOST_ENLARGED = 4.0  # times the pixels of a square of the training's side
_WORDS: dict[Side, str] = {
    "mean": "geometric mean of the sides",
    "shorter": "shorter side",
    "longer": "longer side",
    "width": "width",
}
_SIDES: dict[str, Side] = {
    "resize": "mean",
    "resize-and-crop": "mean",
    "scale-shorter-and-crop": "shorter",
    "random-scale-and-crop": "longer",
    "scale-width": "width",
    "scale-width-and-crop": "width",
}


@dataclass(frozen=True)
class TrainingSize:
    """The size at which training showed whole pictures.

    Attributes:
        pixels: of the side.
        side: which of a picture's sides it is; "mean" is the geometric mean of both, for training
            that squashes pictures to a square.
        tolerated: factor by which pictures may differ from it, either way.
        before: shorter side of the training pictures' files, the median, pixels; None: not known.
    """

    pixels: float
    side: Side = "mean"
    tolerated: float = _TOLERATED
    before: float | None = None

    def measure(self, size: Size) -> float:
        """Return the side of a picture that is compared, pixels."""
        height, width = size
        sides = {"shorter": min(size), "longer": max(size), "width": width}
        return sides.get(self.side) or math.sqrt(height * width)

    def differs_by(self, pixels: float) -> float:
        """Return the factor, at least 1, by which a side of a picture differs from it."""
        return max(pixels / self.pixels, self.pixels / pixels)

    def words(self) -> str:
        """Return it in words, for example "144 pixels (width)"."""
        return f"{self.pixels:g} pixels ({_WORDS[self.side]})"


def shown_size(
    data: DataConfig, *, is_decaying: bool, before: float | None = None
) -> TrainingSize | None:
    """Return the size at which training shows whole pictures; None: at their own, or many.

    Args:
        data: how pictures are prepared.
        is_decaying: whether the learning rate decays.
        before: shorter side of the pictures before, the median, pixels.
    """
    side = _SIDES.get(data.preprocess)
    if side is None:
        return None
    width, height = data.resize, data.resize_height or data.resize
    if data.preprocess == "random-scale-and-crop":  # from half to twice
        return TrainingSize(width, side, tolerated=2.0, before=before)
    if is_decaying and not data.jitter_in_decay and data.preprocess.endswith("-and-crop"):
        width = height = data.crop
    pixels = math.sqrt(width * height) if side == "mean" else width
    return TrainingSize(pixels, side, before=before)


def training_size(
    config: AnyRunConfig, pictures: Mapping[str, Any], *, epoch: int
) -> TrainingSize | None:
    """Return the size at which a run showed whole pictures in an epoch; None: not known.

    Args:
        config: of the run.
        pictures: what its checkpoint says of the training pictures; 0.1.0 did not say their size.
        epoch: counted from 1.
    """
    before = pictures.get("a", {}).get("side")
    if before is None:
        return None
    is_decaying = config.method.schedule.is_decaying(max(1, epoch))
    return shown_size(config.data, is_decaying=is_decaying, before=before)


@dataclass
class Scale:
    """The rule by which the size that the network works at follows from a picture's own.

    Attributes:
        target: the size to bring pictures to that differ from it; None: none.
        factor: of the sides of a picture, where there is no target.
        filter: bicubic or bilinear, as in training.
        is_told: whether the user was told that pictures are rescaled.
    """

    target: TrainingSize | None = None
    factor: float = 1.0
    filter: str = "bicubic"
    is_told: bool = True

    @property
    def may_rescale(self) -> bool:
        """Whether there are pictures that are not worked on at their own size."""
        return self.target is not None or self.factor != 1.0

    def words(self) -> str:
        """Return the rule in words, for example "144 pixels (width)"."""
        if self.target is not None:
            return self.target.words()
        return f"{self.factor:g} of the sides" if self.may_rescale else "none"

    def working_size(self, size: Size) -> Size:
        """Return height and width at which the network works on a picture of a size, pixels."""
        factor, target = self.factor, self.target
        if target is not None:
            if target.differs_by(target.measure(size)) <= target.tolerated:
                return size
            # An elongated picture is not enlarged without end.
            most = target.pixels * math.sqrt(_MOST_ENLARGED / (size[0] * size[1]))
            factor = min(target.pixels / target.measure(size), max(1.0, most))
        height, width = (max(1, round(side * factor)) for side in size)
        return height, width

    def worked_on(self, images: Tensor) -> Tensor:
        """Return pictures, (B, C, H, W) in [-1, 1], at the size that the network works at.

        Where that is their own, `images` itself returns.
        """
        size = images.shape[-2], images.shape[-1]
        wanted = self.working_size(size)
        if wanted == size:
            return images
        self._tell(size, wanted)
        resized = F.interpolate(images, size=wanted, mode=self.filter, antialias=True)
        return resized.clamp_(-1.0, 1.0)

    def _tell(self, size: Size, wanted: Size) -> None:
        if self.is_told or self.target is None:
            return
        self.is_told = True
        before = f" of {self.target.before:g}" if self.target.before else ""
        log.info(
            f"training showed whole pictures{before} at {self.target.words()}: one of {size[1]} x "
            f"{size[0]} is worked on at {wanted[1]} x {wanted[0]}, as are all that differ by a "
            f"factor above {self.target.tolerated:g}, and comes back at its own size; "
            "`--scale none` works at that"
        )


AS_IS = Scale()


def check_scale(choice: ScaleChoice) -> ScaleChoice:
    """Return a choice of the scale, a factor as a number.

    Raises:
        ConfigError: if it is none.
    """
    if choice in ("auto", "none"):
        return choice
    text = str(choice)
    try:
        number = float(text.removesuffix("px"))
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise ConfigError(
            f"--scale {text!r} is not known: use auto, none, a factor of the picture's sides such "
            "as 0.5, or the side to work at such as 144px."
        )
    return text if text.endswith("px") else number
