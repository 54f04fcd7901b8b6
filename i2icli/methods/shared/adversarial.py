"""Training against discriminators: what they see, what they are asked, how they are held.

By default a discriminator sees pictures as they are. It may see them augmented, and by the features
of a frozen network, whose one pass over a translation then serves the turns of both players.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from i2icli.config.method import AdversaryConfig, MethodConfig, Task
from i2icli.errors import ConfigError
from i2icli.losses.augment import SHARES, diff_augment
from i2icli.losses.gan import GanMode, discriminator_gan_loss, generator_gan_loss
from i2icli.losses.penalty import maps_with_slopes, r1_penalty
from i2icli.methods.shared.base import Method, Player, Terms
from i2icli.networks.efficientnet import EfficientNetLite0, efficientnet_channels
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.projected import JointDiscriminator, ProjectedHeads
from i2icli.networks.spectral import iterate_spectral_norms, use_spectral_norm
from i2icli.networks.vgg import vgg16_channels

# By frozen network its layers, the finest first.
_LAYERS = {
    "efficientnet-lite0": EfficientNetLite0.names,
    "vgg16": ("relu2_2", "relu3_3", "relu4_3", "relu5_3"),
}
_CHANNELS = {"efficientnet-lite0": efficientnet_channels, "vgg16": vgg16_channels}


@dataclass(frozen=True)
class Seen:
    """Pictures as a discriminator sees them.

    Attributes:
        parts: what its network takes: pictures, maybe augmented, (B, C, H, W), where it looks at
            these; then features of the frozen network, (B, C_l, H_l, W_l) each, the finest first,
            where it looks at those.
        features: the same features, also where only another term looks at them; maybe none.
    """

    parts: tuple[Tensor, ...]
    features: tuple[Tensor, ...] = ()

    def detach(self) -> Seen:
        """Return the same as constants."""
        parts, features = (
            tuple(each.detach() for each in tensors) for tensors in (self.parts, self.features)
        )
        return Seen(parts, features)

    def beside(self, others: Seen) -> Seen:
        """Return these pictures and then the others."""
        parts, features = (
            tuple(torch.cat(pair) for pair in zip(ours, theirs, strict=True))
            for ours, theirs in ((self.parts, others.parts), (self.features, others.features))
        )
        return Seen(parts, features)


class Adversarial(Method):
    """Base of the methods that train against discriminators.

    Attributes:
        adversary: how they are configured; where a method has another kind of network, as the
            papers have it.
    """

    def __init__(self, config: MethodConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        given = getattr(config, "discriminator", None)
        self.adversary = given if isinstance(given, AdversaryConfig) else AdversaryConfig()
        plain = AdversaryConfig()
        for key in ("features", "taps"):
            if getattr(self.adversary, key) != getattr(plain, key) and not self.needs_features:
                raise ConfigError(
                    f"method.discriminator.{key} counts only where something looks through the "
                    'frozen network: set method.discriminator.kind = "projected" or "both"'
                )

    @property
    def pretrained(self) -> tuple[str, ...]:
        """The structure term's network, and the one whose features are discriminated."""
        own = (self.adversary.features,) if self.needs_features else ()
        return tuple(dict.fromkeys((*super().pretrained, *own)))

    @property
    def looks_through(self) -> bool:
        """Whether pictures are seen through the frozen network too."""
        return self.adversary.kind != "patch"

    @property
    def needs_features(self) -> bool:
        """Whether the frozen network is needed for anything."""
        return self.looks_through

    @property
    def steps_ahead(self) -> int:
        """Steps at the beginning in which the generator does not meet the discriminator."""
        return self.adversary.lead_steps

    def configured(self, patch: nn.Module) -> nn.Module:
        """Return the configured discriminator: `patch`, heads on frozen features, or both."""
        config = self.adversary
        if config.spectral_norm:
            use_spectral_norm(patch)
        if isinstance(patch, PatchDiscriminator):
            patch.has_slope = config.r1 > 0
        if config.kind == "patch":
            return patch
        channels, is_spectral = self.feature_channels, config.spectral_norm
        heads = ProjectedHeads(channels, width=config.head_width, is_spectral=is_spectral)
        return JointDiscriminator(heads, patch if config.kind == "both" else None)

    def player(self, *modules: nn.Module) -> Player:
        """Return a player that is no discriminator; these may be ahead of it."""
        return replace(super().player(*modules), first_step=self.steps_ahead + 1)

    def discriminator_player(self, *modules: nn.Module) -> Player:
        """Return a player of discriminators, with their own learning rate where one is set."""
        player, rate = super().player(*modules), self.adversary.lr
        if rate is None:
            return player
        optimizer = player.optimizer.model_copy(update={"lr": rate})
        return replace(player, optimizer=optimizer)

    def see(self, pictures: Tensor, name: str) -> Seen:
        """Return pictures, (B, C, H, W), as a discriminator sees them; `name` names the draws."""
        config = self.adversary
        if config.augment != "none":
            shares = self.draws.shares(f"augment.{name}", (len(pictures), SHARES))
            pictures = diff_augment(
                pictures,
                shares.to(pictures.device, non_blocking=True),
                strength=config.augment_strength,
                grey=config.augment_gray,
            ).contiguous(memory_format=self.memory_format)
        if not self.looks_through:
            return Seen((pictures,))
        features = self.features_of(pictures)
        parts = {"patch": (pictures,), "projected": features, "both": (pictures, *features)}
        return Seen(parts[config.kind], features)

    def features_of(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return the frozen network's features of pictures, (B, C, H, W), the finest first."""
        coloured = pictures.expand(-1, 3, -1, -1) if pictures.shape[1] == 1 else pictures
        return tuple(self.network(self.adversary.features)(coloured, self._layers))

    def see_past(self, seen: Seen, pictures: Tensor, pool: str) -> Seen:
        """Return translations for the discriminator's turn, past ones among them, as constants.

        Args:
            seen: the translations of this step.
            pictures: the same before they were seen, (B, C, H, W).
            pool: which of `pools`; where there is none, or one of size 0, `seen` serves.
        """
        kept = self.pools.get(pool)
        if kept is None or kept.size == 0:
            return seen.detach()
        return self.see(kept.query(pictures.detach(), self.draws, f"pool.{pool}"), pool)

    def fool(self, discriminator: nn.Module, seen: Seen, *, mode: GanMode) -> Tensor:
        """Return the generator's GAN loss on translations."""
        answer = discriminator(*seen.parts)
        return self._over_parts(answer, partial(generator_gan_loss, mode=mode))

    def discriminate(
        self,
        discriminator: nn.Module,
        seen: Mapping[str, Seen],
        *,
        mode: GanMode,
        weight: float = 0.5,
    ) -> Terms:
        """Return the terms of a discriminator's turn, weighted.

        Args:
            discriminator: of `configured`.
            seen: pictures by the name of their term, which ends with "real" or "fake".
            mode: of the GAN loss.
            weight: of the term of each kind of pictures.
        """
        config, answers = self.adversary, dict[str, Any]()
        if config.spectral_norm:
            iterate_spectral_norms(discriminator)
        left = {name: each.parts for name, each in seen.items()}
        penalty: Terms = {}
        if config.r1 > 0 and self.draws.chance("r1", one_in=config.r1_every):
            # Real pictures go alone: their slope is taken in full precision.
            (name,) = (name for name in seen if name.endswith("real"))
            answers[name], slopes = maps_with_slopes(*left.pop(name), discriminator=discriminator)
            lengths = torch.stack([r1_penalty(slope) for slope in slopes]).sum()
            penalty[name.replace("real", "r1")] = config.r1 * config.r1_every * lengths
        answers |= zip(left, self.together(discriminator, *left.values()), strict=True)
        terms: Terms = {}
        for name in seen:
            loss = partial(discriminator_gan_loss, is_real=name.endswith("real"), mode=mode)
            terms[name] = weight * self._over_parts(answers[name], loss)
        return terms | penalty

    @property
    def feature_channels(self) -> list[int]:
        """Channels of the frozen network's features, the finest first."""
        return _CHANNELS[self.adversary.features](self._layers)

    @property
    def _layers(self) -> tuple[str, ...]:
        names = _LAYERS[self.adversary.features]
        return tuple(names[tap - 1] for tap in self.adversary.taps)

    def _over_parts(self, answer: Any, loss: Callable[[Any], Tensor]) -> Tensor:
        """Return the loss of a plain discriminator's logits, or the weighted mean over parts."""
        config = self.adversary
        if config.kind == "patch":
            return loss(answer)
        weights = (config.projected_weight, config.patch_weight)[: len(answer)]
        # Of the heads the mean; of patches as the method has it: one map, or a sum over scales.
        losses = [loss(answer[0]) / len(answer[0]), *(loss(part) for part in answer[1:])]
        parts = [w / sum(weights) * each for w, each in zip(weights, losses, strict=True)]
        return torch.stack(parts).sum()
