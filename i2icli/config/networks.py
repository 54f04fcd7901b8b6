"""Configuration of the networks that several methods share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from i2icli.config.base import StrictModel

Norm = Literal["instance", "batch", "none"]


class ResnetGeneratorConfig(StrictModel):
    """A ResNet generator (Johnson et al. 2016, as CycleGAN and CUT use it)."""

    width: int = Field(64, ge=1, description="Channels after the first convolution (ngf).")
    blocks: int = Field(9, ge=1, description="Residual blocks.")
    antialias_down: bool = Field(True, description="Blur before each downsampling.")
    antialias_up: bool = Field(
        True, description="Upsample by blurring instead of a transposed convolution."
    )
    norm: Norm = Field("instance", description="Normalisation layers.")
    dropout: bool = Field(False, description="Dropout of 0.5 inside the residual blocks.")
    attention: Literal["none", "dual"] = Field(
        "none",
        description="dual: attention over places and channels (DANet) after the residual blocks, "
        "at first the identity.",
    )


class PatchDiscriminatorConfig(StrictModel):
    """A PatchGAN discriminator (Isola et al. 2017)."""

    width: int = Field(64, ge=1, description="Channels after the first convolution (ndf).")
    layers: int = Field(3, ge=1, description="Downsampling layers; 3 sees 70x70 pixels.")
    antialias: bool = Field(True, description="Blur before each downsampling.")
    norm: Norm = Field("instance", description="Normalisation layers.")


class StyleGAN2GeneratorConfig(StrictModel):
    """A small StyleGAN2-like generator without normalisation (CUT's single-image network)."""

    width: int = Field(10, ge=1, description="Scales the channels (ngf): / 32 of 256 at 64 pixels.")
    downsamplings: Literal[1, 2] = Field(1, description="Halvings of the sides.")
    blocks: int = Field(6, ge=0, description="Residual blocks at the lowest level.")
    tanh: bool = Field(
        False, description="End with tanh; else translations are unbounded in training."
    )


class StyleGAN2DiscriminatorConfig(StrictModel):
    """A StyleGAN2 discriminator, which judges a crop as a whole."""

    width: int = Field(8, ge=1, description="Scales the channels (ndf): / 64 of 256 at 64 pixels.")
    last_side: Literal[4, 8] = Field(4, description="Side of the last feature map, pixels.")


class InitConfig(StrictModel):
    """How weights start."""

    kind: Literal["xavier", "normal", "kaiming", "orthogonal"] = Field(
        "xavier", description="Distribution of the weights; biases start at 0."
    )
    gain: float = Field(0.02, gt=0, description="Scale of that distribution.")
