"""CUT: contrastive learning for unpaired translation (Park et al., ECCV 2020).

https://arxiv.org/abs/2007.15651. One direction, no cycle: patches of the translation must be
recognised among patches of the source at the same place. FastCUT is a preset of this method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from i2icli.data.batch import Batch
from i2icli.losses.nce import patch_nce, rows_at
from i2icli.methods.shared import (
    AnyView,
    Attending,
    OneWay,
    OneWayConfig,
    Player,
    Task,
    Terms,
    attention_views,
    register,
    ties_pictures,
)
from i2icli.networks.heads import ProjectionHead
from i2icli.networks.layers import init_weights
from i2icli.networks.resnet import ResnetGenerator

# Of each layer, features of the translation, (B, C_l, H_l, W_l), or those at the layer's places
# alone, (B, N, C_l); features of the source; and the places, (N,), None: chosen by the features.
Layers = tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor | None]]


class CUTConfig(OneWayConfig):
    """Hyperparameters of CUT (Park et al., ECCV 2020)."""

    # The released code stops jittering once the learning rate falls.
    run_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"data": {"jitter_in_decay": False}}

    name: Literal["cut"] = "cut"
    lambda_nce: float = Field(1.0, ge=0, description="Weight of the PatchNCE terms.")
    nce_identity: bool = Field(
        True, description="Also apply PatchNCE to G(B) against B, each term at half weight."
    )
    # 0 is the padded picture, 4 and 8 the halvings' convolutions before their norms, 12 and 16 the
    # first and the fifth residual block; without anti-aliasing they are other modules.
    nce_layers: tuple[int, ...] = Field(
        (0, 4, 8, 12, 16),
        min_length=1,
        description="Modules of the generator whose outputs are contrasted, ascending.",
    )
    num_patches: int = Field(256, ge=1, description="Patches drawn per feature layer and image.")
    temperature: float = Field(0.07, gt=0, description="Divides cosine similarities.")
    projection: Literal["mlp", "none"] = Field(
        "mlp", description="Projection head before the contrast: two layers, or none."
    )
    projection_dim: int = Field(
        256, ge=1, le=65536, description="Dimensions after the projection head."
    )
    batch_negatives: bool = Field(
        False, description="Take negatives from all images of the batch, not only the same one."
    )
    flip_equivariance: bool = Field(
        False, description="Mirror the generator's input in half of the steps (FastCUT)."
    )

    @field_validator("nce_layers")
    @classmethod
    def _ascend(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        if list(layers) != sorted(set(layers)) or layers[0] < 0:
            raise ValueError("must be ascending module numbers, none twice, none negative")
        return layers

    @model_validator(mode="after")
    def _layers_exist(self) -> Self:
        generator = self.generator
        modules = 19 + generator.blocks
        modules += 2 * generator.antialias_down + 2 * generator.antialias_up
        if self.nce_layers[-1] >= modules:
            raise ValueError(
                f"method.nce_layers names module {self.nce_layers[-1]}, but a generator of "
                f"{generator.blocks} blocks has modules 0 to {modules - 1}"
            )
        return self

    def check_channels(self, channels_a: int, channels_b: int) -> None:
        """Refuse unequal channels: the generator encodes its own translations."""
        if channels_a != channels_b:
            raise ValueError(
                f"method {self.name!r} needs data.channels_a == data.channels_b, got "
                f"{channels_a} and {channels_b}: its generator also encodes pictures of B"
            )


@register
class CUT(OneWay):
    """Contrastive unpaired translation; QS-Attn overrides how patches are sampled."""

    Config = CUTConfig
    config: CUTConfig
    released: ClassVar[Mapping[str, str]] = {
        "G": "generator",
        "D": "discriminator",
        "F": "projector",
    }
    # CUT's keys are constants: no gradient flows into the encoder on the source side.
    source_has_gradient: ClassVar[bool] = False

    def __init__(self, config: CUTConfig, task: Task | None = None) -> None:
        super().__init__(config, task)
        # Departs from the official code: the projection head is built here, not at the first
        # batch, because a checkpoint must rebuild the method without data.
        self.projector = ProjectionHead(
            self.generator.feature_channels(config.nce_layers),
            config.projection_dim,
            use_mlp=config.projection == "mlp",
        )
        for network in (self.generator, self.discriminator, self.projector):
            init_weights(network, config.init.kind, config.init.gain)

    @property
    def players(self) -> Mapping[str, Player]:
        """The discriminator, then generator and projector together."""
        return {
            **self.structure_players(),
            "discriminator": self.discriminator_player(self.discriminator),
            "generator": self.generator_player(self.projector),
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield the discriminator's terms, then those of generator and projector (CUT, sec. 3)."""
        if self.is_distilled:
            yield from self.turns_ahead(batch)
            return
        config = self.config
        contrasts = ["nce", "nce_identity"] if config.nce_identity else ["nce"]
        sources = [batch.real_a, batch.real_b][: len(contrasts)]
        flipped = config.flip_equivariance and self.draws.flip("flip")
        translated, features = self._translate_and_encode(sources, flipped)
        fake_b = translated.of_a
        real_a = batch.real_a.flip(-1) if flipped else batch.real_a

        yield from self.structure_turns(real_a, fake_b, batch.real_b)
        # The discriminator first, as released: the generator meets it as it has become.
        seen = self.see(fake_b, "fake_b")
        real = self.see(batch.real_b, "real_b")
        shown = self.show(seen, fake_b, real, batch.real_b)
        yield "discriminator", self.discriminator_terms(*shown)

        terms = self.gan_terms(seen) | self.distance_terms(seen, real)
        if self.is_contrasted:
            places = self.draw_places(dict(zip(contrasts, features, strict=True)))
            queries = self._encode_translations(translated.each, features, places, flipped)
            layers = zip(queries, features, places, strict=True)
            terms |= self.contrast_terms(dict(zip(contrasts, layers, strict=True)))
        terms |= self.structure_terms(real_a, fake_b)
        if config.nce_identity:
            real_b = batch.real_b.flip(-1) if flipped else batch.real_b
            terms |= self.identity_terms(translated.of_b, real_b)
        yield "generator", terms

    def identity_terms(self, translated: Tensor, real: Tensor) -> Terms:  # noqa: ARG002
        """Return further terms of the generator, on translations of B against B; here none."""
        return {}

    @property
    def is_contrasted(self) -> bool:
        """Whether any term compares features."""
        return self.config.lambda_nce > 0

    def draw_places(self, sources: Mapping[str, Sequence[Tensor]]) -> list[list[Tensor | None]]:
        """Draw the places to contrast, (N,) on the CPU, for each layer of each term.

        `sources` holds, by name of the term, features of the source, one (B, C_l, H_l, W_l) a
        layer. None stands for a layer whose places depend on its features.
        """
        return [
            [self.draw_layer(f"{name}.{layer}", layer, maps) for layer, maps in enumerate(features)]
            for name, features in sources.items()
        ]

    def draw_layer(
        self,
        name: str,
        layer: int,  # noqa: ARG002 - QS-Attn's override decides by it
        source: Tensor,
    ) -> Tensor | None:
        """Draw the places of a layer, given by its position in `nce_layers`; see `draw_places`."""
        total = source.shape[2] * source.shape[3]
        return self.draws.places(name, count=self.config.num_patches, total=total)

    def contrast_terms(self, pairs: Mapping[str, Layers]) -> Terms:
        """Return the weighted terms that compare features of translations and sources.

        `pairs` holds the layers by name of the term; "nce" first.
        """
        # The released code halves the terms where the paper adds them (lambda_X = lambda_Y).
        weight = self.config.lambda_nce / len(pairs)
        return {name: weight * self.contrast(name, layers) for name, layers in pairs.items()}

    def contrast(self, name: str, layers: Layers) -> Tensor:
        """Average PatchNCE over the layers (CUT, eq. 3; averaged where the paper sums).

        `name` names the choices that depend on features.
        """
        config = self.config
        is_gathered = config.batch_negatives and self.ranks.world > 1
        total = layers[0][0].new_zeros((), dtype=torch.float32)
        for layer, (query, source, places) in enumerate(zip(*layers, strict=True)):
            sampled_query, sampled_key = self.sample(f"{name}.{layer}", query, source, places)
            # (B, N, D); keys are constants for the projector too
            keys = self.projector(sampled_key.detach(), layer).detach()
            crossentropy = patch_nce(
                self.projector(sampled_query, layer),
                keys,
                temperature=config.temperature,
                batch_negatives=config.batch_negatives,
                all_keys=self.ranks.gather(keys) if is_gathered else None,
                first=self.ranks.rank * len(keys) if is_gathered else 0,
            )
            total = total + crossentropy.mean()
        return total / len(layers[0])

    def sample(
        self,
        name: str,  # noqa: ARG002 - QS-Attn's override chooses by it
        query: Tensor,
        source: Tensor,
        places: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Take features at the places, the same for query and key; see `Layers`.

        Returns:
            Query and key features, each (B, N, C), neither projected nor normalised.
        """
        assert places is not None, "drawn for every layer"
        # The source is a constant here; in QS-Attn its attention has gradient.
        return rows_at(query, places), rows_at(source.detach(), places)

    @property
    def first_attended(self) -> int:
        """First position in `nce_layers` that `views` shows: where QS-Attn begins to select."""
        return 3

    @property
    def attending(self) -> Attending:
        """How `views` looks around: as QS-Attn (global) would, for CUT itself draws its places."""
        return Attending("global", window=7, layout="paper")

    @torch.no_grad()
    def views(self, images: Tensor, *, direction: str = "a2b") -> list[list[AnyView]]:
        """Show the attention of the deeper layers, and which places it would select."""
        assert direction in self.directions, direction
        layers = self.config.nce_layers
        translated, sources = self.generator(images, layers)
        translations = self.generator.encode(translated, layers)
        by_layer = [
            attention_views(
                layer,
                sources[position],
                translations[position],
                attending=self.attending,
                # the places of low entropy, as a training step of QS-Attn chooses them
                choose=partial(self.draws.lowest, f"nce.{position}", count=self.config.num_patches),
            )
            for position, layer in enumerate(layers)
            if position >= self.first_attended
        ]
        others = super().views(images, direction=direction)
        return [[*(views[i] for views in by_layer), *others[i]] for i in range(len(images))]

    def _translate_and_encode(
        self, sources: Sequence[Tensor], flipped: bool
    ) -> tuple[_Translated, list[list[Tensor]]]:
        """Translate the (maybe mirrored) sources; return features of each source as it stands."""
        if len({source.shape[1:] for source in sources}) > 1:  # batches of unlike sizes
            made = [self._translate_and_encode([source], flipped) for source in sources]
            each = [translated.of_a for translated, _ in made]
            return _Translated(each[0], each[1], each), [maps for _, some in made for maps in some]
        pictures = torch.cat(list(sources))
        layers = self.config.nce_layers if self.is_contrasted else ()
        # One pass for both, where the released code encodes the sources again. That is the same
        # unless batch norm ties the pictures of a batch: then they are translated together, and
        # encoded one domain after the other, as released.
        if self.levers.reuse_features and not flipped and not ties_pictures(self.generator):
            translated, features = self.run_generator(pictures, layers)
            shares = [layer.chunk(len(sources)) for layer in features]
            domains = [list(domain) for domain in zip(*shares, strict=True)]
            return _Translated.cut(translated, sources), domains
        translated, _ = self.run_generator(pictures.flip(-1) if flipped else pictures, ())
        found = _Translated.cut(translated, sources)
        if not layers:
            return found, []
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.source_has_gradient):
            return found, self._encode(sources)

    def _encode(self, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
        encode = partial(self.generator.encode, layers=self.config.nce_layers)
        return self.together(self.generator, *pictures, run=encode)

    def _encode_translations(
        self,
        translations: Sequence[Tensor],
        features: Sequence[Sequence[Tensor]],
        places: Sequence[Sequence[Tensor | None]],
        flipped: bool,
    ) -> list[list[Tensor]]:
        """Return the features of translations, in rows where places are drawn for their layer.

        What was flipped lies on the places of the sources' `features` again (FastCUT).
        """
        if not (self.levers.tapped_rows and isinstance(self.generator, ResnetGenerator)):
            encoded = self._encode(translations)
        else:
            drawn = [layer for layer, each in enumerate(places[0]) if each is not None]
            batches = [
                (
                    pictures,
                    *(_for_pictures(where[layer], maps[layer], flipped=flipped) for layer in drawn),
                )
                for pictures, maps, where in zip(translations, features, places, strict=True)
            ]
            run = partial(self._encode_rows, drawn)
            encoded = self.together(self.generator, *batches, run=run)
        if not flipped:
            return encoded
        return [[each.flip(-1) if each.dim() == 4 else each for each in maps] for maps in encoded]

    def _encode_rows(self, drawn: Sequence[int], pictures: Tensor, *places: Tensor) -> list[Tensor]:
        assert isinstance(self.generator, ResnetGenerator), "the other takes no places"
        layers, wanted = self.config.nce_layers, dict(zip(drawn, places, strict=True))
        at = [wanted.get(layer) for layer in range(len(layers))]
        return self.generator.encode(pictures, layers, at)

    def run_generator(self, images: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Translate in training, and return features of `layers`."""
        translated, features = self.generator(images, layers)
        return translated, features


@dataclass(frozen=True)
class _Translated:
    of_a: Tensor
    of_b: Tensor  # empty where B is not translated
    each: Sequence[Tensor]  # the same, one a source

    @classmethod
    def cut(cls, translated: Tensor, sources: Sequence[Tensor]) -> _Translated:
        count = len(sources[0])
        return cls(translated[:count], translated[count:], translated.chunk(len(sources)))


def _for_pictures(places: Tensor | None, maps: Tensor, *, flipped: bool) -> Tensor:
    """Return places, (N,), on the device of their maps, (B, C, H, W), for each picture: (B, N).

    Of pictures that are flipped they are the mirrored ones.
    """
    assert places is not None, "drawn for this layer"
    places = places.to(maps.device, non_blocking=True)
    if flipped:
        width = maps.shape[3]
        places = places + (width - 1 - 2 * (places % width))
    return places.expand(len(maps), -1)
