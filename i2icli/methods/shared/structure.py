"""The structure term of a method: F-SeSim or L-SeSim between source and translation.

Zheng et al., CVPR 2021, https://arxiv.org/abs/2104.00854.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2icli.config.method import StructureConfig
from i2icli.losses.similarity import (
    PRODUCT_SCALE,
    centred_features,
    map_contrast,
    map_distance,
    similarity_maps,
)
from i2icli.methods.shared.draws import Draws
from i2icli.methods.shared.views import AnyView, SimilarityView
from i2icli.networks.batches import send
from i2icli.networks.heads import SimilarityHead
from i2icli.networks.layers import init_weights
from i2icli.networks.vgg import vgg16_channels

_JITTER = 0.5  # of brightness, contrast and saturation, to both sides of 1
_HUE = 0.3  # turns, to both sides of 0
_HEAD_GAIN = 0.02  # as released, whatever the method's own networks start from


class StructureTerm(nn.Module):
    """Spatial self-similarity of VGG16 features, compared between two pictures.

    Attributes:
        is_batched: whether pictures that no gradient reaches go through VGG16 in one pass.
    """

    def __init__(self, config: StructureConfig) -> None:
        super().__init__()
        self.config = config
        self.is_batched = True
        self.head: SimilarityHead | None = None
        if config.kind == "learned":
            # Departs from the official code: the head is built here, not at the first batch,
            # because a checkpoint must rebuild the method without data.
            self.head = SimilarityHead(vgg16_channels(config.layers))
            init_weights(self.head, "normal", _HEAD_GAIN)

    @property
    def is_learned(self) -> bool:
        """Whether there is a head to train."""
        return self.head is not None

    def loss(
        self, network: nn.Module, source: Tensor, translated: Tensor, draws: Draws, *, name: str
    ) -> Tensor:
        """Return the weighted distance of two pictures' self-similarity, a scalar (SeSim, eq. 3).

        No gradient reaches the source.

        Args:
            network: VGG16, or one with the same taps.
            source: pictures, (B, 1 or 3, H, W) in [-1, 1].
            translated: their translations, the same shape.
            draws: choose the places.
            name: of the draws.
        """
        config = self.config
        with torch.no_grad():
            sources = self.features(network, source)
        distances = []
        pairs = zip(sources, self.features(network, translated), strict=True)
        for number, pair in enumerate(pairs):
            maps = self._maps(pair, draws, f"{name}.{number}")
            distances.append(
                map_distance(*maps, compare=config.compare, normalise=config.normalise)
            )
        return config.weight * torch.stack(distances).mean()

    def contrast(
        self,
        network: nn.Module,
        source: Tensor,
        translated: Tensor,
        other: Tensor,
        draws: Draws,
        *,
        name: str,
    ) -> Tensor:
        """Return the learned head's contrastive loss, a scalar in nats (SeSim, eq. 5).

        A place must be recognised by its map in the translation, and by default also in the
        source with other colours, among the source's other places and those of a real picture of
        the target domain, turned upside down and mirrored.

        Args:
            network: VGG16, or what taps the same layers.
            source: pictures, (B, 1 or 3, H, W) in [-1, 1].
            translated: their translations; no gradient reaches them.
            other: real pictures of the target domain.
            draws: choose the places and the colours.
            name: of the draws.
        """
        pictures = self._contrasted(source, translated, other, draws, name)

        def look(images: Tensor) -> list[Tensor]:
            with torch.no_grad():
                tapped = network(images, self.config.layers)
            return self._compared(tapped)

        sources, *others = send(look, [(images,) for images in pictures], together=self.is_batched)
        if self.config.augment:  # as many as there are appearances
            sources = [torch.cat([each, each]) for each in sources]
        triples = zip(sources, *others, strict=True)
        losses = [
            map_contrast(
                *self._maps(triple, draws, f"{name}.contrast.{number}"),
                temperature=self.config.temperature,
            )
            for number, triple in enumerate(triples)
        ]
        return torch.stack(losses).mean()

    def features(self, network: nn.Module, images: Tensor) -> list[Tensor]:
        """Return compared features of pictures, (B, 1 or 3, H, W) in [-1, 1], one map a layer."""
        return self._compared(network(_coloured(images), self.config.layers))

    @torch.no_grad()
    def views(self, network: nn.Module, source: Tensor, translated: Tensor) -> list[list[AnyView]]:
        """Return the self-similarity of each picture and its translation, one view a layer.

        A view spans the whole map, whatever window the term compares. Pictures are
        (B, 1 or 3, H, W) in [-1, 1].
        """
        sides = [
            [
                centred_features(each, normalise=self.config.normalise).float().cpu()
                for each in self.features(network, images)
            ]
            for images in (source, translated)
        ]
        return [
            [
                SimilarityView(
                    layer=layer,
                    source=ours[i],
                    translation=theirs[i],
                    form="cosine" if self.config.normalise else "tanh",
                    scale=1.0 if self.config.normalise else PRODUCT_SCALE,
                )
                for layer, ours, theirs in zip(self.config.layers, *sides, strict=True)
            ]
            for i in range(len(source))
        ]

    def _compared(self, features: Sequence[Tensor]) -> list[Tensor]:
        return list(features) if self.head is None else self.head(features)

    def _maps(self, features: Sequence[Tensor], draws: Draws, name: str) -> list[Tensor]:
        """Return the maps of several pictures at the same drawn places, (B, P, N) each."""
        config, first = self.config, features[0]
        total = first.shape[2] * first.shape[3]
        places = draws.places(name, count=config.num_patches, total=total)
        places = places.to(first.device, non_blocking=True)
        return [
            similarity_maps(each, places, patch_size=config.patch_size, normalise=config.normalise)
            for each in features
        ]

    def _contrasted(
        self, source: Tensor, translated: Tensor, other: Tensor, draws: Draws, name: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pictures to tell apart: sources, their other appearances, strangers."""
        source, translated, other = map(_coloured, (source, translated.detach(), other))
        if other.shape != source.shape:  # crops that keep their picture's size
            other = F.interpolate(other, size=source.shape[2:], mode="bilinear")
        if self.config.augment:  # two appearances and two strangers for every source
            jittered = jitter_colours(source, draws, f"{name}.jitter_source")
            translated = torch.cat([translated, jittered])
            other = torch.cat([other, jitter_colours(other, draws, f"{name}.jitter_other")])
        return source, translated, other.flip(2, 3)  # upside down and mirrored, as released


def _coloured(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def jitter_colours(images: Tensor, draws: Draws, name: str) -> Tensor:
    """Change brightness, contrast, saturation (factors 0.5 to 1.5) and hue (by up to 0.3 turns).

    Each picture gets its own draws, and the four changes in its own order (L-SeSim's
    augmentation).

    Args:
        images: colour pictures, (B, 3, H, W) in [-1, 1].
        draws: decides.
        name: of the draws.

    Returns:
        Pictures of the same shape and range, detached.
    """
    # Departs from the official code: tensors are changed, not 8-bit pictures, because the crops are
    # tensors already; values differ by the rounding of 8 bits.
    choices = draws.for_pictures(len(images), lambda _: _draw(draws, name))
    pictures = (images.detach() + 1.0) / 2.0
    changed = [_jitter(image, *choice) for image, choice in zip(pictures, choices, strict=True)]
    return torch.stack(changed) * 2.0 - 1.0


def _draw(draws: Draws, name: str) -> tuple[dict[str, float], list[int]]:
    low, high = 1.0 - _JITTER, 1.0 + _JITTER
    amounts = {
        what: draws.uniform(f"{name}.{what}", low=low, high=high)
        for what in ("brightness", "contrast", "saturation")
    }
    amounts["hue"] = draws.uniform(f"{name}.hue", low=-_HUE, high=_HUE)
    count = len(amounts)
    order: list[int] = draws.places(f"{name}.order", count=count, total=count).tolist()
    return amounts, order


def _jitter(image: Tensor, amounts: Mapping[str, float], order: Sequence[int]) -> Tensor:
    # (3, H, W) in [0, 1]
    from torchvision.transforms.v2 import functional as change

    steps = {
        "brightness": change.adjust_brightness,
        "contrast": change.adjust_contrast,
        "saturation": change.adjust_saturation,
        "hue": change.adjust_hue,
    }
    for number in order:
        what = list(steps)[number]
        image = steps[what](image, amounts[what])
    return image
