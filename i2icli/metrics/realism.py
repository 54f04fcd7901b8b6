"""FID and KID between two sets of pictures, each with all that must be said with the number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from i2icli.errors import DataError
from i2icli.metrics.distances import Features, fid, interval_about, kid, kid_interval, kid_unbiased
from i2icli.metrics.features import Progress, extract_features, find_kept
from i2icli.metrics.inception import RESIZERS, FeatureMode, find_inception
from i2icli.metrics.picture_sets import (
    AnyPicture,
    SetFacts,
    contents_of,
    describe_set,
    find_set,
)
from i2icli.metrics.results import Fact, Measurement
from i2icli.system.shares import ALONE, Process

ENOUGH = 2048  # pictures; the covariance of fewer is singular, and FID depends on their number
SUBSETS, SUBSET_SIZE = 100, 1000


@dataclass(frozen=True)
class Reading:
    """How pictures become features.

    Attributes:
        mode: clean-fid's way of resizing.
        device: where the network computes.
        batch_size: pictures through the network at once; None: as the device likes.
        progress: called with the pictures done and their total, for each folder anew.
        process: this process' part in the work; only the first gets numbers.
        keeps_fake: whether features of the made pictures are kept too, as those of real ones are;
            else until they are measured.
        work: keep all features in this folder, which all processes see, and leave them there.
        writes: whether any features go to disk.
    """

    mode: FeatureMode = "clean"
    device: torch.device = torch.device("cpu")
    batch_size: int | None = None
    progress: Progress | None = None
    process: Process = ALONE
    keeps_fake: bool = True
    work: Path | None = None
    writes: bool = True


@dataclass(frozen=True)
class SeenSet:
    """A set of pictures with its features, to be measured more than once.

    Attributes:
        name: where it is.
        facts: what is said of it.
        features: (N, 2048), in a process that gets numbers.
    """

    name: str
    facts: SetFacts
    features: Features


def see_set(pictures: Sequence[AnyPicture], name: str, reading: Reading) -> SeenSet:
    """Return a set with its features, which are kept by content.

    Raises:
        DataError: fewer than two pictures, or some cannot be read.
        WeightsError: the weights are not here.
    """
    facts = _describe({name: _enough_pictures(name, pictures)}, reading.process)[name]
    return SeenSet(name, facts, _read(pictures, facts, reading))


def measure_distances(
    real: Path | SeenSet, fake: Path, names: Sequence[str], reading: Reading | None = None
) -> dict[str, Measurement]:
    """Measure how far the pictures of one set are from those of another.

    Args:
        real: real pictures, a folder at any depth or shards, see `find_set`, whose features are
            kept by content; or what `see_set` returned of them.
        fake: made pictures, a folder or shards.
        names: "fid", "kid" or both.
        reading: how pictures become features; None: clean, on the CPU.

    Returns:
        The measurements in the order of `names`; none in a process that is not the first.

    Raises:
        DataError: a set has fewer than two pictures, or some cannot be read.
        WeightsError: the weights are not here.
        I2IError: memory or disk does not suffice.
    """
    reading = reading or Reading()
    named = {"real": real, "fake": fake}
    pictures = {
        kind: _enough_pictures(str(folder), find_set(folder))
        for kind, folder in named.items()
        if isinstance(folder, Path)
    }
    weights = find_inception(reading.mode)
    facts = _describe(pictures, reading.process)
    features = {kind: _read(those, facts[kind], reading) for kind, those in pictures.items()}
    if isinstance(real, SeenSet):
        facts, features = {"real": real.facts, **facts}, {"real": real.features, **features}
    if not reading.process.is_first:
        return {}
    frame = Measurement(
        "",
        0.0,
        counts={kind: facts[kind].count for kind in facts},
        protocol=_protocol(reading.mode, weights.name, facts),
        about={
            "real": real.name if isinstance(real, SeenSet) else str(real),
            "fake": str(fake),
            "weights_sha256": weights.sha256,
            "device": str(reading.device),
        },
        warnings=_warnings(facts),
    )
    measure = {"fid": _measure_fid, "kid": _measure_kid}
    found = {name: measure[name](features["real"], features["fake"], frame) for name in names}
    del features  # on some systems nothing can be deleted while it is mapped
    is_kept = reading.keeps_fake or facts["real"] == facts["fake"] or not reading.writes
    if not is_kept and reading.work is None:
        kept = find_kept(
            facts["fake"].digest, facts["fake"].count, mode=reading.mode, device=reading.device
        )
        kept.remove()
    return found


def _describe(
    pictures: Mapping[str, Sequence[AnyPicture]], process: Process
) -> dict[str, SetFacts]:
    # Once for all processes; what cannot be read is an error in every one.
    found, fault = {}, ""
    if process.is_first:
        try:
            found = {kind: describe_set(those) for kind, those in pictures.items()}
        except DataError as error:
            fault = str(error)
    found, fault = process.agree((found, fault))
    if fault:
        raise DataError(fault)
    return found


def _read(pictures: Sequence[AnyPicture], facts: SetFacts, reading: Reading) -> Features:
    return extract_features(
        pictures,
        mode=reading.mode,
        device=reading.device,
        batch_size=reading.batch_size,
        progress=reading.progress,
        cache=reading.writes,
        work=reading.work,
        content=facts.digest,
        process=reading.process,
    )


def _measure_fid(real: Features, fake: Features, frame: Measurement) -> Measurement:
    value, error = fid(real, fake)
    few: tuple[str, ...] = ()
    if min(len(real), len(fake)) < ENOUGH:
        few = (
            f"FID of {len(fake)} against {len(real)} pictures: with fewer than {ENOUGH:,} it "
            "depends on their number, so compare it only with numbers of equal counts; KID does "
            "not",
        )
    return replace(
        frame,
        name="fid",
        value=value,
        interval=interval_about(value, error),
        parts={"standard_error": error},
        warnings=frame.warnings + few,
    )


def _measure_kid(real: Features, fake: Features, frame: Measurement) -> Measurement:
    size = min(SUBSET_SIZE, len(real), len(fake))
    value = kid(real, fake, subsets=SUBSETS, subset_size=SUBSET_SIZE)
    whole = kid_unbiased(real, fake)
    return replace(
        frame,
        name="kid",
        value=value,
        interval=kid_interval(real, fake, value),
        parts={"unbiased_full_set": whole},
    ).with_facts(protocol={"kernel": "(x.y/2048 + 1)^3", "subsets": SUBSETS, "subset_size": size})


def _enough_pictures(named: str, pictures: Sequence[AnyPicture]) -> Sequence[AnyPicture]:
    if len(pictures) < 2:
        name = contents_of(pictures[0])[0].name
        raise DataError(
            f"{named} holds one picture ({name}): FID and KID compare the spread of two sets, and "
            "need 2 pictures of each at the least."
        )
    return pictures


def _protocol(mode: FeatureMode, weights: str, facts: dict[str, SetFacts]) -> dict[str, Fact]:
    return {
        "mode": mode,
        "resizer": RESIZERS[mode],
        "weights": weights,
        "decoding": "stored RGB values, as clean-fid",
        "real_formats": facts["real"].formats,
        "real_sizes": facts["real"].sizes,
        "fake_formats": facts["fake"].formats,
        "fake_sizes": facts["fake"].sizes,
        "real_content": facts["real"].digest[:16],
        "clean-fid": version("clean-fid"),
    }


def _warnings(facts: dict[str, SetFacts]) -> tuple[str, ...]:
    real, fake = facts["real"], facts["fake"]
    said = []
    if real.sizes != fake.sizes:
        said.append(
            f"real pictures are {real.sizes} and fake ones {fake.sizes}: a difference in "
            "sharpness counts as a difference"
        )
    if real.digest == fake.digest:
        said.append("both sets hold the same pictures")
    return tuple(said)
