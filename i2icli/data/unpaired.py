"""The unpaired data set: which picture of A meets which of B, and how they become crops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2icli.config.sections import DataConfig
from i2icli.data.batch import Batch
from i2icli.data.folders import Domains
from i2icli.data.kept_pictures import channels_of, open_kept
from i2icli.data.keyed import KeyedDraws
from i2icli.data.transforms import choose_crop, finish_crop, plan_crop, resize_first
from i2icli.errors import DataError
from i2icli.pictures.images import Pixels, read_picture

T = TypeVar("T")
_MAX_UNREADABLE = 10  # in a row, before it looks like a fault of the whole set
# What a stream of choices is for; part of its key.
_ORDER, _PARTNER, _CROP_A, _CROP_B = range(4)


def check_one_size(crops: Sequence[tuple[str, Tensor]]) -> None:
    """Refuse crops, (C, H, W) with their files, that cannot lie in one batch.

    Raises:
        DataError: naming two that differ.
    """
    first_name, first = crops[0]
    for name, crop in crops[1:]:
        if crop.shape != first.shape:
            raise DataError(
                f"{first_name} gives a crop of {_size(first)} and {name} one of {_size(crop)}: a "
                "batch needs one size; use `--set data.batch_size=1` or "
                "`--set data.preprocess=resize-and-crop`"
            )


def _size(crop: Tensor) -> str:
    return f"{crop.shape[2]} x {crop.shape[1]}"


@dataclass(frozen=True)
class SampleKey:
    """All that decides a training sample."""

    seed: int  # of the run
    epoch: int  # counted from 1
    number: int  # which sample of the epoch, counted from 0
    picture_a: int  # index of the picture of domain A
    picture_b: int  # index of the picture of domain B
    jitter: bool = True  # whether pictures are resized beyond the crop


@dataclass(frozen=True)
class Sample:
    """A crop of each domain."""

    real_a: Tensor  # (C_A, H, W) in [-1, 1]
    real_b: Tensor  # (C_B, H, W) in [-1, 1]
    name_a: str  # the file it came from
    name_b: str  # the same for domain B
    skipped: tuple[str, ...] = ()  # faults of files that others stood in for


def stack_samples(samples: Sequence[Sample]) -> Batch:
    """Return samples of one size as a batch."""
    return Batch(
        real_a=torch.stack([sample.real_a for sample in samples]),
        real_b=torch.stack([sample.real_b for sample in samples]),
        names_a=tuple(sample.name_a for sample in samples),
        names_b=tuple(sample.name_b for sample in samples),
    )


def read_or_next(
    read: Callable[[int], T], index: int, *, files: Sequence[Any], corrupt: str, skipped: list[str]
) -> T:
    """Return `read` of an index, or by `data.corrupt` of the next of `files` that can be read.

    Raises:
        DataError: if it cannot be read and `corrupt` is "error", or too many in a row.
    """
    attempts = min(_MAX_UNREADABLE, len(files))
    for offset in range(attempts):
        try:
            return read((index + offset) % len(files))
        except DataError as error:
            if corrupt == "error":
                raise
            skipped.append(str(error))
    gone = sum(not os.path.exists(file) for file in files)
    missing = f"; {gone} of {len(files)} are not there any more" if gone else ""
    raise DataError(
        f"{attempts} training pictures in a row cannot be read, the last: {skipped[-1]}{missing}"
    )


class UnpairedSet(Dataset[Sample]):
    """Training crops of two domains; a pure function from a key to a sample."""

    def __init__(self, domains: Domains, config: DataConfig) -> None:
        # As text: 100,000 paths would take a second to reach each loading process where it does
        # not begin as a copy of this one.
        self.files: dict[str, Sequence[str]] = {
            "a": [str(path) for path in domains.train_a],
            "b": [str(path) for path in domains.train_b],
        }
        self.config = config
        self._caches, self.notes = open_kept(domains, config, self.files)

    def __len__(self) -> int:
        """Return the samples of one epoch: the size of the larger domain."""
        return max(len(files) for files in self.files.values())

    def __getitem__(self, key: SampleKey) -> Sample:
        """Read and crop the two pictures of a key.

        Raises:
            DataError: when a picture cannot be read and `data.corrupt` is "error", or when too
                many cannot be read in a row.
        """
        plan = plan_crop(self.config, jitter=key.jitter)
        skipped: list[str] = []

        def crop(side: str, index: int, use: int) -> tuple[Tensor, str]:
            source = read_or_next(
                lambda position: self._read(side, position, key.jitter),
                index,
                files=self.files[side],
                corrupt=self.config.corrupt,
                skipped=skipped,
            )
            draws = KeyedDraws(key.seed, key.epoch, key.number, use)
            choice = choose_crop(plan, source.size, draws)
            pixels = source.pixels
            if not source.is_resized:
                pixels = resize_first(pixels, plan, longer=choice.longer)
            return finish_crop(pixels, plan, choice), source.name

        real_a, name_a = crop("a", key.picture_a, _CROP_A)
        real_b, name_b = crop("b", key.picture_b, _CROP_B)
        return Sample(real_a, real_b, name_a, name_b, tuple(skipped))

    def epoch_keys(
        self, *, seed: int, epoch: int, jitter: bool, start: int = 0
    ) -> Iterator[SampleKey]:
        """Yield the keys of one epoch, from sample `start` on.

        Random pairing visits the positions 0 .. len - 1 in a new order each epoch, takes picture
        position mod |A|, and draws one of B. Ordered pairing takes position mod |A| and mod |B|.
        """
        is_random = self.config.pairing == "random"
        order = KeyedDraws(seed, epoch, 0, _ORDER).permutation(len(self)) if is_random else None
        count_a, count_b = len(self.files["a"]), len(self.files["b"])
        for number in range(start, len(self)):
            position = number if order is None else int(order[number])
            partner = position % count_b
            if is_random:
                partner = KeyedDraws(seed, epoch, number, _PARTNER).below(count_b)
            yield SampleKey(seed, epoch, number, position % count_a, partner, jitter=jitter)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Put samples into a batch.

        Raises:
            DataError: when their crops have different sizes.
        """
        check_one_size([(sample.name_a, sample.real_a) for sample in samples])
        check_one_size([(sample.name_b, sample.real_b) for sample in samples])
        return stack_samples(samples)

    def _read(self, side: str, position: int, jitter: bool) -> _Source:
        name = self.files[side][position]
        cache = self._caches.get((side, jitter))
        if cache is not None and (kept := cache.take(position, name)):
            return _Source(name, kept.pixels, kept.size, is_resized=True)
        picture = read_picture(Path(name), channels=channels_of(side, self.config))
        return _Source(name, picture.pixels, picture.size)


@dataclass(frozen=True)
class _Source:
    name: str
    pixels: Pixels
    size: tuple[int, int]
    is_resized: bool = False
