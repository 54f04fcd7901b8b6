"""SeSim on one picture of each domain (Zheng et al., CVPR 2021, single-image translation).

https://arxiv.org/abs/2104.00854. SeSim, but on crops of two high-resolution pictures, with small
StyleGAN2 networks and a gradient penalty between real and translated crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from i2icli.config.method import AdamConfig, StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from i2icli.config.schedule import LinearSchedule, Schedule
from i2icli.losses.gan import GanMode
from i2icli.losses.penalty import logits_with_slope, unit_slope_penalty
from i2icli.methods.sesim import SeSim, SeSimConfig
from i2icli.methods.shared import Seen, SingleImage, Terms, register, single_image_data


class SingleImageSeSimConfig(SeSimConfig):
    """Hyperparameters of SeSim on single pictures (Zheng et al., CVPR 2021); see `structure`."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "data": single_image_data(crop=128),
        "structure": {"kind": "fixed", "patch_size": 64},
    }

    name: Literal["single-image-sesim"] = "single-image-sesim"  # type: ignore[assignment]
    generator: StyleGAN2GeneratorConfig = Field(  # type: ignore[assignment]
        StyleGAN2GeneratorConfig(width=8, downsamplings=2, tanh=True),
        description="The translating network.",
    )
    discriminator: StyleGAN2DiscriminatorConfig = Field(  # type: ignore[assignment]
        StyleGAN2DiscriminatorConfig(last_side=8), description="The discriminator of domain B."
    )
    optimizer: AdamConfig = Field(
        AdamConfig(lr=1e-3, beta1=0.0, beta2=0.99), description="Optimizer of every player."
    )
    schedule: Schedule = Field(
        LinearSchedule(epochs=4, epochs_decay=4), description="Learning rate over the epochs."
    )
    gan_mode: GanMode = Field("nonsaturating", description="GAN loss.")
    pool_size: int = Field(0, ge=0, description="Past translations that are kept; 0: none.")
    lambda_gradient: float = Field(
        1.0,
        ge=0,
        description="Weight of the gradient penalty, which holds the discriminator's slope "
        "between real and translated crops near 1.",
    )


@register
class SingleImageSeSim(SingleImage, SeSim):
    """SeSim with StyleGAN2 networks, trained on one picture of each domain."""

    Config = SingleImageSeSimConfig
    config: SingleImageSeSimConfig

    def run_generator(self, images: Tensor) -> Tensor:
        """Translate with fresh noise."""
        translated: Tensor = self.generator(images, noise=self.draw_noise(images))[0]
        return translated

    def discriminator_terms(self, fake: Seen, real: Seen) -> Terms:
        """Return SeSim's terms, and the gradient penalty at points between the crops."""
        terms = super().discriminator_terms(fake, real)
        weight = self.config.lambda_gradient
        if weight == 0:
            return terms
        (reals,), (fakes,) = real.parts, fake.parts
        drawn = self.draws.for_pictures(
            len(reals), lambda n: self.draws.uniform(f"penalty.{n}", low=0.0, high=1.0)
        )
        # Filled in on the device: a tensor made of them on the CPU would make the step wait.
        shares = torch.stack([reals.new_full((1, 1, 1), share) for share in drawn])
        between = shares * reals + (1 - shares) * fakes
        _, slope = logits_with_slope(between, self.discriminator)
        return {**terms, "penalty": weight * unit_slope_penalty(slope)}
