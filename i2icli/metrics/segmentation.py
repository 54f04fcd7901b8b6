"""Segmentation scores of predicted label maps: pixel accuracy, class accuracy, mean IoU.

Two conventions. `standard`: pixels whose truth is to be ignored do not count, a prediction of
"ignored" is wrong, and classes that do not occur are left out of the means. `released`: what the
scripts behind published scores of label-to-photo translation compute, to be compared with those
tables alone: ignored pixels count as errors, and a class that does not occur counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2icli.errors import DataError
from i2icli.metrics.picture_sets import Pair, match_folders
from i2icli.metrics.results import Fact, Measurement, bootstrap_interval
from i2icli.pictures.label_maps import Labels, LabelScheme, Palette, colours_to_ids, read_labels

Convention = Literal["standard", "released"]
Counts = NDArray[np.float64]

NAMES = ("pixel_accuracy", "class_accuracy", "mean_iou")
_RULES = {
    "standard": "ignored truth left out, predicted ignore is wrong, absent classes left out",
    "released": "ignored pixels count as errors, absent classes count as 0",
}


@dataclass(frozen=True)
class Tally:
    """Pixel counts of one picture, or of a sum of pictures; C classes.

    Attributes:
        correct: pixels where truth and prediction are this class, (C,).
        truth: pixels of this class in the truth, (C,).
        predicted: pixels predicted as this class, (C,).
        pixels: all pixels that the pixel accuracy divides by.
    """

    correct: Counts
    truth: Counts
    predicted: Counts
    pixels: float

    def recall(self) -> Counts:
        """Return the share of each class's pixels that were found; NaN for absent classes."""
        return _ratio(self.correct, self.truth)

    def iou(self) -> Counts:
        """Return each class's intersection over union; NaN where the union is empty."""
        return _ratio(self.correct, self.truth + self.predicted - self.correct)


@dataclass(frozen=True)
class Scores:
    """The scores of one tally.

    Attributes:
        pixel_accuracy, class_accuracy, mean_iou: in [0, 1].
        recall, iou: each class's, (C,); NaN for a class that does not occur.
    """

    pixel_accuracy: float
    class_accuracy: float
    mean_iou: float
    recall: Counts
    iou: Counts


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Count pixels by truth (rows) and prediction (columns), (C, C); other ids are in no cell."""
    counted = (truth >= 0) & (truth < classes) & (predicted >= 0) & (predicted < classes)
    # the cell's number, row by row
    cells = truth[counted] * classes + predicted[counted]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def tally_labels(
    truth: Labels, predicted: Labels, scheme: LabelScheme, *, convention: Convention
) -> Tally:
    """Count one picture's pixels; both are ids of the scheme, (H, W)."""
    classes, ignore = scheme.classes, scheme.ignore
    blank = classes  # in no cell of the matrix, even where `ignore` is the id of a class
    truth = np.where(truth == ignore, blank, truth)
    predicted = np.where(predicted == ignore, blank, predicted)
    matrix = confusion_matrix(truth, predicted, classes)
    if convention == "released":
        rows, pixels = matrix.sum(axis=1), truth.size
    else:
        # Departs from the official code: pixels with ignored truth do not count and a predicted
        # ignore is wrong, because nothing else measures what was to be predicted.
        rows = np.bincount(truth.reshape(-1), minlength=classes)[:classes]
        pixels = int(rows.sum())
    return Tally(
        correct=np.diag(matrix).astype(np.float64),
        truth=rows.astype(np.float64),
        predicted=matrix.sum(axis=0).astype(np.float64),
        pixels=float(pixels),
    )


def score_tally(tally: Tally, convention: Convention) -> Scores:
    """Return the scores of counted pixels; NaN where nothing was to be scored."""
    recall, iou = tally.recall(), tally.iou()
    accuracy = float(tally.correct.sum() / tally.pixels) if tally.pixels else float("nan")
    return Scores(accuracy, _mean(recall, convention), _mean(iou, convention), recall, iou)


def score_label_maps(
    truth: Path,
    predicted: Path,
    scheme: LabelScheme,
    *,
    names: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Measurement, ...]:
    """Score a folder of predicted label maps against a folder of true ones, matched by name.

    Args:
        truth: one-channel id maps, or colour maps where the scheme has a palette.
        predicted: likewise, of the same sizes.
        scheme: classes, ids and colours of both.
        names: of the maps that count, without suffix; None: all.
        progress: called with pictures done and pictures in all.

    Returns:
        `pixel_accuracy`, `class_accuracy` and `mean_iou` (its `parts`: each class's IoU), then the
        same with `_released` behind the name.

    Raises:
        DataError: a picture without partner, of another size, with ids out of range, in colours
            without a palette, or unreadable; or nothing to score.
    """
    pairs = match_folders(truth, predicted, names)
    reader = _Reader(scheme)
    tallies: dict[Convention, list[Tally]] = {"standard": [], "released": []}
    for done, pair in enumerate(pairs, start=1):
        for convention in tallies:
            true, ours = reader.read(pair, convention)
            tallies[convention].append(tally_labels(true, ours, scheme, convention=convention))
        if progress:
            progress(done, len(pairs))
    measurements = [
        measurement
        for convention, counts in tallies.items()
        for measurement in _measure(counts, convention, reader)
    ]
    if np.isnan(measurements[0].value):
        raise DataError(
            f"every pixel of the {len(pairs)} label maps in {truth} is {scheme.ignore}, "
            "which --ignore leaves out: nothing is left to score."
        )
    about = {"truth": str(truth), "predicted": str(predicted)}
    return tuple(one.with_facts(about=about) for one in measurements)


class _Reader:
    """Reads a pair's ids and checks them."""

    def __init__(self, scheme: LabelScheme) -> None:
        self.scheme = scheme
        self.has_colours = False
        self.has_swapped = False
        self._last: tuple[str, list[Labels | Palette]] = ("", [])

    def read(self, pair: Pair, convention: Convention) -> tuple[Labels, Labels]:
        """Return true and predicted ids, (H, W) each, of one size."""
        if self._last[0] != pair.name:
            self._last = (pair.name, [read_labels(pair.first), read_labels(pair.second)])
        true, ours = self._last[1]
        if true.shape[:2] != ours.shape[:2]:
            raise DataError(
                f"{pair.second} is {ours.shape[1]}x{ours.shape[0]} and its truth {pair.first} "
                f"{true.shape[1]}x{true.shape[0]}: bring both to one size, without blending ids "
                "(nearest neighbour)."
            )
        # The released script reads BGR and compares with RGB colours, truth and prediction
        # alike; only the score by its name repeats that, and not where one of the two is ids.
        is_swapped = convention == "released" and true.ndim == ours.ndim == 3
        self.has_swapped |= is_swapped
        true = self._ids(true, pair.first, is_swapped=is_swapped)
        return true, self._ids(ours, pair.second, is_swapped=is_swapped)

    def _ids(self, stored: Labels | Palette, path: Path, *, is_swapped: bool) -> Labels:
        if stored.ndim == 3:
            if self.scheme.palette is None:
                raise DataError(
                    f"{path} holds colours, not ids: add --palette cityscapes, or --palette FILE "
                    "with a line `R G B` a class."
                )
            self.has_colours = True
            colours = stored[..., ::-1] if is_swapped else stored
            return colours_to_ids(colours.astype(np.uint8), self.scheme)
        classes, ignore = self.scheme.classes, self.scheme.ignore
        ids = stored.astype(np.int64)
        wrong = ids[((ids < 0) | (ids >= classes)) & (ids != ignore)]
        if wrong.size:
            raise DataError(
                f"{path} has the id {int(wrong[0])} at {wrong.size} pixels, but --classes "
                f"{classes} allows 0 to {classes - 1} and --ignore {ignore}: "
                "correct one of the two flags."
            )
        return ids


def _measure(tallies: list[Tally], convention: Convention, reader: _Reader) -> list[Measurement]:
    scores_of = _scorer(tallies, convention)
    everyone = np.ones(len(tallies))
    overall = scores_of(everyone)
    protocol: dict[str, Fact] = {
        "convention": convention,
        "rule": _RULES[convention],
        "classes": reader.scheme.classes,
        "ignore": reader.scheme.ignore,
        "read": _reading(reader, convention),
    }
    classwise = (None, overall.recall, overall.iou)
    return [
        Measurement(
            name=name if convention == "standard" else f"{name}_{convention}",
            value=_score(scores_of, name, everyone),
            interval=bootstrap_interval(partial(_score, scores_of, name), len(tallies)),
            counts={"pairs": len(tallies)},
            protocol=protocol,
            parts=_per_class(values, reader.scheme),
        )
        for name, values in zip(NAMES, classwise, strict=True)
    ]


def _scorer(tallies: list[Tally], convention: Convention) -> Callable[[Counts], Scores]:
    """Return the scores as a function of how often each picture counts, (N,)."""
    correct = np.stack([tally.correct for tally in tallies])
    truth = np.stack([tally.truth for tally in tallies])
    predicted = np.stack([tally.predicted for tally in tallies])
    pixels = np.array([tally.pixels for tally in tallies])

    def scores_of(times: Counts) -> Scores:
        summed = Tally(times @ correct, times @ truth, times @ predicted, float(times @ pixels))
        return score_tally(summed, convention)

    return scores_of


def _score(scores_of: Callable[[Counts], Scores], name: str, times: Counts) -> float:
    return float(getattr(scores_of(times), name))


def _per_class(values: Counts | None, scheme: LabelScheme) -> dict[str, float | None]:
    if values is None:
        return {}
    return {
        scheme.name_of(number): None if np.isnan(value) else float(value)
        for number, value in enumerate(values)
    }


def _reading(reader: _Reader, convention: Convention) -> str:
    if not reader.has_colours:
        return "ids"
    is_swapped = convention == "released" and reader.has_swapped
    order = "BGR of an RGB palette" if is_swapped else "RGB"
    return f"nearest colour in {order} ({reader.scheme.palette_facts()})"


def _ratio(part: Counts, whole: Counts) -> Counts:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(values: Counts, convention: Convention) -> float:
    if convention == "released":
        return float(np.nan_to_num(values, nan=0.0).mean())
    # Departs from the official code: classes that do not occur are left out, because a score must
    # not hang on how many of them the list of classes has.
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
