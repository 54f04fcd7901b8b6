"""What every method's configuration has: optimizer and schedule; and what a run tells a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from i2icli.config.base import StrictModel
from i2icli.config.schedule import LinearSchedule, Schedule
from i2icli.config.structure import StructureConfig


class AdamConfig(StrictModel):
    """Adam as the papers of this field use it."""

    lr: float = Field(2e-4, gt=0, description="Learning rate before any decay.")
    beta1: float = Field(0.5, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment.")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty added to the gradient.")


class SGDConfig(StrictModel):
    """Stochastic gradient descent with momentum, as segmentation networks use it."""

    lr: float = Field(0.01, gt=0, description="Learning rate before any decay.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Decay of the moving gradient.")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty added to the gradient.")


OptimizerConfig = AdamConfig | SGDConfig


@dataclass(frozen=True)
class Task:
    """What a method learns of the run's other sections.

    Attributes:
        channels_a: channels of domain A.
        channels_b: channels of domain B.
        crop: side of the training crops, pixels.
        classes: of a labelled data set; 0 where there are none.
        ignore: label that is not scored.
        colours: a colour (R, G, B), 0 to 255, a class, to draw label maps with.
        structure: the structure term to add.
    """

    channels_a: int = 3
    channels_b: int = 3
    crop: int = 256
    classes: int = 0
    ignore: int = 255
    colours: tuple[tuple[int, int, int], ...] = ()
    structure: StructureConfig = StructureConfig()


class MethodConfig(StrictModel):
    """Base of the methods' configurations; a subclass narrows `name` to its own `Literal[...]`.

    `run_defaults` holds the paper's values for the other sections of a run (data, ema, ...),
    as a nested mapping that lies under the preset when a run is configured.
    """

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    name: str
    optimizer: AdamConfig = Field(AdamConfig(), description="Optimizer of every player.")
    schedule: Schedule = Field(LinearSchedule(), description="Learning rate over the epochs.")

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse channel counts that the method cannot translate between.

        Raises:
            ValueError: with the sentence the user reads; the base accepts everything.
        """
