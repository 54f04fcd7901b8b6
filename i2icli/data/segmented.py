"""The labelled data set: pictures and their label maps, cropped alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.batch import LabelledBatch
from i2icli.data.domains import Domains
from i2icli.data.keyed import KeyedDraws
from i2icli.data.labelled import label_scheme, to_ids
from i2icli.data.transforms import choose_crop, make_crop, make_label_crop, plan_crop
from i2icli.data.unpaired import check_one_size
from i2icli.errors import DataError
from i2icli.pictures.images import Picture, read_picture
from i2icli.pictures.label_maps import Labels, LabelScheme, Palette, read_labels

_MAX_UNREADABLE = 10
# What a stream of choices is for; part of its key.
_ORDER, _CROP = range(2)


@dataclass(frozen=True)
class LabelledKey:
    """All that decides a training sample.

    Attributes:
        seed: of the run.
        epoch: counted from 1.
        place: which sample of the epoch, counted from 0.
        picture: index of the picture.
        jitter: whether pictures are resized beyond the crop.
    """

    seed: int
    epoch: int
    place: int
    picture: int
    jitter: bool = True


@dataclass(frozen=True)
class LabelledSample:
    """A crop and what its pixels show.

    Attributes:
        image: (C, H, W) in [-1, 1].
        labels: class ids, (H, W) int64.
        name: the file of the picture.
        skipped: what was wrong with files that others stood in for, one sentence each.
    """

    image: Tensor
    labels: Tensor
    name: str
    skipped: tuple[str, ...] = ()


class LabelledSet(Dataset[LabelledSample]):
    """Training crops with their label maps; a pure function from a key to a sample.

    Args:
        domains: pictures as A and their label maps as B, as `find_labelled` returns them.
        config: how pictures become crops, and what an unreadable file does.
        labels: what the maps hold; `classes` is settled.
    """

    def __init__(self, domains: Domains, config: DataConfig, labels: LabelsConfig) -> None:
        self.pictures = domains.train_a
        self.maps = domains.train_b
        self.config = config
        self.labels = labels

    def __len__(self) -> int:
        """Return the samples of one epoch: the number of pictures."""
        return len(self.pictures)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: its pictures are read from their files."""
        return ()

    def __getitem__(self, key: LabelledKey) -> LabelledSample:
        """Read a picture and its label map, and crop both alike.

        Raises:
            DataError: the map has another size, or ids that it may not have; or one of both
                cannot be read and `data.corrupt` is "error", or too many in a row.
        """
        skipped: list[str] = []
        picture, stored, path = self._read(key.picture, skipped.append)
        ids = to_ids(stored, path, self._scheme)
        height, width = ids.shape
        if picture.size != (width, height):
            raise DataError(
                f"{picture.path} is {picture.size[0]} x {picture.size[1]} and its label map "
                f"{path} {width} x {height}: bring both to one size, the map without blending "
                "ids (nearest neighbour)."
            )
        plan = plan_crop(self.config, jitter=key.jitter)
        draws = KeyedDraws(key.seed, key.epoch, key.place, _CROP)
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
        """Yield the keys of one epoch, from place `start` on.

        Pairing "random" visits the pictures in a new order each epoch, "ordered" by their names.
        """
        is_random = self.config.pairing == "random"
        order = KeyedDraws(seed, epoch, 0, _ORDER).permutation(len(self)) if is_random else None
        for place in range(start, len(self)):
            picture = place if order is None else int(order[place])
            yield LabelledKey(seed, epoch, place, picture, jitter=jitter)

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

    def _read(
        self, index: int, report: Callable[[str], None]
    ) -> tuple[Picture, Labels | Palette, Path]:
        """Read a picture and its map, or by `data.corrupt` the next readable ones after them."""
        attempts = min(_MAX_UNREADABLE, len(self))
        for offset in range(attempts):
            place = (index + offset) % len(self)
            try:
                picture = read_picture(self.pictures[place], channels=self.config.channels_a)
                return picture, read_labels(self.maps[place]), self.maps[place]
            except DataError as error:
                if self.config.corrupt == "error":
                    raise
                report(str(error))
                last = error
        raise DataError(f"{attempts} training pictures in a row cannot be read, the last: {last}")
