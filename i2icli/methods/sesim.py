"""SeSim: translation held by spatial self-similarity alone (Zheng et al., CVPR 2021).

https://arxiv.org/abs/2104.00854. One generator and one discriminator, no cycle and no contrast of
patches: the structure term ties the translation to its source. F-SeSim compares features of VGG16
as they are, L-SeSim after a head that learns with the generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from i2icli.config.method import AdamConfig
from i2icli.data.batch import Batch
from i2icli.errors import ConfigError
from i2icli.methods.shared import (
    OneWay,
    OneWayConfig,
    Player,
    Task,
    Terms,
    register,
)
from i2icli.networks.layers import init_weights


class SeSimConfig(OneWayConfig):
    """Hyperparameters of F-SeSim and L-SeSim (Zheng et al., CVPR 2021); see also `structure`."""

    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "structure": {"kind": "fixed", "patch_size": 64}
    }

    name: Literal["sesim"] = "sesim"
    # half the rate of CUT, whose networks these are
    optimizer: AdamConfig = Field(AdamConfig(lr=1e-4), description="Optimizer of every player.")
    pool_size: int = Field(50, ge=0, description="Past translations that are kept; 0: none.")


@register
class SeSim(OneWay):
    """One-way translation that keeps each picture's self-similarity."""

    Config = SeSimConfig
    config: SeSimConfig
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
        for network in (self.generator, self.discriminator):
            init_weights(network, config.init.kind, config.init.gain)

    @property
    def players(self) -> Mapping[str, Player]:
        """The head of the structure term if it learns, the discriminator, the generator."""
        return {
            **self.structure_players(),
            "discriminator": self.discriminator_player(self.discriminator),
            "generator": self.generator_player(),
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the terms of the head, the discriminator, the generator (SeSim, sec. 3)."""
        if self.is_distilled:
            yield from self.turns_ahead(batch)
            return
        fake_b = self.run_generator(batch.real_a)

        yield from self.structure_turns(batch.real_a, fake_b, batch.real_b)

        seen = self.see(fake_b, "fake_b")
        real = self.see(batch.real_b, "real_b")
        shown = self.show(seen, fake_b, real, batch.real_b)
        yield "discriminator", self.discriminator_terms(*shown)

        terms = self.gan_terms(seen) | self.distance_terms(seen, real)
        yield "generator", terms | self.structure_terms(batch.real_a, fake_b)

    def run_generator(self, images: Tensor) -> Tensor:
        """Translate in training."""
        translated: Tensor = self.generator(images)[0]
        return translated
