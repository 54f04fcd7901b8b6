"""SinCUT: CUT on one picture of each domain (Park et al., ECCV 2020, sec. 4.3 and Fig. 9).

https://arxiv.org/abs/2007.15651. CUT, but on crops of two high-resolution pictures, with small
StyleGAN2 networks, one patch a crop contrasted with those of the whole batch, a penalty on the
discriminator's slope at real crops (R1), and an L1 identity term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from i2icli.config.method import AdamConfig, StyleGAN2DiscriminatorConfig, StyleGAN2GeneratorConfig
from i2icli.config.schedule import LinearSchedule, Schedule
from i2icli.losses.gan import GanMode, discriminator_gan_loss
from i2icli.losses.penalty import logits_with_slope, r1_penalty
from i2icli.methods.cut import CUT, CUTConfig
from i2icli.methods.shared import Method, Seen, SingleImage, Terms, register, single_image_data


class SinCUTConfig(CUTConfig):
    """Hyperparameters of SinCUT (Park et al., ECCV 2020); the rest is CUT's."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"data": single_image_data(crop=64)}

    name: Literal["sincut"] = "sincut"  # type: ignore[assignment]
    generator: StyleGAN2GeneratorConfig = Field(  # type: ignore[assignment]
        StyleGAN2GeneratorConfig(), description="The translating network."
    )
    discriminator: StyleGAN2DiscriminatorConfig = Field(  # type: ignore[assignment]
        StyleGAN2DiscriminatorConfig(), description="The discriminator of domain B."
    )
    optimizer: AdamConfig = Field(
        AdamConfig(lr=2e-3, beta1=0.0, beta2=0.99), description="Optimizer of every player."
    )
    schedule: Schedule = Field(
        LinearSchedule(epochs=8, epochs_decay=8), description="Learning rate over the epochs."
    )
    gan_mode: GanMode = Field("nonsaturating", description="GAN loss.")
    lambda_nce: float = Field(4.0, ge=0, description="Weight of the PatchNCE terms.")
    lambda_r1: float = Field(
        1.0, ge=0, description="Weight of the penalty on the discriminator's slope at real crops."
    )
    lambda_identity: float = Field(
        1.0, ge=0, description="Weight of the L1 distance of G(B) to B; needs `nce_identity`."
    )
    nce_layers: tuple[int, ...] = Field(
        (0, 2, 4),
        min_length=1,
        description="Modules of the encoder whose outputs are contrasted, ascending.",
    )
    num_patches: int = Field(1, ge=1, description="Patches drawn per feature layer and crop.")
    batch_negatives: bool = Field(
        True, description="Take negatives from all crops of the batch, not only the same one."
    )

    @model_validator(mode="after")
    def _layers_exist(self) -> Self:
        modules = 2 + self.generator.downsamplings + self.generator.blocks // 2
        if self.nce_layers[-1] >= modules:
            raise ValueError(
                f"method.nce_layers names module {self.nce_layers[-1]}, but an encoder of "
                f"{self.generator.blocks // 2} blocks has modules 0 to {modules - 1}"
            )
        return self

    @model_validator(mode="after")
    def _identity_is_translated(self) -> Self:
        if self.lambda_identity > 0 and not self.nce_identity:
            raise ValueError(
                f"method.lambda_identity ({self.lambda_identity}) needs method.nce_identity, "
                "which translates crops of B too: set it to 0"
            )
        return self


@register
class SinCUT(SingleImage, CUT):
    """CUT with StyleGAN2 networks, trained on one picture of each domain."""

    Config = SinCUTConfig
    config: SinCUTConfig
    # These features are nearly as large as the picture: too many places for attention to show.
    views = Method.views

    def run_generator(self, images: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Translate with fresh noise, and return features of `layers`; values are unbounded."""
        noise = self.draw_noise(images, parts=2 if self.config.nce_identity else 1)
        translated, features = self.generator(images, layers, noise)
        return translated, features

    def discriminator_terms(self, fake: Seen, real: Seen) -> Terms:
        """Return CUT's terms, and the slope at real crops (R1)."""
        config = self.config
        if config.lambda_r1 == 0:
            return super().discriminator_terms(fake, real)
        # Real crops go alone: their slope is taken in full precision, and needs no fake ones.
        on_fake = self.discriminator(*fake.parts)
        (crops,) = real.parts
        on_real, slope = logits_with_slope(crops, self.discriminator)
        return {
            "fake": 0.5 * discriminator_gan_loss(on_fake, is_real=False, mode=config.gan_mode),
            "real": 0.5 * discriminator_gan_loss(on_real, is_real=True, mode=config.gan_mode),
            "r1": config.lambda_r1 * r1_penalty(slope),
        }

    def identity_terms(self, translated: Tensor, real: Tensor) -> Terms:
        """Return |G(y) - y| on crops of B."""
        weight = self.config.lambda_identity
        if weight == 0:
            return {}
        return {"idt": weight * F.l1_loss(translated, real)}
