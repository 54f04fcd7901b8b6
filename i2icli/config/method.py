"""What every method's configuration has: optimizer and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from i2icli.config.base import StrictModel
from i2icli.config.schedule import LinearSchedule, Schedule


class AdamConfig(StrictModel):
    """Adam as the papers of this field use it."""

    lr: float = Field(2e-4, gt=0, description="Learning rate before any decay.")
    beta1: float = Field(0.5, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the second moment.")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty added to the gradient.")


class MethodConfig(StrictModel):
    """Base of the methods' configurations; a subclass adds `name: Literal[...]`.

    `run_defaults` holds the paper's values for the other sections of a run (data, ema, ...),
    as a nested mapping that lies under the preset when a run is configured.
    """

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    optimizer: AdamConfig = Field(AdamConfig(), description="Optimizer of every player.")
    schedule: Schedule = Field(LinearSchedule(), description="Learning rate over the epochs.")

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse channel counts that the method cannot translate between.

        Raises:
            ValueError: with the sentence the user reads; the base accepts everything.
        """
