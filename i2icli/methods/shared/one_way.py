"""What the methods of one generator and one discriminator share: CUT, SeSim and their kin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from i2icli.data.batch import Batch
from i2icli.errors import ConfigError
from i2icli.losses.gan import GanMode
from i2icli.methods.shared.adversarial import Adversarial, Seen
from i2icli.methods.shared.base import Player, Terms, Translation
from i2icli.methods.shared.draws import ImagePool, PastImages
from i2icli.methods.shared.sliced import SlicedDistance
from i2icli.networks.distiller import Distiller
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator

_DISTIL_RATE = 5.0  # times the learning rate: predicting features, no adversary answers


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
    distil_steps: int = Field(
        0,
        ge=0,
        description="Steps at the beginning in which the generator learns to predict, from its "
        "middle block, the frozen features that `discriminator` names, at 5 times the rate; the "
        "discriminator's `lead_steps` are the last of these. In no paper here.",
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
        self.distiller: Distiller | None = None
        if config.distil_steps:
            if not isinstance(self.generator, ResnetGenerator):
                raise ConfigError(
                    "method.distil_steps is for ResNet generators, and this method's is "
                    "StyleGAN2's: set it to 0"
                )
            (inside,) = self.generator.feature_channels([self.generator.middle_block])
            self.distiller = Distiller(inside, self.feature_channels)
        self.is_distilled = self.is_led = False

    @property
    def looks_through(self) -> bool:
        """Whether pictures are seen through the frozen network too."""
        return super().looks_through or self.config.sliced_wasserstein > 0

    @property
    def needs_features(self) -> bool:
        """Whether the frozen network is needed for anything."""
        return super().needs_features or self.config.distil_steps > 0

    @property
    def steps_ahead(self) -> int:
        """Steps at the beginning in which the generator does not meet the discriminator."""
        return max(super().steps_ahead, self.config.distil_steps)

    def start_step(self, step: int) -> None:
        """Enter a step: whether the generator distils, and whether the discriminator learns."""
        self.is_distilled = step <= self.steps_ahead and self.config.distil_steps > 0
        self.is_led = step > self.steps_ahead - self.adversary.lead_steps

    def generator_player(self, *modules: nn.Module) -> Player:
        """Return the player of the generator and the modules that learn with it."""
        if self.distiller is None:
            return self.player(self.generator, *modules)
        player = self.player(self.generator, *modules, self.distiller)
        return replace(player, early_rate=_DISTIL_RATE)

    def turns_ahead(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the turns of a step in which the generator distils."""
        assert self.distiller is not None, "the step would not be one"
        assert isinstance(self.generator, ResnetGenerator), "only these distil"
        real_a, real_b = batch.real_a, batch.real_b
        if self.is_led:
            with torch.no_grad():
                fake_b = self.generator(real_a)[0]
            fake, real = self.see(fake_b, "fake_b"), self.see(real_b, "real_b")
            shown = self.show(fake, fake_b, real, real_b)
            yield "discriminator", self.discriminator_terms(*shown)
        errors = []
        for pictures in (real_a, real_b):
            with torch.no_grad():
                features = self.features_of(pictures)
            (maps,) = self.generator.encode(pictures, [self.generator.middle_block])
            errors.append(self.distiller(maps, features, self.ranks))
        yield "generator", {"distil": torch.stack(errors).mean()}

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
