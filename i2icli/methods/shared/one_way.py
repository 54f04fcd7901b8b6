"""What the methods of one generator and one discriminator share: CUT, SeSim and their kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from i2icli.config.method import (
    InitConfig,
    MethodConfig,
    PatchDiscriminatorConfig,
    ResnetGeneratorConfig,
    Task,
)
from i2icli.config.sections import DatasetKind
from i2icli.losses.gan import GanMode
from i2icli.methods.shared.adversarial import Adversarial, Seen
from i2icli.methods.shared.base import Terms, Translation
from i2icli.methods.shared.draws import ImagePool, PastImages
from i2icli.methods.shared.sliced import SlicedDistance
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator


class OneWayConfig(MethodConfig):
    """Networks and GAN loss of a translation from A to B."""

    generator: ResnetGeneratorConfig = Field(
        ResnetGeneratorConfig(), description="The translating network."
    )
    discriminator: PatchDiscriminatorConfig = Field(
        PatchDiscriminatorConfig(), description="The discriminator of domain B."
    )
    init: InitConfig = Field(InitConfig(), description="Initial weights of all networks.")
    gan_mode: GanMode = Field("lsgan", description="GAN loss.")
    lambda_gan: float = Field(1.0, ge=0, description="Weight of the GAN term of the generator.")
    pool_size: int = Field(0, ge=0, description="Past translations that are kept; 0: none.")
    beside: int = Field(
        0,
        ge=0,
        description="Past translations, drawn from those kept, that the discriminator sees beside "
        "each new one, with as many past pictures of B; 0: one may stand for the new one.",
    )
    sliced_wasserstein: float = Field(
        0.0,
        ge=0,
        description="Weight of the sliced Wasserstein distance of translations to pictures of B "
        "in the frozen features that `discriminator` names; no adversary.",
    )

    @model_validator(mode="after")
    def _past_is_kept(self) -> Self:
        if self.beside and not self.pool_size:
            raise ValueError("method.beside shows what method.pool_size keeps: set that to 200")
        return self

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse what the networks cannot do between domains of unequal channels."""
        if isinstance(self.generator, ResnetGeneratorConfig):  # not StyleGAN2's
            self.generator.check_channels(channels_a, channels_b)


class OneWay(Adversarial):
    """A generator from A to B and a discriminator of domain B; a subclass draws their weights."""

    config: OneWayConfig
    generator: ResnetGenerator | StyleGAN2Generator
    discriminator: nn.Module

    def __init__(self, config: OneWayConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        self.generator, self.discriminator = self.build_networks()
        if config.beside:
            # Translations of long ago, so that it does not forget them; pictures of B are as good
            # as new.
            self.pools["fake_b"] = PastImages(config.pool_size, one_in=10)
            self.pools["real_b"] = PastImages(config.pool_size)
        elif config.pool_size:
            self.pools["fake_b"] = ImagePool(config.pool_size)
        if config.sliced_wasserstein:
            self.sliced = SlicedDistance()

    @property
    def looks_through(self) -> bool:
        """Whether pictures are seen through the frozen network too."""
        return super().looks_through or self.config.sliced_wasserstein > 0

    def build_networks(self) -> tuple[ResnetGenerator | StyleGAN2Generator, nn.Module]:
        """Return the generator and the discriminator, fresh."""
        config, inside, outside = self.config, self.channels["a"], self.channels["b"]
        generator = ResnetGenerator(inside, outside, **config.generator.model_dump())
        discriminator = PatchDiscriminator(outside, **config.discriminator.own())
        return generator, self.configured(discriminator)

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """The generator."""
        return {"generator": self.generator}

    def gan_terms(self, fake: Seen) -> Terms:
        """Return the generator's GAN term on its translations; none at weight 0."""
        weight, mode = self.config.lambda_gan, self.config.gan_mode
        if weight == 0:
            return {}
        return {"gan": weight * self.fool(self.discriminator, fake, mode=mode)}

    def distance_terms(self, fake: Seen, real: Seen) -> Terms:
        """Return the generator's distance to pictures of B in frozen features; none at weight 0."""
        if self.sliced is None:
            return {}
        distance = self.sliced.between(fake.features, real.features, self.draws)
        return {"sliced": self.config.sliced_wasserstein * distance}

    def show(self, fake: Seen, fake_b: Tensor, real: Seen, real_b: Tensor) -> tuple[Seen, Seen]:
        """Return translations and pictures of B for the discriminator's turn, as constants.

        Args:
            fake: the translations of this step as they were seen for the generator's turn.
            fake_b: the same before they were seen, (B, C, H, W).
            real: pictures of B, seen.
            real_b: the same before, (B, C, H, W).
        """
        if not self.config.beside:
            return self.see_past(fake, fake_b, "fake_b"), real
        return self._beside_past(fake, fake_b, "fake_b"), self._beside_past(real, real_b, "real_b")

    def _beside_past(self, seen: Seen, pictures: Tensor, name: str) -> Seen:
        pool = self.pools[name]
        assert isinstance(pool, PastImages), "built so"
        past = pool.recall(pictures, self.draws, f"pool.{name}", count=self.config.beside)
        return seen.detach().beside(self.see(past, f"past_{name}")) if len(past) else seen.detach()

    def discriminator_terms(self, fake: Seen, real: Seen) -> Terms:
        """Return the discriminator's terms on translations and on pictures of B."""
        seen = {"fake": fake, "real": real}
        return self.discriminate(self.discriminator, seen, mode=self.config.gan_mode)

    def translate(
        self,
        images: Tensor,
        *,
        direction: str = "a2b",
        style: Tensor | None = None,  # noqa: ARG002 - one translation a picture
    ) -> Translation:
        """Translate pictures of A into B."""
        assert direction in self.directions, direction
        return Translation(self.generator(images)[0])

    def generator_of(self, direction: str) -> nn.Module:  # noqa: ARG002 - there is one
        """Return the generator."""
        return self.generator


class SingleImage(OneWay):
    """StyleGAN2 networks, trained on one picture of each domain; they keep their own weights."""

    data: ClassVar[DatasetKind] = "single"
    generator: StyleGAN2Generator

    def build_networks(self) -> tuple[StyleGAN2Generator, nn.Module]:
        """Return the generator and the discriminator, fresh."""
        config, outside, side = self.config, self.channels["b"], self.task.crop
        discriminator = StyleGAN2Discriminator(
            outside, resolution=side, **config.discriminator.model_dump()
        )
        generator = StyleGAN2Generator(
            self.channels["a"], outside, resolution=side, **config.generator.model_dump()
        )
        return generator, discriminator

    def draw_noise(self, images: Tensor, *, parts: int = 1) -> list[Tensor]:
        """Draw the noise maps of a training step, on the device of the pictures.

        `parts` is the number of batches that `images`, (B, C, H, W), are, one after the other.
        """
        return [
            self.draws.normal(f"noise.{number}", shape, parts=parts).to(
                images.device, non_blocking=True
            )
            for number, shape in enumerate(self.generator.noise_shapes(images))
        ]

    @torch.no_grad()
    def translate(
        self,
        images: Tensor,
        *,
        direction: str = "a2b",
        style: Tensor | None = None,  # noqa: ARG002 - one translation a picture
    ) -> Translation:
        """Translate pictures of A into B, large ones in tiles; only here values are bounded."""
        assert direction in self.directions, direction
        return Translation(self.generator.translate(images).clamp(-1.0, 1.0))


def single_image_data(*, crop: int) -> Mapping[str, Any]:
    """Return the papers' data section: 16 zoomed patches of `crop` pixels a step."""
    return {
        "preprocess": "zoom-and-patch",
        "interpolation": "bilinear",
        "crop": crop,
        "batch_size": 16,
    }
