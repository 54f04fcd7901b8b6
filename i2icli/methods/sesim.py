"""SeSim: translation held by spatial self-similarity alone (Zheng et al., CVPR 2021).

https://arxiv.org/abs/2104.00854. One generator and one discriminator, no cycle and no contrast of
patches: the structure term ties the translation to its source. F-SeSim compares features of VGG16
as they are, L-SeSim after a head that learns with the generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from i2icli.config.method import (
    AdamConfig,
    InitConfig,
    PatchDiscriminatorConfig,
    ResnetGeneratorConfig,
)
from i2icli.data.batch import Batch
from i2icli.errors import ConfigError
from i2icli.losses.gan import GanMode, discriminator_gan_loss, generator_gan_loss
from i2icli.methods.shared import (
    ImagePool,
    Method,
    MethodConfig,
    Player,
    Task,
    Terms,
    Translation,
    register,
)
from i2icli.networks.layers import init_weights
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator


class SeSimConfig(MethodConfig):
    """Hyperparameters of F-SeSim and L-SeSim (Zheng et al., CVPR 2021); see also `structure`."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "structure": {"kind": "fixed", "patch_size": 64}
    }

    name: Literal["sesim"] = "sesim"
    generator: ResnetGeneratorConfig = Field(
        ResnetGeneratorConfig(), description="The translating network."
    )
    discriminator: PatchDiscriminatorConfig = Field(
        PatchDiscriminatorConfig(), description="The discriminator of domain B."
    )
    init: InitConfig = Field(
        InitConfig(), description="Initial weights of generator and discriminator."
    )
    optimizer: AdamConfig = Field(AdamConfig(lr=1e-4), description="Optimizer of every player.")
    gan_mode: GanMode = Field("lsgan", description="GAN loss.")
    lambda_gan: float = Field(1.0, ge=0, description="Weight of the GAN term of the generator.")
    pool_size: int = Field(
        50, ge=0, description="Past translations kept for the discriminator; 0: none."
    )


@register
class SeSim(Method):
    """One-way translation that keeps each picture's self-similarity."""

    Config = SeSimConfig
    released: ClassVar[Mapping[str, str]] = {
        "G": "generator",
        "D": "discriminator",
        "F": "structure.head",
    }

    def __init__(self, config: SeSimConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        if self.structure is None:
            raise ConfigError(
                "method 'sesim' has nothing but the structure term to tie a translation to its "
                'source: structure.kind must be "fixed" or "learned", got "none"'
            )
        self.config = config
        self.generator, self.discriminator = self.build_networks()
        self.pools = {"fake_b": ImagePool(config.pool_size)}
        for network in (self.generator, self.discriminator):
            init_weights(network, config.init.kind, config.init.gain)

    def build_networks(self) -> tuple[nn.Module, nn.Module]:
        """Return the generator and the discriminator, fresh."""
        config, inside, outside = self.config, self.channels["a"], self.channels["b"]
        generator = ResnetGenerator(inside, outside, **config.generator.model_dump())
        return generator, PatchDiscriminator(outside, **config.discriminator.model_dump())

    @property
    def players(self) -> Mapping[str, Player]:
        """The head of the structure term if it learns, the discriminator, the generator."""
        optimizer, schedule = self.config.optimizer, self.config.schedule
        return {
            **self.structure_players(optimizer, schedule),
            "discriminator": Player((self.discriminator,), optimizer, schedule),
            "generator": Player((self.generator,), optimizer, schedule),
        }

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """The generator."""
        return {"generator": self.generator}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the terms of the head, the discriminator, the generator (SeSim, sec. 3)."""
        config = self.config
        fake_b = self.run_generator(batch.real_a)

        yield from self.structure_turns(batch.real_a, fake_b, batch.real_b)

        shown = self.pools["fake_b"].query(fake_b.detach(), self.draws, "pool.fake_b")
        yield "discriminator", self.discriminator_terms(shown, batch.real_b)

        terms: Terms = {}
        if config.lambda_gan > 0:
            logits = self.discriminator(fake_b)
            terms["gan"] = config.lambda_gan * generator_gan_loss(logits, mode=config.gan_mode)
        terms |= self.structure_terms(batch.real_a, fake_b)
        yield "generator", terms

    def run_generator(self, images: Tensor) -> Tensor:
        """Translate in training."""
        translated: Tensor = self.generator(images)[0]
        return translated

    def discriminator_terms(self, fake: Tensor, real: Tensor) -> Terms:
        """Return the discriminator's terms on translations and on pictures of B, (B, C, H, W)."""
        mode = self.config.gan_mode
        on_fake, on_real = self.together(self.discriminator, fake, real)
        return {
            "fake": 0.5 * discriminator_gan_loss(on_fake, is_real=False, mode=mode),
            "real": 0.5 * discriminator_gan_loss(on_real, is_real=True, mode=mode),
        }

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
