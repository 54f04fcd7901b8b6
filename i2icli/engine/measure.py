"""Measurements while training: the error against the true translation, where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from i2icli.config.sections import DataConfig, EvalConfig
from i2icli.data.folders import Domains
from i2icli.data.images import read_picture
from i2icli.engine.samples import quiet_randomness, source_channels, spaced
from i2icli.errors import ConfigError
from i2icli.evaluation.truth import TruthScore, score_pixels
from i2icli.inference.pictures import translate_pictures
from i2icli.methods.base import Method

Scores = dict[str, float]


@dataclass(frozen=True)
class TruthMeter:
    """Compares translations of A with the truth.

    Attributes:
        pictures: the test pictures measured.
        truth: folder of the true translations, under the same file names.
        masks: folder of the object masks, under the same file names; None: only the whole counts.
        data: says how many channels a domain has.
    """

    pictures: tuple[Path, ...]
    truth: Path
    masks: Path | None
    data: DataConfig

    def measure(self, method: Method, *, precision: torch.dtype) -> Scores:
        """Return mean absolute errors in [0, 1]: over all, inside the mask, and outside it.

        The random states and the training mode are afterwards what they were.
        """
        with quiet_randomness(method):
            scores = [self._score(method, path, precision) for path in self.pictures]
        parts = {
            "eval/truth_total": [score.total for score in scores],
            "eval/truth_inside": [s.inside for s in scores if s.inside is not None],
            "eval/truth_outside": [s.outside for s in scores if s.outside is not None],
        }
        return {name: sum(values) / len(values) for name, values in parts.items() if values}

    def _score(self, method: Method, path: Path, precision: torch.dtype) -> TruthScore:
        source = read_picture(path, channels=source_channels(self.data, "a2b"))
        (output,) = translate_pictures(method, [source], precision=precision)
        channels = source_channels(self.data, "b2a")
        truth = read_picture(self.truth / path.name, channels=channels).pixels
        mask = self.masks / path.name if self.masks is not None else None
        if mask is None or not mask.exists():
            return score_pixels(output, truth)
        return score_pixels(output, truth, read_picture(mask, channels=1).pixels)


def build_meter(config: EvalConfig, data: DataConfig, domains: Domains) -> TruthMeter | None:
    """Return what measures during a run; None where the configuration asks for nothing.

    Raises:
        ConfigError: if it asks, and the data set has no truth to compare with.
    """
    if not config.every_steps:
        return None
    if domains.truth is None or not domains.test_a:
        raise ConfigError(
            f"eval.every_steps is {config.every_steps}, but {domains.root or 'this data set'} has "
            "no true translations to measure against: the demo set has (train without --data), "
            "and any folder with testA_truth/ beside testA/. Add `--set eval.every_steps=0`."
        )
    pictures = [path for path in domains.test_a if (domains.truth / path.name).exists()]
    return TruthMeter(spaced(pictures, count=config.count), domains.truth, domains.masks, data)
