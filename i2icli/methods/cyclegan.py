"""CycleGAN: cycle-consistent adversarial networks (Zhu et al., ICCV 2017).

https://arxiv.org/abs/1703.10593. Two generators, one a direction, that must undo each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.config.method import InitConfig, PatchDiscriminatorConfig, ResnetGeneratorConfig
from i2icli.config.schedule import LinearSchedule, Schedule
from i2icli.data.batch import Batch
from i2icli.losses.gan import GanMode
from i2icli.methods.shared import (
    Adversarial,
    ImagePool,
    MethodConfig,
    Player,
    Seen,
    Task,
    Terms,
    Translation,
    register,
    ties_pictures,
)
from i2icli.networks.layers import init_weights
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator


class CycleGANConfig(MethodConfig):
    """Hyperparameters of CycleGAN (Zhu et al., ICCV 2017)."""

    name: Literal["cyclegan"] = "cyclegan"
    generator: ResnetGeneratorConfig = Field(
        ResnetGeneratorConfig(antialias_down=False, antialias_up=False),
        description="Both translating networks.",
    )
    discriminator: PatchDiscriminatorConfig = Field(
        PatchDiscriminatorConfig(antialias=False), description="The discriminators of both domains."
    )
    init: InitConfig = Field(InitConfig(kind="normal"), description="All initial weights.")
    gan_mode: GanMode = Field("lsgan", description="GAN loss.")
    lambda_a: float = Field(10.0, ge=0, description="Weight of the cycle A to B to A.")
    lambda_b: float = Field(10.0, ge=0, description="Weight of the cycle B to A to B.")
    lambda_identity: float = Field(
        0.5, ge=0, description="Weight of the identity terms, as a share of the cycle's."
    )
    pool_size: int = Field(50, ge=0, description="Past translations kept a discriminator; 0: none.")
    schedule: Schedule = Field(
        LinearSchedule(epochs=100, epochs_decay=100),
        description="Learning rate over the epochs.",
    )

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse an identity term, or adding to the source, where channels are unequal."""
        self.generator.check_channels(channels_a, channels_b)
        if channels_a != channels_b and self.lambda_identity > 0:
            raise ValueError(
                f"method.lambda_identity ({self.lambda_identity}) needs data.channels_a == "
                f"data.channels_b, got {channels_a} and {channels_b}: set it to 0"
            )


@register
class CycleGAN(Adversarial):
    """Translation in both directions, tied by cycle consistency."""

    Config = CycleGANConfig
    config: CycleGANConfig
    directions = ("a2b", "b2a")
    # The released D_A discriminates pictures of B, which G_A makes.
    released: ClassVar[Mapping[str, str]] = {
        "G_A": "generator_ab",
        "G_B": "generator_ba",
        "D_A": "discriminator_b",
        "D_B": "discriminator_a",
    }

    def __init__(self, config: CycleGANConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        channels_a, channels_b = self.channels["a"], self.channels["b"]
        generator, discriminator = config.generator.model_dump(), config.discriminator.own()
        self.generator_ab = ResnetGenerator(channels_a, channels_b, **generator)
        self.generator_ba = ResnetGenerator(channels_b, channels_a, **generator)
        self.discriminator_a, self.discriminator_b = (
            self.configured(PatchDiscriminator(channels, **discriminator))
            for channels in (channels_a, channels_b)
        )
        self.pools = {name: ImagePool(config.pool_size) for name in ("fake_b", "fake_a")}
        discriminators = (self.discriminator_a, self.discriminator_b)
        for network in (self.generator_ab, self.generator_ba, *discriminators):
            init_weights(network, config.init.kind, config.init.gain)

    @property
    def players(self) -> Mapping[str, Player]:
        """Both generators, then both discriminators."""
        return {
            **self.structure_players(),
            "generators": self.player(self.generator_ab, self.generator_ba),
            "discriminators": self.discriminator_player(self.discriminator_a, self.discriminator_b),
        }

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """Both generators."""
        return {"generator_ab": self.generator_ab, "generator_ba": self.generator_ba}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the generators' terms, then the discriminators' (CycleGAN, eq. 3)."""
        config, real_a, real_b = self.config, batch.real_a, batch.real_b
        fake_b, same_b = self._send_reals("ab", real_a, real_b)
        fake_a, same_a = self._send_reals("ba", real_b, real_a)
        rec_a, rec_b = self._send("ba", fake_b), self._send("ab", fake_a)

        yield from self.structure_turns(real_a, fake_b, real_b, name="structure_a2b")
        yield from self.structure_turns(real_b, fake_a, real_a, name="structure_b2a")
        seen_b, seen_a = self.see(fake_b, "fake_b"), self.see(fake_a, "fake_a")
        # The generators first, as released; the discriminators then see their old translations.
        yield (
            "generators",
            {
                "gan_a2b": self.fool(self.discriminator_b, seen_b, mode=config.gan_mode),
                "gan_b2a": self.fool(self.discriminator_a, seen_a, mode=config.gan_mode),
                "cycle_a": config.lambda_a * F.l1_loss(rec_a, real_a),
                "cycle_b": config.lambda_b * F.l1_loss(rec_b, real_b),
                **self._identity_terms(batch, same_a, same_b),
                **self.structure_terms(real_a, fake_b, name="structure_a2b"),
                **self.structure_terms(real_b, fake_a, name="structure_b2a"),
            },
        )

        shown_b = self.see_past(seen_b, fake_b, "fake_b")
        shown_a = self.see_past(seen_a, fake_a, "fake_a")
        yield (
            "discriminators",
            {
                **self._discriminator_terms("b", self.discriminator_b, real_b, shown_b),
                **self._discriminator_terms("a", self.discriminator_a, real_a, shown_a),
            },
        )

    def translate(
        self,
        images: Tensor,
        *,
        direction: str = "a2b",
        style: Tensor | None = None,  # noqa: ARG002 - one translation a picture
    ) -> Translation:
        """Translate pictures of A into B, or of B into A."""
        assert direction in self.directions, direction
        return Translation(self._send("ab" if direction == "a2b" else "ba", images))

    def generator_of(self, direction: str) -> nn.Module:
        """Return the generator of a direction."""
        return self.generator_ab if direction == "a2b" else self.generator_ba

    def _identity_terms(self, batch: Batch, same_a: Tensor | None, same_b: Tensor | None) -> Terms:
        # |G(y) - y| for pictures that already are of the target domain (sec. 5.2 of CycleGAN).
        config = self.config
        if config.lambda_identity == 0:
            return {}
        same_b = self._send("ab", batch.real_b) if same_b is None else same_b
        same_a = self._send("ba", batch.real_a) if same_a is None else same_a
        # As released, each identity term carries the weight of the cycle that starts there.
        weight_a = config.lambda_identity * config.lambda_a
        weight_b = config.lambda_identity * config.lambda_b
        return {
            "idt_b": weight_b * F.l1_loss(same_b, batch.real_b),
            "idt_a": weight_a * F.l1_loss(same_a, batch.real_a),
        }

    def _send_reals(
        self, way: Literal["ab", "ba"], source: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Translate pictures, and in the same pass those of the target domain where one will do."""
        generator = self.generator_ab if way == "ab" else self.generator_ba
        # Where one pass will not do, the pictures of the target domain have their turn after the
        # cycles, as released, so that batch norm remembers them in that order.
        is_one = self.levers.batch_passes and not ties_pictures(generator)
        if not is_one or self.config.lambda_identity == 0:
            return self._send(way, source), None
        fake, same = self.together(generator, source, target, run=partial(self._send, way))
        return fake, same

    def _send(self, way: Literal["ab", "ba"], images: Tensor) -> Tensor:
        generator = self.generator_ab if way == "ab" else self.generator_ba
        translated: Tensor = generator(images)[0]
        return translated

    def _discriminator_terms(
        self, domain: Literal["a", "b"], discriminator: nn.Module, real: Tensor, fake: Seen
    ) -> Terms:
        seen = {f"{domain}_real": self.see(real, f"real_{domain}"), f"{domain}_fake": fake}
        return self.discriminate(discriminator, seen, mode=self.config.gan_mode)
