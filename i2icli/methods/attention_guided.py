"""Attention-guided CycleGAN: translate the foreground alone (Alami Mejjati et al., NeurIPS 2018).

https://arxiv.org/abs/1806.02311. Beside each generator an attention network says where it is to
be seen. From a set epoch on attention is frozen and the discriminators see the foreground alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.config.base import StrictModel
from i2icli.config.method import AdamConfig, AdversaryConfig
from i2icli.config.schedule import LinearSchedule, Schedule
from i2icli.data.batch import Batch
from i2icli.losses.gan import GanMode
from i2icli.methods.shared import (
    Adversarial,
    AnyView,
    ImagePool,
    MaskView,
    MethodConfig,
    Player,
    Seen,
    Task,
    Terms,
    Translation,
    register,
)
from i2icli.networks.attention_guided import (
    AttentionLayout,
    AttentionNetwork,
    GuidedDiscriminator,
    GuidedGenerator,
    GuidedTranslator,
    draw_truncated,
    keep_foreground,
)

Domain = Literal["a", "b"]
_WAYS: tuple[tuple[Domain, Domain], ...] = (("a", "b"), ("b", "a"))


class AttentionConfig(StrictModel):
    """A network that says where to translate."""

    width: int = Field(32, ge=1, le=4096, description="Channels after the first convolution.")
    layout: AttentionLayout = Field(
        "released",
        description="Its decoder. released: 1x1 convolutions, as the released code computes; "
        "paper: 3x3, 3x3 and 7x7, as it is described; port: those with bilinear upsampling, no "
        "biases and a plain norm, as a PyTorch re-implementation has it.",
    )


class GuidedGeneratorConfig(StrictModel):
    """A generator with a ReLU after each residual sum."""

    width: int = Field(32, ge=1, le=4096, description="Channels after the first convolution (ngf).")
    blocks: int = Field(9, ge=1, le=256, description="Residual blocks.")


class GuidedDiscriminatorConfig(AdversaryConfig):
    """A discriminator of 70x70 patches with normalisation in all layers but the last."""

    width: int = Field(64, ge=1, le=4096, description="Channels after the first convolution (ndf).")


class AttentionGuidedConfig(MethodConfig):
    """Hyperparameters of attention-guided CycleGAN (Alami Mejjati et al., NeurIPS 2018)."""

    # The released code walks through both lists in their order, the shorter one again and again.
    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "data": {"pairing": "ordered", "interpolation": "bilinear"}
    }

    name: Literal["attention-guided"] = "attention-guided"
    attention: AttentionConfig = Field(
        AttentionConfig(), description="The networks that say where to translate."
    )
    generator: GuidedGeneratorConfig = Field(
        GuidedGeneratorConfig(), description="Both translating networks."
    )
    discriminator: GuidedDiscriminatorConfig = Field(
        GuidedDiscriminatorConfig(), description="The discriminators of both domains."
    )
    init_std: float = Field(
        0.02,
        gt=0,
        description="Standard deviation of the initial weights, cut off at twice that.",
    )
    gan_mode: GanMode = Field("lsgan", description="GAN loss.")
    lambda_a: float = Field(10.0, ge=0, description="Weight of the cycle A to B to A.")
    lambda_b: float = Field(10.0, ge=0, description="Weight of the cycle B to A to B.")
    pool_size: int = Field(50, ge=0, description="Past translations kept a discriminator; 0: none.")
    switch_epoch: int = Field(
        30,
        ge=1,
        description="Epochs before the switch, after which attention is frozen and the "
        "discriminators see the foreground alone.",
    )
    threshold: float = Field(
        0.1,
        ge=0,
        le=1,
        description="After the switch, attention from which a pixel is foreground; 0: the "
        "discriminators go on seeing whole pictures.",
    )
    discriminator_norm_after_switch: bool = Field(
        False, description="Keep the discriminators' norms after the switch."
    )
    optimizer: AdamConfig = Field(AdamConfig(lr=1e-4), description="Optimizer of every player.")
    schedule: Schedule = Field(
        # Epochs 1 to 51 at the full rate, then a fiftieth less each: the released formula.
        LinearSchedule(epochs=51, epochs_decay=49),
        description="Learning rate over the epochs.",
    )

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse unequal channels: a translation holds pixels of its source."""
        if channels_a != channels_b:
            raise ValueError(
                f"method {self.name!r} needs data.channels_a == data.channels_b, got "
                f"{channels_a} and {channels_b}: where attention is 0 its translation is the source"
            )


@register
class AttentionGuided(Adversarial):
    """Translation in both directions, each confined to where its attention network says."""

    Config = AttentionGuidedConfig
    config: AttentionGuidedConfig
    directions = ("a2b", "b2a")
    mask_names = ("attention",)

    def __init__(self, config: AttentionGuidedConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        self.translator_ab, self.translator_ba = self._build_translator(), self._build_translator()
        self.discriminator_a = self._build_discriminator()
        self.discriminator_b = self._build_discriminator()
        self.pools = {name: ImagePool(config.pool_size) for name in ("fake_b", "fake_a")}
        self.is_switched = False

    @property
    def players(self) -> Mapping[str, Player]:
        """Each generator with its attention network, and after each the discriminator it meets."""
        # Departs from the official code: every player has an Adam of its own, because the one
        # that all share there counts four updates a step and so takes its moments for older
        # than they are during the first hundreds of steps.
        return {
            **self.structure_players(),
            "generator_ab": self.player(self.translator_ab),
            "discriminator_b": self.discriminator_player(self.discriminator_b),
            "generator_ba": self.player(self.translator_ba),
            "discriminator_a": self.discriminator_player(self.discriminator_a),
        }

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """Both generators with their attention networks."""
        return {"translator_ab": self.translator_ab, "translator_ba": self.translator_ba}

    def start_epoch(self, epoch: int) -> None:
        """Enter an epoch: after `switch_epoch` attention is frozen, discriminators lose norms."""
        self.is_switched = epoch > self.config.switch_epoch
        for translator in (self.translator_ab, self.translator_ba):
            translator.attention.requires_grad_(not self.is_switched)
        for part in self.modules():
            if isinstance(part, GuidedDiscriminator):
                part.use_norm(not self.is_switched or self.config.discriminator_norm_after_switch)

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the terms of one direction's generator and discriminator, then of the other's."""
        reals = {"a": batch.real_a, "b": batch.real_b}
        weights = {"a": self.config.lambda_a, "b": self.config.lambda_b}
        for domain, to in _WAYS:
            real, other, structure = reals[domain], reals[to], f"structure_{domain}2{to}"
            # As released, each generator is updated on forward passes of its own, so that the
            # second one meets the first as it has become.
            fake, attention = self._translator(f"{domain}2{to}")(real)
            seen = self.see(self._shown(fake, attention), f"fake_{to}")
            yield from self.structure_turns(real, fake, other, name=structure)
            back = self._translator(f"{to}2{domain}")
            yield (
                f"generator_{domain}{to}",
                {
                    f"gan_{domain}2{to}": self.fool(
                        self._discriminator_of(to), seen, mode=self.config.gan_mode
                    ),
                    f"cycle_{domain}": weights[domain] * F.l1_loss(back(fake)[0], real),
                    f"cycle_{to}": weights[to] * self._cycle_distance(to, other),
                    **self.structure_terms(real, fake, name=structure),
                },
            )
            kept = torch.cat([fake, attention], dim=1).detach()
            yield f"discriminator_{to}", self._discriminator_terms(to, other, kept, seen)

    def translate(
        self,
        images: Tensor,
        *,
        direction: str = "a2b",
        style: Tensor | None = None,  # noqa: ARG002 - one translation a picture
    ) -> Translation:
        """Translate pictures of A into B, or of B into A, and say where."""
        translated, attention = self._translator(direction)(images)
        return Translation(translated, masks={"attention": attention})

    @torch.no_grad()
    def views(self, images: Tensor, *, direction: str = "a2b") -> list[list[AnyView]]:
        """Show the attention maps that translations are composed by."""
        maps = self._translator(direction).attention(images).float().cpu()
        words = ("attention", "attention", "kept from the source", "translated")
        others = super().views(images, direction=direction)
        return [
            [MaskView(*words, mask[0]), *views] for mask, views in zip(maps, others, strict=True)
        ]

    def _build_translator(self) -> GuidedTranslator:
        channels, config = self.channels["a"], self.config
        translator = GuidedTranslator(
            AttentionNetwork(channels, **config.attention.model_dump()),
            GuidedGenerator(channels, channels, **config.generator.model_dump()),
        )
        draw_truncated(translator, config.init_std)
        return translator

    def _build_discriminator(self) -> nn.Module:
        network = GuidedDiscriminator(self.channels["a"], **self.config.discriminator.own())
        draw_truncated(network, self.config.init_std)
        return self.configured(network)

    def _translator(self, direction: str) -> GuidedTranslator:
        assert direction in self.directions, direction
        return self.translator_ab if direction == "a2b" else self.translator_ba

    def _cycle_distance(self, domain: Domain, real: Tensor) -> Tensor:
        # |s'' - s| of pictures sent to the other domain and back
        forth, back = self.translator_ab, self.translator_ba
        if domain == "b":
            forth, back = back, forth
        # It is `back` that learns here, and nothing of it lies before this pass.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.levers.freeze_others):
            sent = forth(real)[0]
        return F.l1_loss(back(sent)[0], real)

    def _discriminator_terms(self, domain: Domain, real: Tensor, kept: Tensor, seen: Seen) -> Terms:
        """Return the terms of a discriminator on real pictures and on past translations.

        The pool keeps translations with their sources' attention: `kept` is (B, C + 1, H, W).
        """
        name, fake = f"fake_{domain}", seen.detach()
        if self.pools[name].size > 0:
            past = self.pools[name].query(kept, self.draws, f"pool.{name}")
            fake = self.see(self._shown(past[:, :-1], past[:, -1:]), f"past_{domain}")
        shown = self._shown(real, self._look(domain, real))
        both = {f"{domain}_real": self.see(shown, f"real_{domain}"), f"{domain}_fake": fake}
        return self.discriminate(self._discriminator_of(domain), both, mode=self.config.gan_mode)

    @torch.no_grad()
    def _look(self, domain: Domain, real: Tensor) -> Tensor | None:
        if not self._sees_foreground:
            return None  # whole pictures need no attention
        leaving = self.translator_ab if domain == "a" else self.translator_ba
        attention: Tensor = leaving.attention(real)
        return attention

    @property
    def _sees_foreground(self) -> bool:
        return self.is_switched and self.config.threshold > 0

    def _discriminator_of(self, domain: Domain) -> nn.Module:
        return self.discriminator_a if domain == "a" else self.discriminator_b

    def _shown(self, images: Tensor, attention: Tensor | None) -> Tensor:
        """Return pictures as discriminators see them: after the switch, their foreground alone."""
        if not self._sees_foreground:
            return images
        assert attention is not None, "looked at before discriminating"
        return keep_foreground(images, attention, self.config.threshold)
