"""Measurements while training: errors against the truth, and distances of distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from i2icli.config.sections import DataConfig, EvalConfig
from i2icli.data.folders import Domains
from i2icli.errors import ConfigError, DataError, WeightsError
from i2icli.evaluation.distributions import DistanceMeter
from i2icli.methods.shared.base import Method
from i2icli.metrics.inception import find_inception
from i2icli.metrics.truth import TruthScore, score_pixels
from i2icli.pictures.images import Pixels, read_picture, read_size
from i2icli.pictures.listing import evenly_spaced
from i2icli.translation.pictures import quiet_randomness, translate_pictures

Scores = dict[str, float]
Say = Callable[[str], None]
# The number by which each metric judges a checkpoint; lower is better for all of them.
_JUDGES = {"truth": "eval/truth_total", "fid": "eval/fid", "kid": "eval/kid"}
_AT_ONCE = 8  # translations held in memory


class Meter(Protocol):
    """Something that takes in translations one after the other and returns numbers."""

    def prepare(self, say: Say) -> None:
        """Do what is done once a run; may take long."""

    def start(self) -> None:
        """Forget the translations taken in."""

    def add(self, path: Path, output: Pixels, /) -> None:
        """Take in the translation of the picture at `path`."""

    def scores(self) -> Scores:
        """Return the numbers of all that was taken in."""


@dataclass(frozen=True)
class Measurer:
    """Translates the same test pictures of A at every measurement, and has them judged.

    Attributes:
        pictures: the test pictures.
        channels: what they are read with.
        meters: the judges.
        judge: name of the number that decides which checkpoint is best.
        protocol: what the numbers were computed from, in words; numbers of another protocol are
            not compared with these.
    """

    pictures: tuple[Path, ...]
    channels: int
    meters: tuple[Meter, ...]
    judge: str
    protocol: str

    def prepare(self, method: Method, say: Say) -> None:
        """Do what is done once a run, before its first step.

        Random states are afterwards what they were.
        """
        with quiet_randomness(method):
            for meter in self.meters:
                meter.prepare(say)

    def measure(self, method: Method, *, precision: torch.dtype) -> Scores:
        """Return the numbers by name, "eval/fid" for example.

        The random states and the training mode are afterwards what they were.
        """
        with quiet_randomness(method):
            for meter in self.meters:
                meter.start()
            for path, output in self._translations(method, precision):
                for meter in self.meters:
                    meter.add(path, output)
            scores: Scores = {}
            for meter in self.meters:
                scores |= meter.scores()
        return scores

    def _translations(
        self, method: Method, precision: torch.dtype
    ) -> Iterator[tuple[Path, Pixels]]:
        for first in range(0, len(self.pictures), _AT_ONCE):
            paths = self.pictures[first : first + _AT_ONCE]
            sources = [read_picture(path, channels=self.channels) for path in paths]
            made = translate_pictures(method, sources, precision=precision)
            yield from zip(paths, (one.pixels for one in made), strict=True)


@dataclass
class TruthMeter:
    """Compares translations of A with the truth.

    Attributes:
        truth: folder of the true translations, under the same file names.
        masks: folder of the object masks, under the same file names; None: only the whole counts.
        channels: of domain B.
    """

    truth: Path
    masks: Path | None
    channels: int
    _scores: list[TruthScore] = field(default_factory=list)

    def prepare(self, say: Say) -> None:
        """Nothing needs preparing."""

    def start(self) -> None:
        """Forget the translations taken in."""
        self._scores = []

    def add(self, path: Path, output: Pixels, /) -> None:
        """Take in the error of one translation."""
        truth = read_picture(self.truth / path.name, channels=self.channels).pixels
        mask = self.masks / path.name if self.masks is not None else None
        if mask is None or not mask.exists():
            self._scores.append(score_pixels(output, truth))
        else:
            pixels = read_picture(mask, channels=1).pixels
            self._scores.append(score_pixels(output, truth, pixels))

    def scores(self) -> Scores:
        """Return mean absolute errors in [0, 1]: over all, inside the mask, and outside it."""
        scores = self._scores
        parts = {
            "eval/truth_total": [score.total for score in scores],
            "eval/truth_inside": [s.inside for s in scores if s.inside is not None],
            "eval/truth_outside": [s.outside for s in scores if s.outside is not None],
        }
        return {name: sum(values) / len(values) for name, values in parts.items() if values}


def build_measurer(
    config: EvalConfig,
    data: DataConfig,
    domains: Domains,
    *,
    device: torch.device,
    on_skip: Say = lambda _: None,
) -> Measurer | None:
    """Return what measures during a run; None where the configuration asks for nothing.

    Everything that a measurement needs is looked for here, so that a run does not end in its
    middle for want of it.

    Args:
        config: what is measured, and on how many pictures.
        data: says how many channels a domain has, and what an unreadable picture does.
        domains: the data set.
        device: where features are computed.
        on_skip: is told of each test picture that cannot be read.

    Raises:
        ConfigError: if the data set has nothing to measure against.
        DataError: if its test pictures cannot be used.
        WeightsError: if FID or KID are asked for and their network is not there.
    """
    if not config.every_steps:
        return None
    metrics = _settle(config, domains)
    skip = on_skip if data.corrupt == "skip" else None
    pictures = domains.test_a
    meters: list[Meter] = []
    protocol = []
    if "truth" in metrics:
        assert domains.truth is not None, "a truth that is not there was settled on"
        truth = domains.truth
        pictures = tuple(path for path in pictures if (truth / path.name).exists())
    channels = data.channels_a
    pictures = _readable(evenly_spaced(pictures, count=config.count), channels, skip)
    if "truth" in metrics:
        assert domains.truth is not None, "a truth that is not there was settled on"
        _check_truth(pictures, domains.truth)
        meters.append(TruthMeter(domains.truth, domains.masks, data.channels_b))
        protocol.append(f"{len(pictures)} of A against their truth")
    if distances := tuple(name for name in metrics if name in ("fid", "kid")):
        real = _readable(domains.test_b, data.channels_b, skip)
        meters.append(
            DistanceMeter(distances, real, len(pictures), mode=config.mode, device=device)
        )
        protocol.append(f"{len(pictures)} of A against {len(real)} of B, {config.mode}")
    return Measurer(pictures, channels, tuple(meters), _JUDGES[metrics[0]], "; ".join(protocol))


def _settle(config: EvalConfig, domains: Domains) -> tuple[str, ...]:
    """Return the metrics, `auto` replaced by what this data set allows.

    Raises:
        ConfigError: if it has not what one of them needs.
        WeightsError: if their network is not there.
    """
    where = domains.root or "this data set"
    asked = f"eval.every_steps is {config.every_steps}"
    off = "or switch measuring off with `--set eval.every_steps=0`"
    has_truth = domains.truth is not None and any(
        (domains.truth / path.name).exists() for path in domains.test_a
    )
    if "truth" in config.metrics and not has_truth:
        raise ConfigError(
            f"{asked} and eval.metrics has truth, but {where} has no true translations: the demo "
            "set has (train without --data), and any folder with testA_truth/ beside testA/. "
            f'Use `--set eval.metrics=["fid"]`, {off}.'
        )
    if config.metrics == ("auto",) and has_truth:
        return ("truth",)
    metrics = ("fid", "kid") if config.metrics == ("auto",) else config.metrics
    if metrics == ("truth",):
        return metrics
    if min(len(domains.test_a), len(domains.test_b)) < 2:
        raise ConfigError(
            f"{asked}, but {where} has neither true translations nor two test pictures of each "
            f"domain ({len(domains.test_a)} of A, {len(domains.test_b)} of B): put some into "
            f"testA/ and testB/ (`i2i data prepare` splits a set; for plain folders "
            f"data.test_a and data.test_b), {off}."
        )
    try:
        find_inception(config.mode)
    except WeightsError as fault:
        raise WeightsError(
            f"{asked}, and FID and KID need a network: {str(fault).rstrip('.')}; {off}."
        ) from None
    return tuple(metrics)


def _readable(paths: Sequence[Path], channels: int, on_skip: Say | None) -> tuple[Path, ...]:
    """Return the pictures that can be read, naming the others; without `on_skip` one is fatal.

    Raises:
        DataError: if a picture cannot be read, or none can.
    """
    kept = []
    for path in paths:
        try:
            read_picture(path, channels=channels)
        except DataError as fault:
            if on_skip is None:
                raise
            on_skip(f"left out of the measurements: {fault}")
        else:
            kept.append(path)
    if not kept:
        raise DataError(f"none of the {len(paths)} test pictures in {paths[0].parent} is readable.")
    return tuple(kept)


def _check_truth(pictures: Sequence[Path], truth: Path) -> None:
    """Refuse a truth that cannot be compared, before hours of training depend on it.

    Raises:
        DataError: naming the first picture whose truth has another size.
    """
    for path in pictures:
        ours, true = read_size(path), read_size(truth / path.name)
        if ours != true:
            raise DataError(
                f"{path} is {ours[0]}x{ours[1]} and its truth {truth / path.name} "
                f"{true[0]}x{true[1]}: make them one size, or leave it out of testA."
            )
