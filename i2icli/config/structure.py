"""The structure term that any translation method can add: spatial self-similarity (SeSim)."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator

from i2icli.config.base import StrictModel

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
        description="Side of the window that a place is compared with, feature pixels; maps not "
        "larger than that are compared whole.",
    )
    num_patches: int = Field(256, ge=1, description="Places drawn a layer and image.")
    compare: Literal["cos", "l1"] = Field(
        "cos", description="How two self-similarity maps are compared."
    )
    normalise: bool = Field(
        False, description="Cosine self-similarity; else tanh of the scaled product."
    )
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
