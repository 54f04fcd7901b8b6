"""What configurations of methods are made of: their base, and the parts that several share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator

from i2icli.config.base import StrictModel
from i2icli.config.schedule import LinearSchedule, Schedule

Norm = Literal["instance", "batch", "group", "none"]


class ResnetGeneratorConfig(StrictModel):
    """A ResNet generator (Johnson et al. 2016, as CycleGAN and CUT use it)."""

    width: int = Field(64, ge=1, le=4096, description="Channels after the first convolution (ngf).")
    blocks: int = Field(9, ge=1, le=256, description="Residual blocks.")
    antialias_down: bool = Field(True, description="Blur before each downsampling.")
    antialias_up: bool = Field(True, description="Upsample by blur, not by transposed convolution.")
    norm: Norm = Field("instance", description="Normalisation layers.")
    dropout: bool = Field(False, description="Dropout of 0.5 inside the residual blocks.")
    attention: Literal["none", "dual"] = Field(
        "none",
        description="dual: attention over positions and channels (DANet) after the residual "
        "blocks, at first the identity.",
    )
    residual: bool = Field(
        False,
        description="Add what the network makes to the picture, before the tanh: the first "
        "translation is the source. In no paper here.",
    )

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse a residual generator between domains of unequal channels.

        Raises:
            ValueError: naming both.
        """
        if self.residual and channels_a != channels_b:
            raise ValueError(
                "method.generator.residual adds to the source, so it needs data.channels_a == "
                f"data.channels_b, got {channels_a} and {channels_b}: set it to false"
            )


class AdversaryConfig(StrictModel):
    """What a discriminator sees and how it is held; by default what the papers here do."""

    kind: Literal["patch", "projected", "both"] = Field(
        "patch",
        description="Discriminate patches of the pictures; features of a frozen network by heads "
        "on fixed random projections (Projected GANs, Sauer et al. 2021); or both.",
    )
    features: Literal["efficientnet-lite0", "vgg16"] = Field(
        "efficientnet-lite0", description="The frozen network, see `i2i weights`."
    )
    taps: tuple[Literal[1, 2, 3, 4], ...] = Field(
        (1, 2, 3, 4),
        min_length=1,
        description="Its layers that are discriminated, 1 the finest: strides 4, 8, 16, 32 of "
        "EfficientNet, 2, 4, 8, 16 of VGG16.",
    )
    head_width: int = Field(
        96, ge=1, le=4096, description="Channels of the heads on frozen features."
    )
    projected_weight: float = Field(
        1.0, gt=0, description="Weight of the features' part; only the ratio to the other counts."
    )
    patch_weight: float = Field(1.0, gt=0, description="Weight of the patches' part.")
    spectral_norm: bool = Field(
        False,
        description="Spectral normalisation of the trained convolutions, which then start as "
        "PyTorch's do (Miyato et al. 2018).",
    )
    augment: Literal["none", "diffaugment"] = Field(
        "none",
        description="diffaugment: real and translated pictures are seen in other colours, shifted "
        "and with a hole (Zhao et al. 2020).",
    )
    augment_strength: float = Field(
        1.0, gt=0, le=1, description="Share of its ranges, and of the pictures that have a hole."
    )
    augment_gray: float = Field(
        0.0, ge=0, le=1, description="Share of the pictures that it shows without colour."
    )
    lr: float | None = Field(
        None, gt=0, description="Learning rate before any decay; none: the optimizer's."
    )
    lead_steps: int = Field(
        0,
        ge=0,
        description="Steps at the beginning of a run in which it learns while the generator stands "
        "still.",
    )
    r1: float = Field(
        0.0,
        ge=0,
        description="Weight of the penalty on the slope at real pictures and their frozen features "
        "(R1, Mescheder et al. 2018), of the mean of each map of logits.",
    )
    r1_every: int = Field(
        4,
        ge=1,
        description="The penalty is taken in one of so many steps, drawn, with so many times the "
        "weight.",
    )

    @field_validator("taps")
    @classmethod
    def _ascending(cls, taps: tuple[int, ...]) -> tuple[int, ...]:
        if list(taps) != sorted(set(taps)):
            raise ValueError("must ascend, none twice")
        return taps

    @model_validator(mode="after")
    def _counts(self) -> Self:
        idle = {
            "head_width projected_weight patch_weight": self.kind != "patch",
            "patch_weight projected_weight": self.kind == "both",
            "augment_strength augment_gray": self.augment != "none",
            "r1_every": self.r1 > 0,
        }
        needs = ('kind = "projected" or "both"', 'kind = "both"', 'augment = "diffaugment"', "r1")
        for (keys, counts), wanted in zip(idle.items(), needs, strict=True):
            for key in keys.split():
                if not counts and getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(
                        f"method.discriminator.{key} counts only with method.discriminator.{wanted}"
                    )
        return self

    def own(self) -> dict[str, Any]:
        """Return the settings of the network itself, without those of this class."""
        return self.model_dump(exclude=set(AdversaryConfig.model_fields))


class PatchDiscriminatorConfig(AdversaryConfig):
    """A PatchGAN discriminator (Isola et al. 2017)."""

    width: int = Field(64, ge=1, le=4096, description="Channels after the first convolution (ndf).")
    layers: int = Field(3, ge=1, le=16, description="Downsampling layers; 3 sees 70x70 pixels.")
    antialias: bool = Field(True, description="Blur before each downsampling.")
    norm: Norm = Field("instance", description="Normalisation layers.")
    own_start: bool = Field(
        False, description="Initial weights as PyTorch draws them, not as `method.init` says."
    )


class StyleGAN2GeneratorConfig(StrictModel):
    """A small StyleGAN2-like generator without normalisation (CUT's single-image network)."""

    width: int = Field(
        10, ge=1, le=4096, description="Scales the channels (ngf): / 32 of 256 at 64 pixels."
    )
    downsamplings: Literal[1, 2] = Field(1, description="Halvings of the sides.")
    blocks: int = Field(6, ge=0, le=256, description="Residual blocks at the lowest level.")
    tanh: bool = Field(False, description="End with tanh; else values are unbounded in training.")


class StyleGAN2DiscriminatorConfig(StrictModel):
    """A StyleGAN2 discriminator, which sees a crop as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "refused": dict.fromkeys(
                AdversaryConfig.model_fields,
                "it is for methods whose discriminators see patches, and this one, StyleGAN2's, "
                "sees a crop as a whole",
            )
        }
    )

    width: int = Field(
        8, ge=1, le=4096, description="Scales the channels (ndf): / 64 of 256 at 64 pixels."
    )
    last_side: Literal[4, 8] = Field(4, description="Side of the last feature map, pixels.")


class InitConfig(StrictModel):
    """How weights start."""

    kind: Literal["xavier", "normal", "kaiming", "orthogonal"] = Field(
        "xavier", description="Distribution of the weights; biases start at 0."
    )
    gain: float = Field(0.02, gt=0, description="Scale of that distribution.")


VGGLayer = Literal[
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3",
    "relu4_1", "relu4_2", "relu4_3", "relu5_1", "relu5_2", "relu5_3",
]  # fmt: skip


class StructureConfig(StrictModel):
    """A spatially-correlative loss (Zheng et al., CVPR 2021) between source and translation."""

    kind: Literal["none", "fixed", "learned"] = Field(
        "none", description="No term; F-SeSim on VGG16 features; L-SeSim with a learned head."
    )
    weight: float = Field(10.0, ge=0, description="Weight of the term (lambda_spatial).")
    layers: tuple[VGGLayer, ...] = Field(
        ("relu3_1", "relu4_1", "relu4_3"), min_length=1, description="Layers of VGG16, ascending."
    )
    patch_size: int = Field(
        64,
        ge=1,
        description="Side of the window that a position is compared with, feature pixels; maps not "
        "larger than that are compared whole.",
    )
    num_patches: int = Field(256, ge=1, description="Positions drawn a layer and image.")
    compare: Literal["cos", "l1"] = Field("cos", description="Comparison of self-similarity maps.")
    normalise: bool = Field(False, description="Cosine similarity; else tanh of scaled products.")
    temperature: float = Field(0.07, gt=0, description="Of the learned head's contrast.")
    augment: bool = Field(
        True, description="Also contrast colour-jittered pictures when the head is learned."
    )

    @field_validator("layers")
    @classmethod
    def _ascend(cls, layers: tuple[VGGLayer, ...]) -> tuple[VGGLayer, ...]:
        if [name for name in get_args(VGGLayer) if name in layers] != list(layers):
            raise ValueError("must be layers of VGG16 from the first on, none twice")
        return layers


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
    """The parts of a run's other sections that a method needs.

    Attributes:
        crop: side of the training crops, pixels.
        classes: of a labelled data set; 0 where there are none.
        ignore: label that is not scored.
        colours: a colour (R, G, B), 0 to 255, a class, to draw label maps with.
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
