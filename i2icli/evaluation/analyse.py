"""`i2i analyse-structure`: pairs of pictures, the losses between them, the figure and the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from i2icli.datasets.pairs import read_halves
from i2icli.errors import ConfigError, DataError
from i2icli.metrics.alignment import (
    LAYERS,
    LOSSES,
    OTHERS,
    PLACES,
    SIDE,
    LossSeparation,
    Progress,
    StructureLosses,
    partners,
    separate_losses,
)
from i2icli.metrics.perceptual import Lpips
from i2icli.metrics.picture_sets import match_folders
from i2icli.metrics.results import Interval
from i2icli.networks.vgg import VGG16Features
from i2icli.pictures.images import Picture, Pixels, read_picture, read_size, to_8_bits, to_tensor
from i2icli.pictures.listing import evenly_spaced, list_pictures
from i2icli.pretrained.weights import load_weights
from i2icli.system.device import resolve_device
from i2icli.viz.alignment import LossPanel, draw_separations

_LEAST_ASPECT = 1.5  # width by height of a picture that holds two
# Folders inside DATA that hold pairs: the layout of paired sets, and of a prepared one with truth.
_INSIDE = (("A", "B"), ("testA", "testA_truth"))


@dataclass(frozen=True)
class PairFile:
    """A pair of pictures: two files, or the halves of one.

    Attributes:
        name: says which.
        first: the picture of domain A, or both.
        second: the picture of domain B; None: the right half of `first`.
    """

    name: str
    first: Path
    second: Path | None

    def read(self) -> tuple[Picture, Picture]:
        """Return both pictures.

        Raises:
            DataError: a file cannot be read.
        """
        if self.second is None:
            return read_halves(self.first)
        return read_picture(self.first), read_picture(self.second)


@dataclass(frozen=True)
class Analysis:
    """What the losses say of pairs.

    Attributes:
        pairs: those that were compared.
        partners: for each the number of the other pair that it met.
        losses: one a loss.
        seed: of who met whom.
        weights: of VGG16: name and SHA-256.
        figure: the same drawn.
    """

    pairs: tuple[PairFile, ...]
    partners: tuple[int, ...]
    losses: tuple[LossSeparation, ...]
    seed: int
    weights: tuple[str, str]
    figure: Figure

    def as_document(self) -> dict[str, Any]:
        """Return everything but the figure for JSON."""
        return {
            "pairs": [pair.name for pair in self.pairs],
            "partners": [self.pairs[number].name for number in self.partners],
            "protocol": {
                "size": f"{SIDE}x{SIDE} bicubic, antialiased",
                "layers": ", ".join(LAYERS),
                "places": PLACES,
                "seed": self.seed,
                "weights": self.weights[0],
                "weights_sha256": self.weights[1],
            },
            "losses": {loss.name: loss.as_document() for loss in self.losses},
        }

    def rows(self) -> list[list[str]]:
        """Return the table, its heading first."""
        heading = ["loss", "aligned"]
        for other in OTHERS:
            heading += [other, "AUC", "d"]
        rows = [heading]
        for loss in self.losses:
            row = [loss.name, f"{loss.aligned.mean():.4g}"]
            for other, values in loss.others.items():
                found = loss.separations[other]
                row.append(f"{values.mean():.4g}")
                row.append(_cell(found.auc, found.auc_interval, 3))
                row.append(_cell(found.effect, found.effect_interval, 2))
            rows.append(row)
        return rows

    def lines(self) -> Iterator[str]:
        """Yield the table, and what its columns mean."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            yield "  ".join([row[0].ljust(widths[0]), *cells])
        yield f"{len(self.pairs)} pairs; mean losses between a picture and"
        yield "  aligned: its true partner"
        for other, meaning in OTHERS.items():
            yield f"  {other}: {meaning}"
        yield "AUC: how often the true partner has the lower loss, 0.5 is chance; d: Cohen's d"
        yield "[low, high]: 95 %, bootstrap over pictures"
        for name, meaning in LOSSES.items():
            yield f"{name}: {meaning}"


def find_pairs(folders: Sequence[Path]) -> list[PairFile]:
    """Return the pairs of pictures in one or two folders, sorted by name.

    Args:
        folders: two with equal names in them; or one that holds such two, A and B or testA and
            testA_truth; or one of pictures that each hold a pair side by side.

    Raises:
        ConfigError: more than two folders.
        DataError: fewer than two pairs, or a picture without partner.
    """
    if len(folders) > 2:
        raise ConfigError(f"analyse-structure takes one folder or two, got {len(folders)}.")
    root = folders[0]
    for names in _INSIDE:
        if len(folders) == 1 and all((root / name).is_dir() for name in names):
            folders = [root / name for name in names]
    if len(folders) == 2:
        matched = match_folders(folders[0], folders[1])
        pairs = [PairFile(pair.name, pair.first, pair.second) for pair in matched]
    else:
        pairs = [_side_by_side(path, root) for path in list_pictures(root)]
    if len(pairs) < 2:
        raise DataError(f"{root} holds {len(pairs)} pair(s) of pictures; 2 or more are compared.")
    return pairs


def _side_by_side(path: Path, root: Path) -> PairFile:
    width, height = read_size(path)
    if width < _LEAST_ASPECT * height:
        raise DataError(
            f"{path} is {width}x{height}, too narrow for two pictures side by side: give two "
            "folders of pictures with equal names instead."
        )
    return PairFile(path.relative_to(root).as_posix(), path, None)


def analyse_structure(
    pairs: Sequence[PairFile],
    *,
    count: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Analysis:
    """Compute every loss between aligned and other pictures.

    Args:
        pairs: as `find_pairs` returns them.
        count: the most that are compared, evenly spaced; None: all.
        seed: of who meets whom, of the positions, and of the intervals.
        device: where to compute.
        progress: is told the pairs done and all of them.

    Raises:
        WeightsError: the weights `vgg16` are not here.
        DataError: a picture cannot be read.
    """
    tensors, found = load_weights("vgg16")
    chosen = tuple(pairs) if count is None else evenly_spaced(pairs, count=count)
    network = VGG16Features()
    network.load_convolutions(tensors)
    where = resolve_device(device)
    network.eval().requires_grad_(False).to(where)
    losses = StructureLosses(network, Lpips("vgg", tensors, device=where), seed=seed)

    def read(number: int) -> tuple[Tensor, Tensor]:
        first, second = chosen[number].read()
        return _fitted(first), _fitted(second)

    results = separate_losses(losses, read, len(chosen), seed=seed, progress=progress)
    following = partners(len(chosen), seed=seed)
    return Analysis(
        pairs=chosen,
        partners=tuple(following),
        losses=tuple(results),
        seed=seed,
        weights=(found.name, found.sha256),
        figure=_draw(chosen, following, results),
    )


def _fitted(picture: Picture) -> Tensor:
    """Return a picture as it is compared, (3, SIDE, SIDE) in [-1, 1]."""
    images = to_tensor(_colour(picture.pixels))[None]
    resized = F.interpolate(images, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    return resized[0].clamp(-1.0, 1.0)


def _colour(pixels: Pixels) -> Pixels:
    planes = to_8_bits(pixels)  # (H, W, 1 or 3)
    return np.ascontiguousarray(np.broadcast_to(planes, (*planes.shape[:2], 3)))


def _draw(
    pairs: Sequence[PairFile], following: Sequence[int], losses: Sequence[LossSeparation]
) -> Figure:
    ours, theirs = pairs[0].read(), pairs[following[0]].read()
    pictures = [
        ("picture", _colour(ours[0].pixels)),
        ("its partner: aligned", _colour(ours[1].pixels)),
        ("another's partner: unaligned", _colour(theirs[1].pixels)),
        ("another of the same domain", _colour(theirs[0].pixels)),
    ]
    panels = [
        LossPanel(
            title=loss.name,
            sets={"aligned": loss.aligned, **loss.others},
            note="  ".join(
                f"AUC {each.auc:.2f} {other}" for other, each in loss.separations.items()
            ),
        )
        for loss in losses
    ]
    about = (
        f"{len(pairs)} pairs at {SIDE}x{SIDE}. A dot is a pair, a bar the median. AUC: how often "
        "an aligned pair has the lower loss; 0.5 is chance."
    )
    return draw_separations(pictures, panels, about=about)


def _cell(value: float, interval: Interval | None, digits: int) -> str:
    if not np.isfinite(value):
        return "-"
    less = digits - 1
    ends = f" [{interval.low:.{less}f}, {interval.high:.{less}f}]" if interval else ""
    return f"{value:.{digits}f}{ends}"
