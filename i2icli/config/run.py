"""The configuration of one run."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from pydantic import Field, model_validator

from i2icli.config.base import StrictModel
from i2icli.config.method import MethodConfig, StructureConfig
from i2icli.config.schedule import TrainConfig
from i2icli.config.sections import (
    AboutConfig,
    CheckpointConfig,
    DataConfig,
    EmaConfig,
    EvalConfig,
    HealthConfig,
    LabelsConfig,
    LogConfig,
    RuntimeConfig,
    SamplesConfig,
)

M = TypeVar("M", bound=MethodConfig)


class RunConfig(StrictModel, Generic[M]):
    """Everything that defines a run; `methods.configure.run_schema()` fills in the methods."""

    preset: str = Field("custom", description="Name of the preset the run started from.")
    about: AboutConfig = Field(AboutConfig(), description="Where the preset's numbers come from.")
    method: M = Field(description="The method and its hyperparameters.")
    data: DataConfig = Field(DataConfig(), description="Pictures and their preparation.")
    labels: LabelsConfig = Field(LabelsConfig(), description="Classes of a labelled data set.")
    structure: StructureConfig = Field(
        StructureConfig(), description="Self-similarity term added to the method's own."
    )
    train: TrainConfig = Field(TrainConfig(), description="Seed and stopping point.")
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="Checkpoints.")
    samples: SamplesConfig = Field(SamplesConfig(), description="Sample grids.")
    eval: EvalConfig = Field(EvalConfig(), description="Measurements while training.")
    health: HealthConfig = Field(HealthConfig(), description="Alarms while training.")
    ema: EmaConfig = Field(EmaConfig(), description="Moving average of the weights.")
    log: LogConfig = Field(LogConfig(), description="Logging.")
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="Device and speed.")

    @model_validator(mode="after")
    def _channels_suit_the_method(self) -> Self:
        self.method.check_channels(self.data.channels_a, self.data.channels_b)
        return self
