"""A segmenter's label maps of test pictures, scored: against true maps, or as a judge.

A translator from label maps to photos is judged so: its photos are segmented, and the maps that
come out are compared with those that went in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.config.sections import DataConfig
from i2icli.data.folders import find_labelled
from i2icli.data.labelled import label_scheme, read_ids
from i2icli.errors import ConfigError, DataError
from i2icli.evaluation.held_out import Translated
from i2icli.metrics.choose import Results
from i2icli.metrics.pairing import Pair, match_folders
from i2icli.metrics.picture_sets import broken_pictures
from i2icli.metrics.results import Fact
from i2icli.metrics.segmentation import score_label_pairs
from i2icli.pictures.images import read_size
from i2icli.pictures.label_maps import LabelScheme, load_palette
from i2icli.system.shares import ALONE, Shard
from i2icli.translation.folder import translate_jobs
from i2icli.translation.sources import Source, find_sources
from i2icli.translation.targets import Job, plan_outputs
from i2icli.translation.translator import Translator, load_translator

Report = Callable[[int, int | None], None] | None


@dataclass(frozen=True)
class Judging:
    """How a segmenter judges label-to-photo translation.

    Attributes:
        checkpoint: the segmenter's, or its run folder.
        ignore: id of source pixels that are not scored; None: the segmenter's.
        palette: colours of the source label pictures; None: the segmenter's, where its label
            maps were in colours.
    """

    checkpoint: Path
    ignore: int | None = None
    palette: str | None = None


def find_labelled_tests(data: DataConfig, root: Path | None) -> tuple[Sequence[Path], ...]:
    """Return the test pictures of labelled data and their label maps, in the same order.

    Args:
        data: the configuration of a segmenter's run.
        root: another data set; None: the run's own.

    Raises:
        DataError: there are none.
    """
    if root is not None:
        plain = dict.fromkeys(("domain_a", "domain_b", "test_a", "test_b"))
        data = data.model_copy(update={**plain, "root": str(root)})
    domains = find_labelled(data)
    if not domains.test_a:
        where = domains.root or "this run's data set"
        raise DataError(
            f"{where} has no labelled test pictures: put some into val/ and their label maps into "
            "valannot/ (for plain folders data.test_a and data.test_b), or name another data set "
            "with --data DIR."
        )
    return domains.test_a, domains.test_b


def check_labelled(pictures: Sequence[Path], maps: Sequence[Path], scheme: LabelScheme) -> None:
    """Refuse label maps that cannot be compared, before anything is computed.

    Raises:
        DataError: naming the first with ids out of range, or of another size than its picture.
    """
    for picture, path in zip(pictures, maps, strict=True):
        ids, size = read_ids(path, scheme), read_size(picture)
        if size != (ids.shape[1], ids.shape[0]):
            raise DataError(
                f"{picture} is {size[0]} x {size[1]} and its label map {path} {ids.shape[1]} x "
                f"{ids.shape[0]}: bring both to one size, the map without blending ids (nearest "
                "neighbour)."
            )


def score_segmenter(
    segmenter: Translator,
    root: Path | None,
    out: Path,
    *,
    report: Report = None,
    shard: Shard = ALONE,
) -> Results:
    """Segment the test pictures into `out`, and score the label maps against the true ones.

    Returns:
        Numbers by name; of several processes only the first has some.

    Raises:
        DataError: there are no labelled test pictures, or they cannot be used.
    """
    pictures, maps = find_labelled_tests(segmenter.config.data, root)
    scheme = label_scheme(segmenter.config.labels)
    check_labelled(pictures, maps, scheme)
    base = Path(os.path.commonpath([path.parent for path in pictures]))
    sources = [Source(path, path.relative_to(base)) for path in pictures]
    jobs = _segment(segmenter, sources, out, report=report, shard=shard)
    pairs = [Pair(job.name, path, job.target) for job, path in zip(jobs, maps, strict=True)]
    about: dict[str, Fact] = {
        "truth": os.path.commonpath([path.parent for path in maps]),
        "predicted": str(out),
    }
    return _score(pairs, scheme, about, shard)


def load_judge(judging: Judging, *, device: str) -> Translator:
    """Load the segmenter that judges.

    Raises:
        CheckpointError: it is no checkpoint.
        ConfigError: it is one of a method that does not segment.
    """
    judge = load_translator(judging.checkpoint, device=device)
    if not judge.segments:
        raise ConfigError(
            f"--judge {judging.checkpoint} is a checkpoint of {judge.name}, which does not "
            "segment: give one that was trained on labelled pictures."
        )
    return judge


def score_by_judge(
    judge: Translator,
    judging: Judging,
    translated: Translated,
    out: Path,
    *,
    report: Report = None,
    shard: Shard = ALONE,
) -> Results:
    """Segment translations into `out`, and compare with the label pictures they were made from.

    Raises:
        DataError: the label pictures hold colours without a palette, or other ids.
    """
    scheme = judging_scheme(judge, judging)
    sources = find_sources(str(translated.outputs))
    _segment(judge, sources, out, report=report, shard=shard)
    pairs = match_folders(translated.inputs, out)
    about: dict[str, Fact] = {"truth": str(translated.inputs), "judge": str(judging.checkpoint)}
    return _score(pairs, scheme, about, shard)


def judging_scheme(judge: Translator, judging: Judging) -> LabelScheme:
    """Return what the source label pictures hold.

    Raises:
        ConfigError: for a palette that is not there or too small.
    """
    labels = judge.config.labels
    changes: dict[str, object] = {}
    if judging.ignore is not None:
        changes["ignore"] = judging.ignore
    if judging.palette is not None:
        load_palette(judging.palette)
        changes["palette"] = judging.palette
    return label_scheme(labels.model_copy(update=changes))


def _segment(
    segmenter: Translator, sources: Sequence[Source], out: Path, *, report: Report, shard: Shard
) -> tuple[Job, ...]:
    """Write the label map of every picture, and return which file is whose."""
    jobs = plan_outputs(sources, out).jobs
    share, done = shard.share(jobs), 0

    def count(_job: Job, _error: str | None) -> None:
        nonlocal done
        done += 1
        if report:
            report(done, len(share))

    made = translate_jobs(segmenter, share, on_done=count)
    if made.failures:
        faults = [DataError(failure.error) for failure in made.failures]
        raise broken_pictures(faults, made.found)
    shard.wait()
    return jobs


def _score(
    pairs: Sequence[Pair], scheme: LabelScheme, about: dict[str, Fact], shard: Shard
) -> Results:
    if not shard.is_first:
        return {}
    report = score_label_pairs(pairs, scheme)
    return {one.name: one.with_facts(about=about) for one in report.measurements}
