"""MUNIT: many translations of one picture (Huang et al., ECCV 2018).

https://arxiv.org/abs/1804.04732. One auto-encoder a domain takes pictures apart into content and
style; a translation is the content of one picture with a style of the other domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.config.base import StrictModel
from i2icli.config.method import AdamConfig, AdversaryConfig, InitConfig
from i2icli.config.schedule import IterationSchedule, Schedule
from i2icli.data.batch import Batch
from i2icli.losses.gan import GanMode
from i2icli.methods.shared import (
    Adversarial,
    MethodConfig,
    Player,
    Task,
    Terms,
    Translation,
    register,
)
from i2icli.networks.layers import init_weights
from i2icli.networks.munit import MultiScaleDiscriminator, StyleAutoencoder
from i2icli.networks.norm import InstanceNorm
from i2icli.system.device import full_precision

Domain = Literal["a", "b"]
ByDomain = Mapping[Domain, Tensor]
Codes = Mapping[Domain, tuple[Tensor, Tensor]]

_WAYS: tuple[tuple[Domain, Domain], ...] = (("a", "b"), ("b", "a"))
_TARGET: dict[str, Domain] = {"a2b": "b", "b2a": "a"}
_PERCEPTUAL_LAYER = "relu5_3"
_PERCEPTUAL_SIDE = 32  # gives that layer 2 x 2 pixels, the fewest that can be normalised
_DEFAULT_STYLE_SEED = 0


class AutoencoderConfig(StrictModel):
    """Content encoder, style encoder and decoder of one domain (MUNIT, sec. 5.1)."""

    width: int = Field(64, ge=1, le=4096, description="Channels after the first convolution.")
    blocks: int = Field(4, ge=1, le=256, description="Residual blocks, of encoder and of decoder.")
    mlp_width: int = Field(
        256,
        ge=1,
        le=65536,
        description="Numbers between the layers that make norm parameters of a style.",
    )


class MultiScaleDiscriminatorConfig(AdversaryConfig):
    """Discriminators of a picture at several sizes (Wang et al., CVPR 2018, as MUNIT uses them)."""

    width: int = Field(
        64, ge=1, le=4096, description="Channels after the first convolution; they double."
    )
    layers: int = Field(4, ge=1, le=16, description="Downsampling layers of each discriminator.")
    scales: int = Field(
        3, ge=1, le=16, description="Discriminators, each at half the size of the last."
    )


class MUNITConfig(MethodConfig):
    """Hyperparameters of MUNIT (Huang et al., ECCV 2018)."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "data": {
            "preprocess": "scale-shorter-and-crop",
            "resize": 256,
            "crop": 256,
            "interpolation": "bilinear",
        }
    }

    name: Literal["munit"] = "munit"
    generator: AutoencoderConfig = Field(
        AutoencoderConfig(), description="The auto-encoders of both domains."
    )
    style_size: int = Field(8, ge=1, le=4096, description="Numbers in a style code.")
    discriminator: MultiScaleDiscriminatorConfig = Field(
        MultiScaleDiscriminatorConfig(), description="The discriminators of both domains."
    )
    init: InitConfig = Field(InitConfig(kind="kaiming"), description="How the auto-encoders start.")
    init_discriminator: InitConfig = Field(
        InitConfig(kind="normal"), description="Initial weights of the discriminators."
    )
    gan_mode: GanMode = Field("lsgan", description="GAN loss, summed over the scales.")
    lambda_gan: float = Field(1.0, ge=0, description="Weight of the GAN terms, of both players.")
    lambda_image: float = Field(
        10.0, ge=0, description="Weight of reconstructing a picture from its own codes."
    )
    lambda_style: float = Field(
        1.0, ge=0, description="Weight of finding the drawn style again in the translation."
    )
    lambda_content: float = Field(
        1.0, ge=0, description="Weight of finding the content again in the translation."
    )
    lambda_cycle: float = Field(
        0.0,
        ge=0,
        description="Weight of the way there and back with the picture's own style; the released "
        "settings for photographs have 10.",
    )
    lambda_perceptual: float = Field(
        0.0,
        ge=0,
        description="Weight of the distance of source and translation in normalised features of "
        "VGG16; the released settings for pictures of 512 pixels and more have 1.",
    )
    optimizer: AdamConfig = Field(
        AdamConfig(lr=1e-4, weight_decay=1e-4), description="Optimizer of every player."
    )
    # The released code steps its scheduler before each update. In the PyTorch it was written for
    # (0.4) the first of these sets the count to 0, so 100,000 steps have the full rate; from
    # PyTorch 1.1 on the same code drops one step earlier.
    # Departs from the official code: a resumed run drops where an uninterrupted one does, because
    # resuming must not change a run; the released count is one ahead after each resume.
    schedule: Schedule = Field(IterationSchedule(), description="Learning rate over the steps.")

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse the perceptual term for grey pictures: VGG16 sees colours."""
        if self.lambda_perceptual > 0 and (channels_a, channels_b) != (3, 3):
            raise ValueError(
                f"method.lambda_perceptual ({self.lambda_perceptual}) needs data.channels_a = 3 "
                f"and data.channels_b = 3, got {channels_a} and {channels_b}: set it to 0"
            )


@register
class MUNIT(Adversarial):
    """Translation in both directions, in as many styles as are asked for."""

    Config = MUNITConfig
    config: MUNITConfig
    directions = ("a2b", "b2a")
    # gen_00100000.pt and dis_00100000.pt hold the networks of both domains
    released: ClassVar[Mapping[str, str]] = {
        "gen/a": "generator_a",
        "gen/b": "generator_b",
        "dis/a": "discriminator_a",
        "dis/b": "discriminator_b",
    }

    def __init__(self, config: MUNITConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        coder = {**config.generator.model_dump(), "style_size": config.style_size}
        settings = config.discriminator.own()
        self.generator_a = StyleAutoencoder(self.channels["a"], **coder)
        self.generator_b = StyleAutoencoder(self.channels["b"], **coder)
        patches = [MultiScaleDiscriminator(self.channels[name], **settings) for name in "ab"]
        self._check_crop(patches[0].min_side)
        self.discriminator_a, self.discriminator_b = map(self.configured, patches)
        for network in (self.generator_a, self.generator_b):
            init_weights(network, config.init.kind, config.init.gain)
        for discriminator in (self.discriminator_a, self.discriminator_b):
            init = config.init_discriminator
            init_weights(discriminator, init.kind, init.gain)

    @property
    def style_size(self) -> int:
        """Numbers in a style code."""
        return self.config.style_size

    @property
    def pretrained(self) -> tuple[str, ...]:
        """VGG16 for the perceptual term and for the structure term, where there is one."""
        needed = super().pretrained
        return tuple(dict.fromkeys((*needed, "vgg16"))) if self._is_perceptual else needed

    @property
    def players(self) -> Mapping[str, Player]:
        """Both discriminators, then both auto-encoders."""
        return {
            "discriminators": self.discriminator_player(self.discriminator_a, self.discriminator_b),
            **self.structure_players(),
            "generators": self.player(self.generator_a, self.generator_b),
        }

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """Both auto-encoders."""
        return {"generator_a": self.generator_a, "generator_b": self.generator_b}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the discriminators' terms, then those of the auto-encoders (MUNIT, eq. 5)."""
        reals: ByDomain = {"a": batch.real_a, "b": batch.real_b}
        # The discriminators' step leaves the encoders as they are; the released code encodes again.
        codes = self._encode(reals) if self.levers.reuse_features else {}
        yield "discriminators", self._discriminator_terms(reals, codes)

        # Each player sees translations of its own, in styles drawn anew.
        codes = codes or self._encode(reals)
        styles = self._draw_styles("generators", reals)
        fakes, again = self._decode(codes, styles)
        for name, to in _WAYS:
            yield from self.structure_turns(
                reals[name], fakes[to], reals[to], name=f"structure_{name}2{to}"
            )
        yield (
            "generators",
            {
                **self._gan_terms(fakes),
                **{  # eq. 1 of MUNIT: |decode(encode(x)) - x|
                    f"image_{name}": self.config.lambda_image * _distance(again[name], images)
                    for name, images in reals.items()
                    if name in again
                },
                **self._code_terms(reals, codes, styles, fakes),
                **self._perceptual_terms(reals, fakes),
                **self.structure_terms(reals["a"], fakes["b"], name="structure_a2b"),
                **self.structure_terms(reals["b"], fakes["a"], name="structure_b2a"),
            },
        )

    def translate(
        self, images: Tensor, *, direction: str = "a2b", style: Tensor | None = None
    ) -> Translation:
        """Translate pictures of A into B, or of B into A.

        Args:
            images: (B, C, H, W) in [-1, 1], sides a multiple of 4, at least 16.
            direction: "a2b" or "b2a".
            style: of the target domain, (B, style_size); None: `default_style` for all.
        """
        to = _TARGET[direction]
        source: Domain = "a" if to == "b" else "b"
        if style is None:
            style = self.default_style().to(images.device).expand(len(images), -1)
        content = self._coder(source).enc_content(images)
        return Translation(self._coder(to).decode(content, style.to(images)))

    def default_style(self) -> Tensor:
        """Return one drawn style, always the same, (style_size,)."""
        generator = torch.Generator().manual_seed(_DEFAULT_STYLE_SEED)
        return torch.randn(self.style_size, generator=generator)

    def encode_style(self, images: Tensor, *, direction: str = "a2b") -> Tensor:
        """Return the styles of pictures, (B, style_size).

        Args:
            images: of the domain that `direction` leads to, (B, C, H, W) in [-1, 1], sides of at
                least 16.
            direction: "a2b" or "b2a".
        """
        styles: Tensor = self._coder(_TARGET[direction]).enc_style(images)
        return styles

    @property
    def _is_perceptual(self) -> bool:
        return self.config.lambda_perceptual > 0

    def _check_crop(self, least: int) -> None:
        crop = self.task.crop
        if crop < least:
            raise ValueError(
                f"data.crop is {crop}, but its discriminators need crops of at least {least} "
                "pixels: enlarge it, or lower method.discriminator.scales or .layers"
            )
        if self._is_perceptual and crop < _PERCEPTUAL_SIDE:
            raise ValueError(
                f"data.crop is {crop}, but method.lambda_perceptual needs crops of at least "
                f"{_PERCEPTUAL_SIDE} pixels: enlarge it, or set that to 0"
            )

    def _coder(self, domain: Domain) -> StyleAutoencoder:
        return self.generator_a if domain == "a" else self.generator_b

    def _discriminator_of(self, domain: Domain) -> nn.Module:
        return self.discriminator_a if domain == "a" else self.discriminator_b

    def _draw_styles(self, player: str, reals: ByDomain) -> ByDomain:
        shape = (len(reals["a"]), self.style_size)  # a style for every picture
        return {
            name: self.draws.normal(f"{player}.style_{name}", shape).to(images, non_blocking=True)
            for name, images in reals.items()
        }

    def _encode(self, reals: ByDomain) -> Codes:
        return {name: self._coder(name).encode(images) for name, images in reals.items()}

    def _decode(self, codes: Codes, styles: ByDomain) -> tuple[ByDomain, ByDomain]:
        """Return translations in drawn styles, and pictures from their own codes if compared."""
        fakes: dict[Domain, Tensor] = {}
        again: dict[Domain, Tensor] = {}
        for name, to in _WAYS:
            coder, wanted = self._coder(to), [(codes[name][0], styles[to]), codes[to]]
            if self.config.lambda_image == 0:  # nothing compares the reconstruction
                wanted.pop()
            # One pass through the target's decoder: content in a drawn style, and its own codes.
            fakes[to], *own = self.together(coder, *wanted, run=coder.decode)
            if own:
                again[to] = own[0]
        return fakes, again

    def _discriminator_terms(self, reals: ByDomain, codes: Codes) -> Terms:
        """Return both discriminators' losses; pictures without `codes` are encoded here."""
        styles = self._draw_styles("discriminators", reals)
        with torch.no_grad():  # nothing flows back into the auto-encoders here
            contents = {
                name: codes[name][0] if codes else self._coder(name).enc_content(images)
                for name, images in reals.items()
            }
            fakes = {to: self._coder(to).decode(contents[name], styles[to]) for name, to in _WAYS}
        weight, mode = self.config.lambda_gan, self.config.gan_mode
        terms: Terms = {}
        for name, real in reals.items():
            seen = {
                f"{name}_real": self.see(real, f"discriminators.real_{name}"),
                f"{name}_fake": self.see(fakes[name], f"discriminators.fake_{name}"),
            }
            # As released both kinds have full weight, not half.
            terms |= self.discriminate(self._discriminator_of(name), seen, mode=mode, weight=weight)
        return terms

    def _gan_terms(self, fakes: ByDomain) -> Terms:
        weight, mode = self.config.lambda_gan, self.config.gan_mode
        if weight == 0:
            return {}
        return {  # eq. 4 of MUNIT
            f"gan_{name}2{to}": weight
            * self.fool(
                self._discriminator_of(to), self.see(fakes[to], f"generators.fake_{to}"), mode=mode
            )
            for name, to in _WAYS
        }

    def _code_terms(
        self, reals: ByDomain, codes: Codes, styles: ByDomain, fakes: ByDomain
    ) -> Terms:
        config = self.config
        terms: Terms = {}
        for name, to in _WAYS:
            # As released, the codes to be found again are no constants: gradient flows into them.
            content, style = codes[name]
            content_again, style_again = self._coder(to).encode(fakes[to])
            if config.lambda_content > 0:  # eq. 2 of MUNIT
                loss = _distance(content_again, content)
                terms[f"content_{name}"] = config.lambda_content * loss
            if config.lambda_style > 0:  # eq. 3
                loss = _distance(style_again, styles[to])
                terms[f"style_{to}"] = config.lambda_style * loss
            if config.lambda_cycle > 0:  # the style-augmented cycle, sec. 4
                returned = self._coder(name).decode(content_again, style)
                terms[f"cycle_{name}"] = config.lambda_cycle * _distance(returned, reals[name])
        return terms

    def _perceptual_terms(self, reals: ByDomain, fakes: ByDomain) -> Terms:
        # The domain-invariant perceptual distance, sec. 5.1 of MUNIT.
        if not self._is_perceptual:
            return {}
        network, weight = self.network("vgg16"), self.config.lambda_perceptual
        # Departs from the official code: VGG16 keeps its fourth pooling, and has torchvision's
        # weights, because all methods here share one VGG16, used as it was trained; the released
        # one leaves that pooling out, with weights trained in Caffe.
        terms: Terms = {}
        for name, to in _WAYS:
            (features,) = network(fakes[to], [_PERCEPTUAL_LAYER])
            with torch.no_grad():
                (wanted,) = network(reals[name], [_PERCEPTUAL_LAYER])
            loss = _normalised_distance(features, wanted)
            terms[f"perceptual_{name}2{to}"] = weight * loss
        return terms


@full_precision
def _distance(values: Tensor, wanted: Tensor) -> Tensor:
    return F.l1_loss(values, wanted)


@full_precision
def _normalised_distance(features: Tensor, wanted: Tensor) -> Tensor:
    normalise = InstanceNorm(features.shape[1])  # features are (B, C, H, W)
    return F.mse_loss(normalise(features), normalise(wanted))
