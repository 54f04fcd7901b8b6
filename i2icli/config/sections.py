"""The sections of a run besides the method."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from i2icli.config.base import StrictModel


class LeversConfig(StrictModel):
    """Ways to the same numbers at less cost; off only to compare, or in doubt.

    A run that began before there was one goes on without it: each rounds in its own way.
    """

    reuse_features: bool = Field(
        True, description="Keep features of the sources from the pass that translates them."
    )
    batch_passes: bool = Field(
        True, description="Send pictures that meet the same network through it together."
    )
    selected_rows: bool = Field(
        True,
        description="Attention (QS-Attn): gradient through the selected rows alone, in portions, "
        "rather than through the whole matrix.",
    )
    bilinear_upsample: bool = Field(
        True, description="Double maps by interpolation rather than by a blurring convolution."
    )
    lean_norm: bool = Field(
        True,
        description="Instance norm in the layout and number format that its maps come in, its "
        "statistics in float32, rather than on float32 copies.",
    )
    tapped_rows: bool = Field(
        True,
        description="Take the features that PatchNCE compares where the encoder makes them, so "
        "that their gradient is no map of zeros.",
    )
    lean_blur: bool = Field(
        True,
        description="On a CPU, the gradient of blurs by slices and sums rather than by a "
        "convolution.",
    )
    freeze_others: bool = Field(
        True, description="Spare the gradients of weights whose player is not up for its step."
    )


# Of version 0.1.0, whose files name them all; of those that came later a file names none.
FIRST_LEVERS = (
    "reuse_features",
    "batch_passes",
    "selected_rows",
    "bilinear_upsample",
    "lean_norm",
    "freeze_others",
)


DatasetKind = Literal["unpaired", "labelled", "single"]
Direction = Literal["a2b", "b2a"]
Preprocess = Literal[
    "resize-and-crop",
    "scale-width-and-crop",
    "scale-shorter-and-crop",
    "random-scale-and-crop",
    "scale-width",
    "resize",
    "crop",
    "zoom-and-patch",
    "none",
]


class AboutConfig(StrictModel):
    """What a preset says of itself: where its numbers come from."""

    paper: str = Field("", description="Citation.")
    table: str = Field("", description="Table of the paper that the preset reproduces.")
    published: str = Field("", description="The published number, with its data set.")
    protocol: str = Field("", description="How that number was computed.")
    deviations: tuple[str, ...] = Field((), description="Known departures from the paper.")


class DataConfig(StrictModel):
    """Which pictures, and how they are prepared for training."""

    root: str | None = Field(
        None,
        description="Folder with trainA, trainB, testA, testB; none: the demo set. Of labelled "
        "data with train, trainannot, val, valannot.",
    )
    domain_a: str | None = Field(None, description="Plain folder of domain A, instead of root.")
    domain_b: str | None = Field(
        None,
        description="Plain folder of domain B, instead of root; of labelled data the label maps.",
    )
    test_a: str | None = Field(None, description="Test pictures of A for plain folders.")
    test_b: str | None = Field(None, description="Test pictures of B for plain folders.")
    direction: Direction = Field("a2b", description="`b2a` swaps the two domains.")
    preprocess: Preprocess = Field("resize-and-crop", description="From picture to training crop.")
    resize: int = Field(286, ge=4, description="Side after resizing, pixels.")
    resize_height: int | None = Field(
        None, ge=4, description="Height after resizing where it differs from `resize`, pixels."
    )
    crop: int = Field(256, ge=4, description="Side of the training crop, pixels.")
    interpolation: Literal["bicubic", "bilinear"] = Field(
        "bicubic", description="Resampling filter, antialiased, on 8-bit pictures."
    )
    flip: bool = Field(True, description="Mirror half of the training crops.")
    jitter_in_decay: bool = Field(
        True,
        description="Keep resizing beyond the crop while the learning rate decays; "
        "the code of CUT and QS-Attn does not.",
    )
    zoom_min: float = Field(
        1 / 3,
        gt=0,
        le=1,
        description="Smallest zoom of a side for `zoom-and-patch`; the largest is 1.",
    )
    patches_per_epoch: int = Field(
        100_000,
        ge=1,
        description="Crops that make an epoch for methods that train on one picture of a domain.",
    )
    pairing: Literal["random", "ordered"] = Field(
        "random", description="How a picture of B is chosen for one of A."
    )
    batch_size: int = Field(1, ge=1, description="Pictures of each domain a step.")
    channels_a: Literal[1, 3] = Field(3, description="Channels of domain A.")
    channels_b: Literal[1, 3] = Field(3, description="Channels of domain B.")
    corrupt: Literal["skip", "error"] = Field(
        "skip", description="What an unreadable training picture does: warn and skip, or stop."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.preprocess == "resize-and-crop" and self.crop > min(
            self.resize, self.resize_height or self.resize
        ):
            raise ValueError(
                f"data.crop ({self.crop}) is larger than data.resize ({self.resize}): "
                "the crop is cut from the resized picture"
            )
        if self.preprocess == "scale-shorter-and-crop" and self.crop > self.resize:
            raise ValueError(
                f"data.crop ({self.crop}) is larger than data.resize ({self.resize}): "
                "the crop is cut from a picture whose shorter side is that"
            )
        if (self.domain_a is None) != (self.domain_b is None):
            raise ValueError("data.domain_a and data.domain_b are given together or not at all")
        if self.root is not None and self.domain_a is not None:
            raise ValueError("give data.root, or data.domain_a and data.domain_b, not both")
        return self

    @property
    def is_cropped(self) -> bool:
        """Whether training pictures have the sides that `crop` says, not their own."""
        return self.preprocess not in ("none", "resize", "scale-width")

    def channels_from(self, direction: str) -> int:
        """Return the channels of the pictures that a direction starts from."""
        return self.channels_a if direction == "a2b" else self.channels_b


def data_at(root: Path) -> dict[str, str | None]:
    """Return the settings of section `data` that point any configuration at another folder.

    The folder is made absolute, and the plain folders that a preset may name are left out.
    """
    plain = dict.fromkeys(("domain_a", "domain_b", "test_a", "test_b"))
    return {**plain, "root": os.path.abspath(root.expanduser())}


def data_overrides(root: Path) -> list[str]:
    """Return `data_at` in the words of `--set`."""
    return [f"data.{key}={value or 'null'}" for key, value in data_at(root).items()]


class LabelsConfig(StrictModel):
    """What the label maps of a labelled data set mean."""

    classes: int = Field(
        0, ge=0, le=1000, description="Classes, ids from 0; 0: as many as the training maps use."
    )
    ignore: int = Field(255, ge=0, description="Id of pixels that are neither trained nor scored.")
    palette: str = Field(
        "auto",
        description="Colours of the classes, to draw label maps with and to read those that hold "
        "colours: a known palette, a text file, or `#rrggbb` a class with spaces between.",
    )
    names: tuple[str, ...] = Field((), description="Names of the classes, in the order of ids.")


class CheckpointConfig(StrictModel):
    """When checkpoints are written and which are kept."""

    every_steps: int = Field(1000, ge=1, description="Steps between two writes of last.pt.")
    every_minutes: float = Field(
        10.0, ge=0, description="Minutes after which last.pt is written besides; 0: never."
    )
    keep_every_steps: int = Field(
        0, ge=0, description="Also keep a numbered copy every so many steps; 0: none."
    )


class SamplesConfig(StrictModel):
    """Translations of fixed pictures, drawn while training."""

    every_steps: int = Field(1000, ge=0, description="Steps between two grids; 0: none.")
    every_minutes: float = Field(
        10.0, ge=0, description="Minutes between two writes of samples/now.png; 0: none."
    )
    count: int = Field(4, ge=1, le=64, description="Fixed pictures a direction.")
    max_side: int = Field(512, ge=16, description="Longer pictures are scaled down to it, pixels.")


class EvalConfig(StrictModel):
    """Measurements while training, which choose best.pt."""

    every_steps: int = Field(0, ge=0, description="Steps between two measurements; 0: none.")
    count: int = Field(64, ge=1, description="Test pictures measured, at the most.")
    metrics: tuple[Literal["auto", "truth", "fid", "kid"], ...] = Field(
        ("auto",),
        min_length=1,
        description="What is measured; the first decides which checkpoint is best. auto: truth "
        "where the data set has true translations, else fid and kid.",
    )
    mode: Literal["clean", "legacy_pytorch", "legacy_tensorflow"] = Field(
        "clean", description="Resizing and Inception network of fid and kid."
    )
    patience: int = Field(
        10, ge=0, description="Say when so many measurements brought no gain; 0: never."
    )
    stop: bool = Field(False, description="End the run then, saved as ever.")

    @field_validator("metrics")
    @classmethod
    def _are_distinct(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(metrics)) != len(metrics):
            raise ValueError("must name each metric once")
        if "auto" in metrics and len(metrics) > 1:
            raise ValueError('must be ["auto"] alone, or name metrics without auto')
        return metrics

    @model_validator(mode="after")
    def _stops_by_patience(self) -> Self:
        if self.stop and not self.patience:
            raise ValueError("eval.stop needs eval.patience above 0: it says when to stop")
        return self


class HealthConfig(StrictModel):
    """Alarms while training: on the sample pictures, and on the losses."""

    enabled: bool = Field(True, description="Watch for faults and say what to do about them.")
    warmup_steps: int = Field(
        500, ge=0, description="No alarm before this step: early translations are all odd."
    )
    inversion: float = Field(
        -0.1,
        ge=-1,
        le=1,
        description="Alarm if source and translation correlate in luminance less than this on "
        "most samples. Unrelated pictures scatter around 0; -1: never.",
    )
    collapse: float = Field(
        0.1,
        ge=0,
        description="Alarm if translations differ among themselves less than this share of what "
        "sources and real pictures do; 0: never.",
    )
    saturation: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Alarm if this much more of the pixel values is at black or white than in "
        "sources and in real pictures; 1: never.",
    )
    checkerboard: float = Field(
        20.0,
        gt=1,
        description="Alarm if a pattern of period 2 or 4 pixels is so many times stronger than "
        "the frequencies around it, on most samples, and not in the sources; photographs stay "
        "under 12.",
    )
    copying: float = Field(
        0.25,
        ge=0,
        description="Alarm if most translations are nearer to a training picture than this share "
        "of the distance between such pictures; 0: never.",
    )
    references: int = Field(
        1000, ge=0, description="Training pictures of the target compared with; 0: none."
    )
    mask: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="Alarm if a mask that comes with a translation is below this on average and "
        "picks out nothing, or is as near to 1 and leaves out nothing, on most samples; 0: never.",
    )
    discriminator: float = Field(
        0.1,
        ge=0,
        description="Alarm if a discriminator's loss stays under this share of what guessing "
        "gives, and the generator's GAN term near its worst; 0: never.",
    )
    discriminator_steps: int = Field(500, ge=1, description="Steps it stays so before the alarm.")


class EmaConfig(StrictModel):
    """Exponential moving average of the translating networks."""

    decay: float = Field(0.0, ge=0, lt=1, description="Decay a step; 0: no average is kept.")


class LogConfig(StrictModel):
    """Where losses go."""

    every_steps: int = Field(50, ge=1, description="Steps between two log lines.")
    tensorboard: Literal["auto", "off"] = Field(
        "auto", description="Write TensorBoard events where the extra is installed."
    )


Switch = Literal["auto", "on", "off"]


class RuntimeConfig(StrictModel):
    """Where and how fast; nothing here is part of the method."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Autocast type; auto: on GPUs bfloat16, on older ones float16, where they have "
        "units for it; else float32.",
    )
    workers: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = Field(
        "auto",
        description="Processes that load pictures; 0: a step loads its own; auto: 2 beside a GPU; "
        "on a CPU as many as there are cores without a computing thread, 2 at most, and 2 where "
        "loading takes long.",
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0: one a core, or by a trial.")
    compile: Switch = Field("auto", description="torch.compile; auto: on GPUs, for long runs.")
    channels_last: Switch = Field(
        "auto", description="Channels innermost in memory; auto: where a trial is faster."
    )
    recompute: Switch = Field(
        "auto",
        description="Compute norms, ReLUs and paddings again for the gradient, which keeps about "
        "half as many maps; auto: on CPUs, unless memory is plenty.",
    )
    reuse_memory: Switch = Field(
        "auto",
        description="Keep freed memory for the next maps rather than return it to the system; "
        "auto: on CPUs where the C library is glibc.",
    )
    cuda_graphs: Switch = Field(
        "auto", description="Replay a step as one CUDA graph, for small batches; auto: off."
    )
    fused_optimizer: Switch = Field(
        "auto", description="One kernel for all weights of an optimizer; auto: on GPUs and CPUs."
    )
    prefetch: Switch = Field(
        "auto", description="Copy the next batch to the device during a step; auto: on GPUs."
    )
    levers: LeversConfig = Field(
        LeversConfig(), description="Ways to the same numbers at less cost."
    )
