"""Error of translations against the true ones, where a data set keeps them (the demo set does).

A photo set has no such truth. The error of the identity mapping is always given beside the
translations': learning shows as an error inside the mask well under it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2icli.config.words import as_plain
from i2icli.data.held_out import HeldOut
from i2icli.errors import DataError
from i2icli.pictures.images import Pixels, read_picture
from i2icli.pictures.listing import list_by_stem


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

    as_document = as_plain

    def lines(self) -> list[str]:
        """Return a table of both errors."""
        rows = [("translations", self.translation), ("untranslated", self.identity)]
        lines = [
            f"Mean absolute error against the truth, pixels in [0, 1], {self.count} pictures",
            f"{'':<14}{'inside':>9}{'outside':>9}{'total':>9}",
        ]
        for name, errors in rows:
            cells = (errors.inside, errors.outside, errors.total)
            text = "".join(f"{'-' if cell is None else format(cell, '.4f'):>9}" for cell in cells)
            lines.append(f"{name:<14}{text}")
        if self.missing:
            lines.append(
                f"{len(self.missing)} pictures have no translation, first {self.missing[0]}"
            )
        return lines


def score_pixels(output: Pixels, truth: Pixels, mask: Pixels | None = None) -> TruthScore:
    """Return the error of one picture, (H, W, C) of 8 or 16 bits, against its truth.

    A mask, (H, W) or (H, W, 1), above half its range counts as inside.

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


def score_folder(
    outputs: Path, held_out: HeldOut, names: Collection[str] | None = None
) -> FolderScore:
    """Score a folder of translations against the true ones.

    Pictures are matched by stem, so a translation may have another suffix than its source.

    Args:
        outputs: the translations.
        held_out: the pictures that were translated, their truth and their masks.
        names: stems of those that are scored; None: of all that have a truth.

    Raises:
        DataError: no truth, no translation in `outputs`, or a wrong size.
    """
    inputs = held_out.inputs
    truths = _by_stem(held_out.truth)
    if not truths:
        raise DataError(
            f"{inputs.parent} has no {inputs.name}_truth folder with pictures, so there is no "
            "truth to score against; the built-in set has one: i2i data demo OUT"
        )
    if names is not None:
        truths = {stem: path for stem, path in truths.items() if stem in names}
    found, sources, masks = map(_by_stem, (outputs, inputs, held_out.masks))
    scored = [stem for stem in sorted(truths) if stem in found]
    if not scored:
        raise DataError(
            f"{outputs} holds no translation of the pictures in {inputs}: "
            f"no file is called {next(iter(sorted(truths)))} with a picture suffix."
        )
    if not sources.keys() >= set(scored):
        raise DataError(f"{inputs} lacks pictures that have a truth; make the set anew.")
    translated, identity = (
        mean_score([score_file(made[stem], truths[stem], masks.get(stem)) for stem in scored])
        for made in (found, sources)
    )
    missing = tuple(truths[stem].name for stem in sorted(truths) if stem not in found)
    return FolderScore(len(scored), translated, identity, missing)


def score_file(output: Path | Pixels, truth: Path, mask: Path | None) -> TruthScore:
    """Return the error of one picture, against its truth read with as many channels.

    Raises:
        DataError: a file cannot be read, or its truth or mask has another size.
    """
    ours = read_picture(output).pixels if isinstance(output, Path) else output
    true = read_picture(truth, channels=ours.shape[2]).pixels
    inside = None if mask is None else read_picture(mask, channels=1).pixels
    try:
        return score_pixels(ours, true, inside)
    except ValueError as error:
        size, wanted = (f"{shape[1]}x{shape[0]}" for shape in (ours.shape, true.shape))
        name = output if isinstance(output, Path) else "the translation"
        raise DataError(
            f"{name} is {size} and its truth {wanted}: translate the pictures at their own size."
        ) from error


def mean_score(scores: Sequence[TruthScore]) -> TruthScore:
    """Return the mean of one or more scores; each part over those that have it."""
    inside = [score.inside for score in scores if score.inside is not None]
    outside = [score.outside for score in scores if score.outside is not None]
    return TruthScore(
        inside=float(np.mean(inside)) if inside else None,
        outside=float(np.mean(outside)) if outside else None,
        total=float(np.mean([score.total for score in scores])),
    )


def _by_stem(folder: Path | None) -> dict[str, Path]:
    return {} if folder is None or not folder.is_dir() else list_by_stem(folder)


def _unit(pixels: Pixels) -> NDArray[np.float64]:
    return pixels.astype(np.float64) / np.iinfo(pixels.dtype).max


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
