"""Measurements while a segmenter trains: how well the label maps of the test pictures agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from i2icli.config.sections import EvalConfig, LabelsConfig
from i2icli.data.folders import Domains
from i2icli.data.labelled import label_scheme, read_ids
from i2icli.errors import ConfigError
from i2icli.evaluation.label_scores import check_labelled
from i2icli.methods.shared.base import Method
from i2icli.metrics.segmentation import Tally, score_tally, sum_tallies, tally_labels
from i2icli.pictures.images import read_picture
from i2icli.pictures.label_maps import LabelScheme
from i2icli.pictures.listing import evenly_spaced
from i2icli.translation.pictures import quiet_randomness, translate_pictures

# Lower is better, as for all numbers that choose a checkpoint.
JUDGE = "eval/iou_error"


@dataclass(frozen=True)
class LabelMeasurer:
    """Segments the same test pictures at every measurement.

    Attributes:
        pictures: the test pictures.
        maps: their true label maps, in the same order.
        channels: what pictures are read with.
        scheme: what label maps hold.
        judge: name of the number that decides which checkpoint is best.
    """

    pictures: tuple[Path, ...]
    maps: tuple[Path, ...]
    channels: int
    scheme: LabelScheme
    judge: str = JUDGE

    @property
    def protocol(self) -> str:
        """What the numbers were computed from, in words."""
        count, classes = len(self.pictures), self.scheme.classes
        return f"mean IoU of {count} pictures, {classes} classes, {self.scheme.ignore} ignored"

    def prepare(self, method: Method, say: Callable[[str], None]) -> None:
        """Do nothing: nothing needs preparing."""

    def measure(self, method: Method, *, precision: torch.dtype) -> dict[str, float]:
        """Return mean IoU, what it lacks of 1, and both accuracies; all in [0, 1].

        The random states and the training mode are afterwards what they were.
        """
        tallies: list[Tally] = []
        with quiet_randomness(method):
            for path, true in zip(self.pictures, self.maps, strict=True):
                picture = read_picture(path, channels=self.channels)
                labels = translate_pictures(method, [picture], precision=precision)[0].labels
                assert labels is not None, "a method that segments returns label maps"
                truth = read_ids(true, self.scheme)
                tallies.append(tally_labels(truth, labels, self.scheme, convention="standard"))
        scores = score_tally(sum_tallies(tallies), "standard")
        return {
            JUDGE: 1.0 - scores.mean_iou,
            "eval/mean_iou": scores.mean_iou,
            "eval/pixel_accuracy": scores.pixel_accuracy,
            "eval/class_accuracy": scores.class_accuracy,
        }


def build_label_measurer(
    config: EvalConfig, labels: LabelsConfig, domains: Domains, *, channels: int
) -> LabelMeasurer | None:
    """Return what measures during a segmenter's run; None where nothing is asked for.

    Args:
        config: how often, and on how many pictures.
        labels: what label maps hold.
        domains: the labelled data set.
        channels: what pictures are read with.

    Raises:
        ConfigError: if metrics of translations are asked for, or there are no test pictures.
        DataError: if a test picture or its map cannot be used.
    """
    if not config.every_steps:
        return None
    if config.metrics != ("auto",):
        raise ConfigError(
            f"eval.metrics is {list(config.metrics)}, which measure translations: a segmenter is "
            'measured by mean IoU, `--set eval.metrics=["auto"]`.'
        )
    if not domains.test_a:
        raise ConfigError(
            f"eval.every_steps is {config.every_steps}, but there are no labelled test pictures: "
            "put some into val/ and their label maps into valannot/ (for plain folders "
            "data.test_a and data.test_b), or switch measuring off with "
            "`--set eval.every_steps=0`."
        )
    scheme = label_scheme(labels)
    pictures = evenly_spaced(domains.test_a, count=config.count)
    maps = evenly_spaced(domains.test_b, count=config.count)
    check_labelled(pictures, maps, scheme)
    return LabelMeasurer(pictures, maps, channels, scheme)
