"""The metrics of `i2i eval`: what each needs, and the function that measures it.

Another metric is another entry of `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from i2icli.data.held_out import HeldOut
from i2icli.errors import ConfigError, DataError, WeightsError
from i2icli.metrics.inception import find_inception
from i2icli.metrics.picture_sets import check_set, refuse_shards
from i2icli.metrics.realism import Reading, SeenSet, measure_distances
from i2icli.metrics.results import Measurement
from i2icli.metrics.segmentation import NAMES, score_label_maps
from i2icli.metrics.truth import score_folder
from i2icli.pictures.label_maps import LabelScheme
from i2icli.pretrained.weights import find_weights

Results = dict[str, Measurement]
Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Subject:
    """Folders to measure; what is None is not there.

    Attributes:
        outputs: made pictures, for FID and KID also shards; None before they are made.
        reals: real pictures of the target; likewise. For `seg` the true label maps.
        inputs: what the outputs were made from, of equal names.
        truth: the true translations, of equal names.
        held_out: the test pictures that the inputs are, where their truth is known.
        names: of the inputs that were used, without suffix; None: all.
        styles: outputs in several styles, NAME_1.png, NAME_2.png, ...; None: `outputs` are such.
    """

    outputs: Path | None = None
    reals: Path | SeenSet | None = None
    inputs: Path | None = None
    truth: Path | None = None
    held_out: HeldOut | None = None
    names: Collection[str] | None = None
    styles: Path | None = None


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        reading: how pictures become features.
        lpips_net: network of LPIPS, alex or vgg.
        labels: what label maps hold; None where none are scored.
    """

    reading: Reading = field(default_factory=Reading)
    lpips_net: Literal["alex", "vgg"] = "alex"
    labels: LabelScheme | None = None


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        check: raises an `I2IError` where it cannot be measured; called before anything is made.
        measure: returns its numbers by name; None: it is measured with others in one pass.
        numbers: their names.
        better: which of two numbers says more for a translator.
        only_named: it is not measured unless it is asked for.
    """

    check: Callable[[Subject, Settings], None]
    measure: Callable[[Path, Subject, Settings], Results] | None
    numbers: tuple[str, ...]
    better: Better = "lower"
    only_named: bool = False


def choose_metrics(
    names: Sequence[str], subject: Subject, settings: Settings
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the metrics to measure, and the reasons why others are left out.

    Args:
        names: those asked for, which must be possible; none: all that are.
        subject: pictures to measure; outputs may be still to come.
        settings: how.

    Raises:
        DataError: pictures that a metric needs are not there.
        WeightsError: weights that it needs are not there.
    """
    if names:
        for name in names:
            METRICS[name].check(subject, settings)
        return tuple(names), {}
    possible: list[str] = []
    faults: dict[str, DataError | WeightsError] = {}
    for name, metric in METRICS.items():
        if metric.only_named:
            continue
        try:
            metric.check(subject, settings)
            possible.append(name)
        except (DataError, WeightsError) as fault:
            faults[name] = fault
    if not possible:
        missing = [fault for fault in faults.values() if isinstance(fault, WeightsError)]
        raise missing[0] if missing else next(iter(faults.values()))
    return tuple(possible), {name: str(fault) for name, fault in faults.items()}


def measure_all(names: Sequence[str], subject: Subject, settings: Settings) -> Results:
    """Measure by several metrics; of several processes only the first gets numbers.

    Raises:
        DataError: pictures are missing, too few or cannot be read.
        WeightsError: weights are missing.
    """
    outputs = subject.outputs
    assert outputs is not None, "the pictures are made before they are measured"
    found: Results = {}
    # One pass over the pictures serves both.
    distances = [name for name in names if METRICS[name].measure is None]
    if distances and subject.reals is not None:
        found |= measure_distances(subject.reals, outputs, distances, settings.reading)
    if settings.reading.process.is_first:
        for name in names:
            if measure := METRICS[name].measure:
                found |= measure(outputs, subject, settings)
    return found


def _check_distance(subject: Subject, settings: Settings) -> None:
    if subject.reals is None:
        raise DataError(
            "there are no real pictures of the target to compare with: a data set needs testB "
            "beside testA (--data DIR), or give --real DIR."
        )
    if isinstance(subject.reals, Path):
        check_set(subject.reals)
    find_inception(settings.reading.mode)


def _refuse_shards(subject: Subject) -> None:
    # for metrics that match pictures by their names
    for named in (subject.outputs, subject.inputs, subject.truth):
        if named is not None:
            refuse_shards(named)


def _check_lpips(subject: Subject, settings: Settings) -> None:
    if subject.inputs is None and subject.truth is None:
        raise DataError(
            "LPIPS compares pictures one with one: give a checkpoint, or with --fake also the "
            "inputs (--inputs DIR) or the true pictures (--truth DIR)."
        )
    _check_diversity(subject, settings)


def _measure_lpips(outputs: Path, subject: Subject, settings: Settings) -> Results:
    from i2icli.metrics.perceptual import load_lpips, lpips_content, lpips_paired

    lpips = load_lpips(settings.lpips_net, device=settings.reading.device)
    progress = settings.reading.progress
    found: Results = {}
    if subject.inputs is not None:
        found["lpips"] = lpips_content(subject.inputs, outputs, lpips=lpips, progress=progress)
    if subject.truth is not None:
        paired = lpips_paired(outputs, subject.truth, lpips=lpips, progress=progress)
        name = "lpips_paired" if found else "lpips"
        found[name] = replace(paired, name=name)
    return found


def _check_diversity(subject: Subject, settings: Settings) -> None:
    _refuse_shards(subject)
    find_weights("alexnet" if settings.lpips_net == "alex" else "vgg16")


def _measure_diversity(outputs: Path, subject: Subject, settings: Settings) -> Results:
    from i2icli.metrics.perceptual import load_lpips, lpips_diversity

    lpips = load_lpips(settings.lpips_net, device=settings.reading.device)
    made = subject.styles or outputs
    measured = lpips_diversity(made, lpips=lpips, progress=settings.reading.progress)
    return {"lpips_diversity": replace(measured, name="lpips_diversity")}


def _check_labels(subject: Subject, settings: Settings) -> None:
    assert settings.labels is not None, "the command line asks for the classes"
    if subject.reals is None:
        raise ConfigError(
            "segmentation scores compare predicted label maps with the true ones: add --real DIR."
        )
    _refuse_shards(subject)


def _measure_labels(outputs: Path, subject: Subject, settings: Settings) -> Results:
    assert isinstance(subject.reals, Path), "a folder of label maps"
    assert settings.labels is not None, "checked before"
    progress, names = settings.reading.progress, subject.names
    scores = score_label_maps(
        subject.reals, outputs, settings.labels, names=names, progress=progress
    )
    return {measured.name: measured for measured in scores}


def _check_structure(subject: Subject, _: Settings) -> None:
    if subject.inputs is None:
        raise DataError(
            "the structure distance compares outputs with their inputs: give a checkpoint, or "
            "with --fake also --inputs DIR."
        )
    _refuse_shards(subject)
    find_weights("vgg16")


def _measure_structure(outputs: Path, subject: Subject, settings: Settings) -> Results:
    from i2icli.metrics.structure import load_self_similarity, structure_distance

    assert subject.inputs is not None, "checked before"
    network = load_self_similarity(settings.reading.device)
    progress = settings.reading.progress
    measured = structure_distance(subject.inputs, outputs, network=network, progress=progress)
    return {"structure": measured}


def _check_truth(subject: Subject, _: Settings) -> None:
    if subject.held_out is None or subject.held_out.truth is None:
        raise DataError(
            "this data set does not hold the true translations (testA_truth beside testA, as the "
            "demo set has)."
        )


def _measure_truth(outputs: Path, subject: Subject, _: Settings) -> Results:
    held_out = subject.held_out
    assert held_out is not None, "checked before"
    score = score_folder(outputs, held_out, names=subject.names)
    if score.missing:
        raise DataError(f"{len(score.missing)} pictures have a truth but no translation.")
    ours, identity = score.translation, score.identity
    measured = Measurement(
        name="truth",
        value=ours.total,
        counts={"pictures": score.count},
        protocol={"error": "mean absolute, pixels in [0, 1], over the whole picture"},
        about={"truth": str(held_out.inputs.parent)},
        parts={
            "inside": ours.inside,
            "outside": ours.outside,
            "identity": identity.total,
            "identity_inside": identity.inside,
            "identity_outside": identity.outside,
        },
    )
    return {"truth": measured}


def better_of(number: str) -> Better:
    """Return the better of two numbers of this name."""
    return next((m.better for m in METRICS.values() if number in m.numbers), "neither")


_SCORES = tuple(f"{name}{end}" for end in ("", "_released") for name in NAMES)
METRICS: Mapping[str, Metric] = {
    "fid": Metric(_check_distance, None, ("fid",)),
    "kid": Metric(_check_distance, None, ("kid",)),
    "lpips": Metric(_check_lpips, _measure_lpips, ("lpips", "lpips_paired")),
    "structure": Metric(_check_structure, _measure_structure, ("structure",)),
    "diversity": Metric(
        _check_diversity,
        _measure_diversity,
        ("lpips_diversity",),
        better="neither",  # noise is diverse too
        only_named=True,
    ),
    "seg": Metric(_check_labels, _measure_labels, _SCORES, better="higher", only_named=True),
    "truth": Metric(_check_truth, _measure_truth, ("truth",)),
}
