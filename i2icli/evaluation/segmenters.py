"""Segmenters in a measurement: on labelled test pictures, or to score a translator's photos.

A translator from label maps to photos is scored so: its photos are segmented, and the maps that
come out are compared with those that went in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.data.labelled import label_scheme, read_ids
from i2icli.errors import ConfigError, DataError
from i2icli.evaluation.translated import Translated, translate_folder
from i2icli.metrics.choose import Results, Settings, Subject, measure_all
from i2icli.metrics.realism import Reading
from i2icli.pictures.images import read_size
from i2icli.pictures.label_maps import LabelScheme, load_palette
from i2icli.system.shares import ALONE, Process
from i2icli.translation.translator import Translator, load_translator


@dataclass(frozen=True)
class Scorer:
    """A segmenter that scores label-to-photo translation.

    Attributes:
        checkpoint: its file, or its run folder.
        ignore: id of source pixels that are not scored; None: the segmenter's.
        palette: colours of the source label pictures; None: the segmenter's, where its label
            maps were in colours.
    """

    checkpoint: Path
    ignore: int | None = None
    palette: str | None = None

    def load(self, *, device: str) -> Translator:
        """Load the segmenter.

        Raises:
            CheckpointError: it is no checkpoint.
            ConfigError: it is one of a method that does not segment, or the palette is not there
                or too small.
        """
        segmenter = load_translator(self.checkpoint, device=device)
        if not segmenter.segments:
            raise ConfigError(
                f"--segmenter {self.checkpoint} is a checkpoint of {segmenter.name}, which does "
                "not segment: give one that was trained on labelled pictures."
            )
        self.scheme(segmenter)
        return segmenter

    def scheme(self, segmenter: Translator) -> LabelScheme:
        """Return the classes and colours of the source label pictures.

        Raises:
            ConfigError: for a palette that is not there or too small.
        """
        changes: dict[str, object] = {}
        if self.ignore is not None:
            changes["ignore"] = self.ignore
        if self.palette is not None:
            load_palette(self.palette)
            changes["palette"] = self.palette
        return label_scheme(segmenter.config.labels.model_copy(update=changes))


def check_labelled(pictures: Sequence[Path], maps: Sequence[Path], scheme: LabelScheme) -> None:
    """Refuse label maps that cannot be compared, before anything is computed.

    Raises:
        DataError: naming the first with ids out of range, or of another size than its picture; or
            if all pixels of all are to be ignored.
    """
    is_blank = True
    for picture, path in zip(pictures, maps, strict=True):
        ids, size = read_ids(path, scheme), read_size(picture)
        if size != (ids.shape[1], ids.shape[0]):
            raise DataError(
                f"{picture} is {size[0]} x {size[1]} and its label map {path} {ids.shape[1]} x "
                f"{ids.shape[0]}: bring both to one size, the map without blending ids (nearest "
                "neighbour)."
            )
        is_blank = is_blank and bool((ids == scheme.ignore).all())
    if is_blank:
        raise DataError(
            f"every pixel of the {len(maps)} label maps in {maps[0].parent} is {scheme.ignore}, "
            "which labels.ignore leaves out: nothing is left to score."
        )


def score_by_segmenter(
    segmenter: Translator,
    scorer: Scorer,
    translated: Translated,
    out: Path,
    *,
    on_done: Callable[[int], None] = lambda _count: None,
    process: Process = ALONE,
) -> Results:
    """Segment translations into `out`/labels, and compare with what they were made from.

    Returns:
        Numbers by name; of several processes only the first has some.

    Raises:
        DataError: the label pictures hold colours without a palette, or other ids.
    """
    labels = out / "labels"
    translate_folder(
        segmenter,
        translated.outputs,
        labels,
        scale=translated.scale,
        on_done=on_done,
        process=process,
    )
    settings = Settings(Reading(process=process), labels=scorer.scheme(segmenter))
    results = measure_all(("seg",), Subject(labels, reals=translated.inputs), settings)
    # "judge" is what the documents of 0.1.0 call it.
    about = {key: str(scorer.checkpoint) for key in ("segmenter", "judge")}
    about["predicted"] = "label maps of the translations"
    return {name: measured.with_facts(about=about) for name, measured in results.items()}
