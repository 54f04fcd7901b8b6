"""Which losses see that two pictures have one structure, whatever their appearance.

An analysis in the manner of SeSim (Zheng et al., CVPR 2021), on paired data. A loss between each
picture and its true partner, which stands alike and looks unlike, should be lower than between the
picture and others: the partner of another picture, and another picture of its own domain, which
looks alike and stands unlike. A loss that goes by appearance fails at the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2icli.data.keyed import KeyedDraws
from i2icli.losses.nce import patch_nce
from i2icli.losses.similarity import map_distance, similarity_maps
from i2icli.methods.shared.draws import Draws
from i2icli.metrics.perceptual import Lpips
from i2icli.metrics.results import Interval, bootstrap_interval
from i2icli.networks.heads import scale_to_unit
from i2icli.networks.taps import gather_places
from i2icli.networks.vgg import VGG16Features

SIDE = 256
PLACES = 256
LAYERS = ("relu3_1", "relu4_1", "relu4_3")  # SeSim's
PERCEPTUAL_LAYER = "relu3_3"
_TAPPED = ("relu3_1", "relu3_3", "relu4_1", "relu4_3")

LOSSES: Mapping[str, str] = {
    "pixel": "mean absolute difference of pixels in [-1, 1]",
    "perceptual": f"mean absolute difference of VGG16 features at {PERCEPTUAL_LAYER}",
    "lpips": "LPIPS with VGG16",
    "patchnce": f"PatchNCE of VGG16 features at {', '.join(LAYERS)}, no projection, T 0.07",
    "fsesim-l1": "F-SeSim at the same layers, mode l1",
    "fsesim-cos": "F-SeSim at the same layers, mode cos",
}
OTHERS: Mapping[str, str] = {
    "unaligned": "the partner of another picture",
    "same domain": "another picture of its own domain",
}

Values = NDArray[np.float64]
Progress = Callable[[int, int], None]
# Takes the number of a pair and returns both pictures, (3, SIDE, SIDE) in [-1, 1].
ReadPair = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Separation:
    """How well a loss tells true partners from other pictures.

    Attributes:
        auc: how often a true partner has the lower loss, all against all, ties half: 0.5 is
            chance, 1 perfect.
        auc_interval: over resampled pictures.
        effect: difference of the means by the pooled standard deviation (Cohen's d).
        effect_interval: over resampled pictures.
    """

    auc: float
    auc_interval: Interval | None
    effect: float
    effect_interval: Interval | None

    def as_document(self) -> dict[str, Any]:
        """Return both figures for JSON."""
        found = {"auc": (self.auc, self.auc_interval), "d": (self.effect, self.effect_interval)}
        return {
            name: {
                "value": value if np.isfinite(value) else None,
                "interval": None if interval is None else interval.as_document(),
            }
            for name, (value, interval) in found.items()
        }


@dataclass(frozen=True)
class LossSeparation:
    """One loss between all pairs.

    Attributes:
        name: a key of `LOSSES`.
        aligned: between each picture and its partner, (N,).
        others: between each picture and another one, (N,) each, by the keys of `OTHERS`.
        separations: of the aligned pairs from those, by the same keys.
    """

    name: str
    aligned: Values
    others: Mapping[str, Values]
    separations: Mapping[str, Separation]

    def as_document(self) -> dict[str, Any]:
        """Return all values for JSON, in the order of the pairs."""
        sets = {"aligned": self.aligned, **self.others}
        return {
            "what": LOSSES[self.name],
            "means": {name: float(values.mean()) for name, values in sets.items()},
            "values": {name: values.tolist() for name, values in sets.items()},
            "separation": {name: each.as_document() for name, each in self.separations.items()},
        }


@dataclass(frozen=True)
class _Seen:
    # a picture with what the losses compare: features by layer, self-similarity maps
    picture: Tensor
    features: Mapping[str, Tensor]
    maps: tuple[Tensor, ...]


class StructureLosses:
    """The losses of `LOSSES` between pictures of SIDE x SIDE pixels.

    Args:
        network: VGG16 with its real weights, on the device to compute on.
        lpips: LPIPS on the same network.
        seed: of the places that are compared, the same in all pictures.
    """

    def __init__(self, network: VGG16Features, lpips: Lpips, *, seed: int = 0) -> None:
        self._network, self._lpips = network, lpips
        self.device = lpips.device
        draws = Draws(seed)
        self._places = []
        for layer in LAYERS:
            side = SIDE // (4 if layer.startswith("relu3") else 8)
            places = draws.places(layer, count=PLACES, total=side * side)
            self._places.append(places.to(self.device))

    @torch.inference_mode()
    def see(self, picture: Tensor) -> _Seen:
        """Compute what can be computed of one picture alone, (3, SIDE, SIDE) in [-1, 1]."""
        images = picture[None].to(self.device)
        # TensorFloat-32, PyTorch's default for convolutions, would change the third digit.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features = dict(zip(_TAPPED, self._network(images, _TAPPED), strict=True))
        maps = tuple(
            similarity_maps(features[layer], places, patch_size=SIDE)
            for layer, places in zip(LAYERS, self._places, strict=True)
        )
        return _Seen(images, features, maps)

    @torch.inference_mode()
    def between(self, source: _Seen, others: Sequence[_Seen]) -> list[dict[str, float]]:
        """Return the losses of a picture against others, each by the keys of `LOSSES`."""
        pictures = torch.cat([other.picture for other in others])
        perceived = self._lpips.distances(source.picture.expand_as(pictures), pictures)
        return [
            {
                "pixel": _difference(source.picture, other.picture),
                "perceptual": _difference(
                    source.features[PERCEPTUAL_LAYER], other.features[PERCEPTUAL_LAYER]
                ),
                "lpips": float(lpips),
                "patchnce": self._contrast(source, other),
                **{
                    f"fsesim-{mode}": _mean(
                        map_distance(ours, theirs, compare=mode)
                        for ours, theirs in zip(source.maps, other.maps, strict=True)
                    )
                    for mode in ("cos", "l1")
                },
            }
            for other, lpips in zip(others, perceived, strict=True)
        ]

    def _contrast(self, source: _Seen, other: _Seen) -> float:
        rows = (
            [scale_to_unit(gather_places(seen.features[layer], places)) for seen in (other, source)]
            for layer, places in zip(LAYERS, self._places, strict=True)
        )
        return _mean(patch_nce(queries, keys).mean() for queries, keys in rows)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())


def _mean(values: Any) -> float:
    return float(torch.stack(list(values)).mean())


def partners(count: int, *, seed: int = 0) -> list[int]:
    """Return another picture for each of 2 or more, each taken once: one cycle through all."""
    order = KeyedDraws(seed, 0).permutation(count).tolist()
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [following[number] for number in range(count)]


def separate_losses(
    losses: StructureLosses,
    read: ReadPair,
    count: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[LossSeparation]:
    """Compute every loss between all pictures and their partners, and other pictures.

    Args:
        losses: computes them.
        read: returns a pair.
        count: pairs, 2 or more.
        seed: of who meets whom, and of the resampling.
        progress: called with the pairs done and all of them.
    """
    following = partners(count, seed=seed)
    found: list[list[dict[str, float]]] = [[] for _ in range(count)]
    number, current = 0, _see_pair(losses, read, 0)
    # Along the cycle, so that each picture is seen once and two pairs are held at a time.
    for done in range(1, count + 1):
        after = _see_pair(losses, read, following[number])
        found[number] = losses.between(current[0], [current[1], after[1], after[0]])
        number, current = following[number], after
        if progress:
            progress(done, count)
    return [_summary(name, found, seed=seed) for name in LOSSES]


def _see_pair(losses: StructureLosses, read: ReadPair, number: int) -> tuple[_Seen, _Seen]:
    first, second = read(number)
    return losses.see(first), losses.see(second)


def _summary(
    name: str, found: Sequence[Sequence[Mapping[str, float]]], *, seed: int
) -> LossSeparation:
    aligned, *rest = (np.array([row[which][name] for row in found]) for which in range(3))
    others = dict(zip(OTHERS, rest, strict=True))
    separations = {key: separation(aligned, values, seed=seed) for key, values in others.items()}
    return LossSeparation(name, aligned, others, separations)


def separation(aligned: Values, others: Values, *, seed: int = 0) -> Separation:
    """Say how well the values of aligned pairs lie below those of others, (N,) each.

    Both are of the same pictures; the resampling draws pictures with both their values.
    """
    count = len(aligned)
    wins = (others[None] > aligned[:, None]) + 0.5 * (others[None] == aligned[:, None])

    def auc(times: Values) -> float:
        return float(times @ wins @ times / times.sum() ** 2)

    def effect(times: Values) -> float:
        near, near_variance = _moments(aligned, times)
        far, far_variance = _moments(others, times)
        spread = np.sqrt((near_variance + far_variance) / 2)
        return float((far - near) / spread) if spread > 0 else float("nan")

    each = np.ones(count)
    return Separation(
        auc=auc(each),
        auc_interval=bootstrap_interval(auc, count, seed=seed),
        effect=effect(each),
        effect_interval=bootstrap_interval(effect, count, seed=seed),
    )


def _moments(values: Values, times: Values) -> tuple[float, float]:
    # mean and unbiased variance of values drawn so many times
    total = times.sum()
    mean = float(times @ values / total)
    return mean, float(times @ np.square(values - mean) / max(1.0, total - 1))
