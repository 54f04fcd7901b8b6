"""FID and KID while training: translations of test pictures of A against test pictures of B."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from i2icli.errors import DataError
from i2icli.metrics.distances import fid, kid
from i2icli.metrics.features import extract_features
from i2icli.metrics.inception import (
    FEATURES,
    FeatureMode,
    build_network,
    build_resizer,
    find_inception,
    prepare,
    quiet,
)
from i2icli.pictures.images import Pixels, to_8_bits

Features = NDArray[np.float32]

_AT_ONCE = 16  # translations whose features are computed together
_ENOUGH = 2048  # pictures; below, FID depends on their number


@dataclass
class DistanceMeter:
    """Compares the features of translations with those of real pictures.

    Attributes:
        metrics: "fid", "kid" or both.
        real: the test pictures of B.
        translations: how many there will be.
        mode: resizing and network.
        device: where features are computed.
    """

    metrics: tuple[str, ...]
    real: tuple[Path, ...]
    translations: int
    mode: FeatureMode
    device: torch.device
    _of_real: Features | None = None
    _done: list[Features] = field(default_factory=list)
    _waiting: list[Pixels] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse too few pictures.

        Raises:
            DataError: if there are fewer than two of either kind.
        """
        if min(self.translations, len(self.real)) < 2:
            raise DataError(
                f"FID and KID need two test pictures of each domain, and there are "
                f"{self.translations} of A and {len(self.real)} of B: raise eval.count, or add "
                "pictures."
            )

    def prepare(self, say: Callable[[str], None]) -> None:
        """Compute the features of the real pictures, or find them in the cache."""
        names = " and ".join(name.upper() for name in self.metrics)
        few = (
            f"; with fewer than {_ENOUGH:,} the numbers tell steps of this run apart, and no more"
            if min(self.translations, len(self.real)) < _ENOUGH
            else ""
        )
        say(
            f"measuring {names} ({self.mode}) of {self.translations} translations against "
            f"{len(self.real)} test pictures of B, whose features come first{few}"
        )
        self._of_real = features_of_files(self.real, mode=self.mode, device=self.device)

    def start(self) -> None:
        """Forget the translations taken in."""
        self._done, self._waiting = [], []

    def add(self, _: Path, output: Pixels, /) -> None:
        """Take in a translation."""
        self._waiting.append(output)
        if len(self._waiting) == _AT_ONCE:
            self._extract()

    def scores(self) -> dict[str, float]:
        """Return the distances."""
        self._extract()
        assert self._of_real is not None, "prepare() comes first"
        made = np.concatenate(self._done)
        of = {"fid": fid, "kid": kid}
        return {f"eval/{name}": float(of[name](self._of_real, made)) for name in self.metrics}

    def _extract(self) -> None:
        if self._waiting:
            self._done.append(features_of_pixels(self._waiting, mode=self.mode, device=self.device))
        self._waiting = []


def features_of_files(
    paths: Sequence[Path], *, mode: FeatureMode, device: torch.device
) -> Features:
    """Return the features of picture files, (N, 2048), from the cache where they are there."""
    return extract_features(paths, mode=mode, device=device)


def features_of_pixels(
    pictures: Sequence[Pixels], *, mode: FeatureMode, device: torch.device
) -> Features:
    """Return the features of pictures in memory, (N, 2048), as their lossless files would give."""
    network = build_network(mode, device, find_inception(mode))
    resize = build_resizer(mode)
    prepared = [prepare(_in_colour(pixels), resize) for pixels in pictures]
    rows = np.zeros((len(pictures), FEATURES), dtype=np.float32)
    # Where the network resizes by itself, pictures of one size go through it together.
    shapes = [image.shape for image in prepared]
    for shape in dict.fromkeys(shapes):
        places = [place for place, other in enumerate(shapes) if other == shape]
        batch = torch.stack([prepared[place] for place in places]).to(device)
        with quiet(), torch.inference_mode():
            rows[places] = network(batch).float().cpu().numpy()
    return rows


def _in_colour(pixels: Pixels) -> Pixels:
    planes = to_8_bits(pixels)
    return planes if planes.shape[2] == 3 else np.repeat(planes, 3, axis=2)
