"""Labelled data: what label maps hold, and pictures and their maps cropped alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.batch import LabelledBatch
from i2icli.data.folders import Domains
from i2icli.data.keyed import KeyedDraws
from i2icli.data.transforms import choose_crop, make_crop, make_label_crop, plan_crop
from i2icli.data.unpaired import check_one_size, read_or_next
from i2icli.errors import DataError
from i2icli.pictures.images import Picture, read_picture
from i2icli.pictures.label_maps import (
    Labels,
    LabelScheme,
    Palette,
    colours_to_ids,
    load_palette,
    palette_text,
    read_labels,
    scored_colours,
)
from i2icli.system.cores import usable_cores

MAX_CLASSES = 1000


def resolve_labels(labels: LabelsConfig, maps: Sequence[Path]) -> LabelsConfig:
    """Return the section as a run keeps it: classes counted, colours instead of their file.

    Raises:
        ConfigError: for a palette that is not there.
        DataError: for a map that cannot be read, holds colours without a palette, or more
            classes than there can be.
    """
    palette = labels.palette if labels.palette == "auto" else palette_text(labels.palette)
    resolved = labels.model_copy(update={"palette": palette})
    if labels.classes:
        return resolved
    return resolved.model_copy(update={"classes": _count_classes(resolved, maps)})


def label_scheme(labels: LabelsConfig) -> LabelScheme:
    """Return the scheme of the label maps of a configuration whose classes are resolved.

    Raises:
        ConfigError: for a palette that is not there or too small.
    """
    palette = None if labels.palette == "auto" else load_palette(labels.palette)
    return LabelScheme(labels.classes, labels.ignore, palette, labels.names)


def read_ids(path: Path, scheme: LabelScheme) -> Labels:
    """Read a label map of a run, (H, W).

    Raises:
        DataError: it cannot be read, holds colours without a palette, or an id out of range.
    """
    return to_ids(read_labels(path), path, scheme)


def to_ids(stored: Labels | Palette, path: Path, scheme: LabelScheme) -> Labels:
    """Return the ids, (H, W), that colours or ids of a file stand for.

    Raises:
        DataError: they are colours without a palette, or an id is out of range.
    """
    ids = _ids_of(stored, path, scheme)
    wrong = ids[((ids < 0) | (ids >= scheme.classes)) & (ids != scheme.ignore)]
    if wrong.size:
        raise DataError(
            f"{path} has the id {int(wrong[0])} at {wrong.size} pixels, but labels.classes "
            f"{scheme.classes} allows 0 to {scheme.classes - 1} and labels.ignore is "
            f"{scheme.ignore}: correct one of the two, or the map."
        )
    return ids


def _ids_of(stored: Labels | Palette, path: Path, scheme: LabelScheme) -> Labels:
    if stored.ndim == 2:
        ids: Labels = stored.astype(np.int64)
        return ids
    if scheme.palette is None:
        raise DataError(
            f"{path} holds colours, not ids: say what they mean with "
            "`--set labels.palette=cityscapes`, or a file with a line `R G B` a class."
        )
    return colours_to_ids(stored.astype(np.uint8), scheme)


def _count_classes(labels: LabelsConfig, maps: Sequence[Path]) -> int:
    palette = None if labels.palette == "auto" else load_palette(labels.palette)
    known = MAX_CLASSES if palette is None else len(scored_colours(labels.palette))
    scheme = LabelScheme(known, labels.ignore, palette)
    highest, where = -1, None
    for path, highest_id in _highest_ids(maps, scheme):
        if highest_id > highest:
            highest, where = highest_id, path
    if where is None:
        raise DataError(
            f"every pixel of the {len(maps)} label maps is {labels.ignore}, which labels.ignore "
            "leaves out: nothing is left to learn."
        )
    if highest >= MAX_CLASSES:
        raise DataError(
            f"{where} has the id {highest}, and at most {MAX_CLASSES} classes are possible: are "
            "these label maps? If that id means nothing, "
            f"`--set labels.ignore={highest}`."
        )
    return highest + 1


def _highest_ids(maps: Sequence[Path], scheme: LabelScheme) -> Iterator[tuple[Path, int]]:
    def highest(path: Path) -> int:
        ids = _ids_of(read_labels(path), path, scheme)
        return int(ids[ids != scheme.ignore].max(initial=-1))

    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        yield from zip(maps, pool.map(highest, maps), strict=True)


# What a stream of choices is for; part of its key.
_ORDER, _CROP = range(2)


@dataclass(frozen=True)
class LabelledKey:
    """All that decides a training sample."""

    seed: int  # of the run
    epoch: int  # counted from 1
    number: int  # which sample of the epoch, counted from 0
    picture: int  # index of the picture
    jitter: bool = True  # whether pictures are resized beyond the crop


@dataclass(frozen=True)
class LabelledSample:
    """A crop and what its pixels show."""

    image: Tensor  # (C, H, W) in [-1, 1]
    labels: Tensor  # class ids, (H, W) int64
    name: str  # the file of the picture
    skipped: tuple[str, ...] = ()  # faults of files that others stood in for


class LabelledSet(Dataset[LabelledSample]):
    """Training crops with their label maps; a pure function from a key to a sample.

    Pictures are domain A and their maps domain B; `labels.classes` is resolved.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, domains: Domains, config: DataConfig, labels: LabelsConfig) -> None:
        self.pictures = domains.train_a
        self.maps = domains.train_b
        self.config = config
        self.labels = labels

    def __len__(self) -> int:
        """Return the samples of one epoch: the number of pictures."""
        return len(self.pictures)

    def __getitem__(self, key: LabelledKey) -> LabelledSample:
        """Read a picture and its label map, and crop both alike.

        Raises:
            DataError: the map has another size, or ids that it may not have; or one of both
                cannot be read and `data.corrupt` is "error", or too many in a row.
        """
        skipped: list[str] = []
        picture, stored, path = read_or_next(
            self._read,
            key.picture,
            files=self.pictures,
            corrupt=self.config.corrupt,
            skipped=skipped,
        )
        ids = to_ids(stored, path, self._scheme)
        height, width = ids.shape
        if picture.size != (width, height):
            raise DataError(
                f"{picture.path} is {picture.size[0]} x {picture.size[1]} and its label map "
                f"{path} {width} x {height}: bring both to one size, the map without blending "
                "ids (nearest neighbour)."
            )
        plan = plan_crop(self.config, jitter=key.jitter)
        draws = KeyedDraws(key.seed, key.epoch, key.number, _CROP)
        choice = choose_crop(plan, picture.size, draws)
        return LabelledSample(
            make_crop(picture.pixels, plan, choice),
            make_label_crop(ids, plan, choice, ignore=self.labels.ignore),
            str(picture.path),
            tuple(skipped),
        )

    def epoch_keys(
        self, *, seed: int, epoch: int, jitter: bool, start: int = 0
    ) -> Iterator[LabelledKey]:
        """Yield the keys of one epoch, from sample `start` on.

        Pairing "random" visits the pictures in a new order each epoch, "ordered" by their names.
        """
        is_random = self.config.pairing == "random"
        order = KeyedDraws(seed, epoch, 0, _ORDER).permutation(len(self)) if is_random else None
        for number in range(start, len(self)):
            picture = number if order is None else int(order[number])
            yield LabelledKey(seed, epoch, number, picture, jitter=jitter)

    def collate(self, samples: Sequence[LabelledSample]) -> LabelledBatch:
        """Put samples into a batch.

        Raises:
            DataError: when their crops have different sizes.
        """
        check_one_size([(sample.name, sample.image) for sample in samples])
        return LabelledBatch(
            images=torch.stack([sample.image for sample in samples]),
            labels=torch.stack([sample.labels for sample in samples]),
            names=tuple(sample.name for sample in samples),
        )

    @cached_property
    def _scheme(self) -> LabelScheme:
        return label_scheme(self.labels)

    def _read(self, position: int) -> tuple[Picture, Labels | Palette, Path]:
        picture = read_picture(self.pictures[position], channels=self.config.channels_a)
        return picture, read_labels(self.maps[position]), self.maps[position]
