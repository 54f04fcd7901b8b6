"""Error of translations against the true ones, where a data set keeps them (the demo set does).

A photo set has no such truth. The error of the identity mapping is always given beside the
translations': learning shows as an error inside the mask well under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2icli.errors import DataError
from i2icli.pictures.images import SUFFIXES, Pixels, read_picture

_TRUTH, _MASK, _SOURCE = "testA_truth", "testA_mask", "testA"


@dataclass(frozen=True)
class TruthScore:
    """Mean absolute errors, on pixels in [0, 1].

    Attributes:
        inside: where the mask is set; none without a mask or with an empty one.
        outside: elsewhere; none without a mask or with a full one.
        total: over the whole picture.
    """

    inside: float | None
    outside: float | None
    total: float


@dataclass(frozen=True)
class FolderScore:
    """Scores of a folder, each the mean over its pictures.

    Attributes:
        count: pictures scored.
        translation: error of the translations.
        identity: error of the untranslated pictures of A, over the same names.
        missing: names with a truth but no translation.
    """

    count: int
    translation: TruthScore
    identity: TruthScore
    missing: tuple[str, ...]


def score_pixels(output: Pixels, truth: Pixels, mask: Pixels | None = None) -> TruthScore:
    """Return the error of one picture.

    Args:
        output: (H, W, C), 8 or 16 bits.
        truth: the same shape, 8 or 16 bits.
        mask: (H, W) or (H, W, 1); above half its range counts as inside.

    Raises:
        ValueError: the shapes differ.
    """
    if output.shape != truth.shape:
        raise ValueError(f"shapes differ: {output.shape} against {truth.shape}")
    error = np.abs(_unit(output) - _unit(truth)).mean(axis=-1)
    if mask is None:
        return TruthScore(None, None, float(error.mean()))
    if mask.shape[:2] != error.shape:
        raise ValueError(f"the mask is {mask.shape[:2]}, the picture {error.shape}")
    inside = _unit(mask).reshape(*error.shape, -1)[..., 0] > 0.5
    return TruthScore(_mean(error[inside]), _mean(error[~inside]), float(error.mean()))


def score_folder(outputs: Path, root: Path) -> FolderScore:
    """Score a folder of translations of `root/testA` against `root/testA_truth`.

    Pictures are matched by stem, so a translation may have another suffix than its source.

    Raises:
        DataError: no truth in `root`, no translation in `outputs`, or a wrong size.
    """
    truths = _by_stem(root / _TRUTH)
    if not truths:
        raise DataError(
            f"{root} has no {_TRUTH} folder with pictures, so there is no truth to score against; "
            "the built-in set has one: i2i data demo OUT"
        )
    found = _by_stem(outputs)
    sources, masks = _by_stem(root / _SOURCE), _by_stem(root / _MASK)
    names = [stem for stem in sorted(truths) if stem in found]
    if not names:
        raise DataError(
            f"{outputs} holds no translation of the pictures in {root / _SOURCE}: "
            f"no file is called {next(iter(sorted(truths)))} with a picture suffix."
        )
    translated, identity = [], []
    for stem in names:
        mask = read_picture(masks[stem], channels=1).pixels if stem in masks else None
        translated.append(_score_file(found[stem], truths[stem], mask))
        if stem in sources:
            identity.append(_score_file(sources[stem], truths[stem], mask))
    if len(identity) != len(names):
        raise DataError(f"{root / _SOURCE} lacks pictures that {_TRUTH} has; make the set anew.")
    missing = tuple(truths[stem].name for stem in sorted(truths) if stem not in found)
    return FolderScore(len(names), _average(translated), _average(identity), missing)


def _score_file(output: Path, truth: Path, mask: Pixels | None) -> TruthScore:
    ours, true = read_picture(output).pixels, read_picture(truth).pixels
    try:
        return score_pixels(ours, true, mask)
    except ValueError as error:
        size, wanted = (f"{shape[1]}x{shape[0]}" for shape in (ours.shape, true.shape))
        raise DataError(
            f"{output} is {size} and its truth {wanted}: translate the pictures of {_SOURCE} "
            "at their own size."
        ) from error


def _by_stem(folder: Path) -> dict[str, Path]:
    """Map stems, with their subfolder, to the pictures of a folder; empty where there is none."""
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def _unit(pixels: Pixels) -> NDArray[np.float64]:
    return pixels.astype(np.float64) / np.iinfo(pixels.dtype).max


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None


def _average(scores: list[TruthScore]) -> TruthScore:
    inside = [score.inside for score in scores if score.inside is not None]
    outside = [score.outside for score in scores if score.outside is not None]
    return TruthScore(
        inside=float(np.mean(inside)) if inside else None,
        outside=float(np.mean(outside)) if outside else None,
        total=float(np.mean([score.total for score in scores])),
    )
