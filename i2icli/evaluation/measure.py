"""Measurements while training, by the metrics of `i2i eval`."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from i2icli.config.sections import DatasetKind, EvalConfig
from i2icli.data.folders import Domains
from i2icli.data.held_out import HeldOut, held_out_folders
from i2icli.data.labelled import label_scheme
from i2icli.errors import ConfigError, DataError, I2IError, WeightsError
from i2icli.evaluation.segmenters import check_labelled
from i2icli.evaluation.translated import translate_plan
from i2icli.methods.shared.base import Method
from i2icli.methods.shared.configure import AnyRunConfig
from i2icli.metrics.choose import METRICS, Results, Settings, Subject, measure_all
from i2icli.metrics.picture_sets import pictures_by_stem
from i2icli.metrics.realism import ENOUGH, Reading, see_set
from i2icli.pictures.images import read_picture, read_size
from i2icli.pictures.listing import evenly_spaced
from i2icli.system.files import NO_ROOM
from i2icli.translation.folder import FolderOptions
from i2icli.translation.pictures import quiet_randomness
from i2icli.translation.scale import AS_IS, Scale
from i2icli.translation.sources import Source
from i2icli.translation.targets import plan_outputs
from i2icli.translation.translator import Translator

log = logging.getLogger(__package__)

Scores = dict[str, float]
# The number by which each metric chooses a checkpoint; lower is better for all of them.
_CHOOSING = {
    "truth": "eval/truth_total",
    "fid": "eval/fid",
    "kid": "eval/kid",
    "seg": "eval/iou_error",
}
_AT_ONCE = 16  # pictures through Inception, while the networks that train fill the memory


@dataclass
class Measurer:
    """Translates or segments the same test pictures at every measurement, and measures that.

    Attributes:
        config: of the run.
        names: the metrics.
        pictures: the test pictures.
        subject: what they are compared with.
        settings: how.
        reals: test pictures of the target, for FID and KID.
        protocol: what the numbers were computed from, in words; numbers of another protocol are
            not compared with these.
    """

    config: AnyRunConfig
    names: tuple[str, ...]
    pictures: tuple[Source, ...]
    subject: Subject
    settings: Settings
    reals: tuple[Path, ...]
    protocol: str

    @property
    def deciding(self) -> str:
        """Name of the number that decides which checkpoint is best; lower is better."""
        return _CHOOSING[self.names[0]]

    def prepare(self, method: Method) -> None:
        """Compute the features of real pictures, or find them in the cache, once a run.

        Random states are afterwards what they were.
        """
        if not self.reals:
            return
        asked = " and ".join(name.upper() for name in self.names if name in ("fid", "kid"))
        few = (
            f"; with fewer than {ENOUGH:,} the numbers tell steps of this run apart, and no more"
            if min(len(self.pictures), len(self.reals)) < ENOUGH
            else ""
        )
        log.info(
            f"measuring {asked} ({self.settings.reading.mode}) of {len(self.pictures)} "
            f"translations against {len(self.reals)} test pictures of B, whose features come "
            f"first{few}"
        )
        with quiet_randomness(method):
            reading = replace(self.settings.reading, writes=True)
            seen = see_set(self.reals, str(self.reals[0].parent), reading)
        self.subject = replace(self.subject, reals=seen)

    def measure(self, method: Method, *, precision: torch.dtype, scale: Scale = AS_IS) -> Scores:
        """Return the numbers by name, "eval/fid" for example; none where the disk has no room.

        `scale` says at which size the network works on pictures, as in `i2i translate`. The random
        states and the training mode are afterwards what they were.
        """
        translator = Translator(method, self.config, precision=precision, scale=scale)
        try:
            with quiet_randomness(method), TemporaryDirectory(prefix="i2i-measure-") as folder:
                outputs = Path(folder)
                # One at a time: the networks that train fill the memory.
                options = FolderOptions(batch_size=1)
                translate_plan(translator, plan_outputs(self.pictures, outputs), options)
                subject = replace(self.subject, outputs=outputs)
                return _scores(measure_all(self.names, subject, self.settings))
        except (I2IError, OSError) as fault:
            # A measurement is worth less than the run: it goes on without.
            if (cause := _disk_fault(fault)) is None:
                raise
            log.warning(
                f"not measured this time, since translations cannot be written to the temporary "
                f"folder ({cause.strerror or cause}): make room, or point TMPDIR elsewhere"
            )
            return {}


def _disk_fault(fault: BaseException | None) -> OSError | None:
    """Return the refusal of the temporary disk that led to `fault`; None for any other fault."""
    while fault is not None and not isinstance(fault, OSError):
        fault = fault.__cause__ or fault.__context__
    if fault is None or fault.errno in (*NO_ROOM, errno.EROFS):
        return fault
    # What `tempfile` says where it finds no folder to write to; a picture may be missing too.
    return fault if "No usable temporary directory" in str(fault) else None


def build_measurer(
    config: AnyRunConfig,
    domains: Domains,
    kind: DatasetKind,
    *,
    device: torch.device,
) -> Measurer | None:
    """Return the measurements of a run; None where the configuration asks for none.

    Everything that a measurement needs is looked for here, so that a run does not end in its
    middle for want of it.

    Args:
        config: says what is measured, and on how many pictures.
        domains: the data set.
        kind: of the data set.
        device: where features are computed.

    Raises:
        ConfigError: if the data set has nothing to measure against, or what is asked for does not
            suit it.
        DataError: if its test pictures cannot be used.
        WeightsError: if FID or KID are asked for and their network is not there.
    """
    if not config.eval.every_steps:
        return None
    held_out = held_out_folders(config.data, kind)
    if kind == "labelled":
        return _measure_labels(config, domains, held_out)
    names = _resolve_metrics(config.eval, domains, held_out)
    skips = config.data.corrupt == "skip"
    assert held_out is not None, "test pictures were found in it"
    pictures, protocol = domains.test_a, []
    reals: tuple[Path, ...] = ()
    if "truth" in names:
        pictures = tuple(path for path in pictures if _stem(path, held_out) in _truths(held_out))
    channels = config.data.channels_a
    pictures = _readable(evenly_spaced(pictures, count=config.eval.count), channels, skips=skips)
    if "truth" in names:
        _check_truth(pictures, held_out)
        protocol.append(f"{len(pictures)} of A against their truth")
    if "fid" in names or "kid" in names:
        reals = _readable(domains.test_b, config.data.channels_b, skips=skips)
        if min(len(pictures), len(reals)) < 2:
            raise DataError(
                f"FID and KID need two test pictures of each domain, and there are "
                f"{len(pictures)} of A and {len(reals)} of B: raise eval.count, or add pictures."
            )
        protocol.append(f"{len(pictures)} of A against {len(reals)} of B, {config.eval.mode}")
    settings = Settings(
        Reading(mode=config.eval.mode, device=device, batch_size=_AT_ONCE, writes=False)
    )
    subject = _subject(pictures, held_out)
    sources = _sources(pictures, held_out)
    return Measurer(config, names, sources, subject, settings, reals, "; ".join(protocol))


def _measure_labels(config: AnyRunConfig, domains: Domains, held_out: HeldOut | None) -> Measurer:
    wanted = config.eval
    if wanted.metrics != ("auto",):
        raise ConfigError(
            f"eval.metrics is {list(wanted.metrics)}, which measure translations: a segmenter is "
            'measured by mean IoU, `--set eval.metrics=["auto"]`.'
        )
    if held_out is None or not domains.test_a:
        raise ConfigError(
            f"eval.every_steps is {wanted.every_steps}, but there are no labelled test pictures: "
            "put some into val/ and their label maps into valannot/ (for plain folders "
            "data.test_a and data.test_b), or switch measuring off with "
            "`--set eval.every_steps=0`."
        )
    scheme = label_scheme(config.labels)
    pictures, maps = (
        evenly_spaced(paths, count=wanted.count) for paths in (domains.test_a, domains.test_b)
    )
    check_labelled(pictures, maps, scheme)
    protocol = (
        f"mean IoU of {len(pictures)} pictures, {scheme.classes} classes, {scheme.ignore} ignored"
    )
    subject, sources = _subject(pictures, held_out), _sources(pictures, held_out)
    return Measurer(config, ("seg",), sources, subject, Settings(labels=scheme), (), protocol)


def _subject(pictures: Sequence[Path], held_out: HeldOut) -> Subject:
    names = frozenset(_stem(path, held_out) for path in pictures)
    return Subject(inputs=held_out.inputs, reals=held_out.reals, held_out=held_out, names=names)


def _sources(pictures: Sequence[Path], held_out: HeldOut) -> tuple[Source, ...]:
    return tuple(Source(path, _below(path, held_out)) for path in pictures)


def _below(path: Path, held_out: HeldOut) -> Path:
    # A data set of one picture may have no folder.
    return Path(path.name) if path == held_out.inputs else path.relative_to(held_out.inputs)


def _stem(path: Path, held_out: HeldOut) -> str:
    return _below(path, held_out).with_suffix("").as_posix()


def _truths(held_out: HeldOut) -> dict[str, Path]:
    return {} if held_out.truth is None else pictures_by_stem(held_out.truth)


def _scores(results: Results) -> Scores:
    scores: Scores = {}
    for name, measured in results.items():
        if name == "truth":
            parts = {"total": measured.value, **measured.parts}
            for part in ("total", "inside", "outside"):
                if (value := parts[part]) is not None:
                    scores[f"eval/truth_{part}"] = value
        elif not name.endswith("_released"):
            scores[f"eval/{name}"] = measured.value
    if "eval/mean_iou" in scores:
        scores["eval/iou_error"] = 1.0 - scores["eval/mean_iou"]
    return scores


def _resolve_metrics(
    config: EvalConfig, domains: Domains, held_out: HeldOut | None
) -> tuple[str, ...]:
    where = domains.root or "this data set"
    asked = f"eval.every_steps is {config.every_steps}"
    off = "or switch measuring off with `--set eval.every_steps=0`"
    has_truth = held_out is not None and any(
        _stem(path, held_out) in _truths(held_out) for path in domains.test_a
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
    assert held_out is not None, "test pictures were found in it"
    settings = Settings(Reading(mode=config.mode))
    try:
        for name in metrics:
            METRICS[name].check(Subject(reals=held_out.reals, held_out=held_out), settings)
    except WeightsError as fault:
        raise WeightsError(
            f"{asked}, and FID and KID need a network: {str(fault).rstrip('.')}; {off}."
        ) from None
    return tuple(metrics)


def _readable(paths: Sequence[Path], channels: int, *, skips: bool) -> tuple[Path, ...]:
    """Return the pictures that can be read, naming the others; or refuse one that cannot.

    Raises:
        DataError: if a picture cannot be read, or none can.
    """
    kept = []
    for path in paths:
        try:
            read_picture(path, channels=channels)
        except DataError as fault:
            if not skips:
                raise
            log.warning(f"left out of the measurements: {fault}")
        else:
            kept.append(path)
    if not kept:
        raise DataError(f"none of the {len(paths)} test pictures in {paths[0].parent} is readable.")
    return tuple(kept)


def _check_truth(pictures: Sequence[Path], held_out: HeldOut) -> None:
    truths = _truths(held_out)
    for path in pictures:
        truth = truths[_stem(path, held_out)]
        ours, true = read_size(path), read_size(truth)
        if ours != true:
            raise DataError(
                f"{path} is {ours[0]}x{ours[1]} and its truth {truth} "
                f"{true[0]}x{true[1]}: make them one size, or leave it out of testA."
            )
