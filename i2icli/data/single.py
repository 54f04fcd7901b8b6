"""The data set of two pictures: crops of both at changing zooms (single-image translation).

As the released code of SinCUT means it: the crops of a batch share a zoom and lie in different
cells of a grid, so that negatives of a contrast come from different positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from i2icli.config.sections import DataConfig
from i2icli.data.batch import Batch
from i2icli.data.folders import Domains
from i2icli.data.keyed import KeyedDraws
from i2icli.data.transforms import CropChoice, make_crop, plan_patch, resize_pixels
from i2icli.data.unpaired import Sample, stack_samples
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.encode import to_8_bits
from i2icli.pictures.images import Pixels, read_picture

# What a stream of choices is for, of domain A and of domain B; part of its key.
_ZOOM, _CELLS, _PATCH = (0, 1), (2, 3), (4, 5)


@dataclass(frozen=True)
class PatchKey:
    """All that decides a training sample: crops of one batch follow each other."""

    seed: int  # of the run
    epoch: int  # counted from 1
    number: int  # which sample of the epoch, counted from 0


class SingleSet(Dataset[Sample]):
    """Crops of one picture of each domain; a pure function from a key to a sample.

    Raises:
        ConfigError: if `data.preprocess` is not "zoom-and-patch".
        DataError: if a domain has more than one picture.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, domains: Domains, config: DataConfig) -> None:
        # Pictures are read when first needed.
        if config.preprocess != "zoom-and-patch":
            raise ConfigError(
                "a method that trains on one picture of each domain cuts zoomed patches: "
                f'data.preprocess must be "zoom-and-patch", got "{config.preprocess}"'
            )
        self.config = config
        self._sides = (
            _Side(_only(domains.train_a, "a"), config, config.channels_a, number=0),
            _Side(_only(domains.train_b, "b"), config, config.channels_b, number=1),
        )

    def __len__(self) -> int:
        """Return the samples of one epoch: `data.patches_per_epoch`."""
        return self.config.patches_per_epoch

    def __getitem__(self, key: PatchKey) -> Sample:
        """Cut the two crops of a key.

        Raises:
            DataError: when a picture cannot be read; there is no other to stand in for it.
        """
        side_a, side_b = self._sides
        return Sample(side_a.cut(key), side_b.cut(key), str(side_a.path), str(side_b.path))

    def epoch_keys(
        self,
        *,
        seed: int,
        epoch: int,
        jitter: bool,  # noqa: ARG002 - zooms stay in the decay half
        start: int = 0,
    ) -> Iterator[PatchKey]:
        """Yield the keys of one epoch, from sample `start` on."""
        for number in range(start, len(self)):
            yield PatchKey(seed, epoch, number)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Put samples into a batch; all crops have one size."""
        return stack_samples(samples)


class _Side:
    def __init__(self, path: Path, config: DataConfig, channels: int, *, number: int) -> None:
        self.path = path
        self._config = config
        self._channels = channels
        self._number = number
        self._pixels: Pixels | None = None
        self._zoomed: tuple[tuple[int, int], Pixels] | None = None

    def cut(self, key: PatchKey) -> Tensor:
        config, crop, n = self._config, self._config.crop, self._number
        batch, within = divmod(key.number, config.batch_size)
        # Departs from the official code: the crops of a batch do share their zoom, and zooms are
        # drawn anew in each epoch, because its loader shuffles what it prepared for batches.
        pixels = self._at(self._draw_size(KeyedDraws(key.seed, key.epoch, batch, _ZOOM[n])))
        height, width = pixels.shape[:2]
        rows, columns = height // crop, width // crop
        # Departs from the official code: the cells of a batch differ as long as there are enough,
        # because its numbers, all different, are not any more after the remainder.
        cells = KeyedDraws(key.seed, key.epoch, batch, _CELLS[n]).permutation(rows * columns)
        column, row = divmod(int(cells[within % len(cells)]), rows)
        draws = KeyedDraws(key.seed, key.epoch, key.number, _PATCH[n])
        x = column * crop + draws.below(width - columns * crop + 1)
        y = row * crop + draws.below(height - rows * crop + 1)
        patch = pixels[y : y + crop, x : x + crop]
        choice = CropChoice(flip=draws.coin() and config.flip)
        return make_crop(patch, plan_patch(config), choice)

    def _draw_size(self, draws: KeyedDraws) -> tuple[int, int]:
        # Each side on its own.
        config = self._config
        height, width = self._original().shape[:2]
        zooms = [config.zoom_min + (1 - config.zoom_min) * draws.share() for _ in range(2)]
        wide, high = (
            round(max(config.crop, side * zoom))
            for side, zoom in zip((width, height), zooms, strict=True)
        )
        return wide, high

    def _at(self, size: tuple[int, int]) -> Pixels:
        # Kept for the rest of the batch.
        if self._zoomed is None or self._zoomed[0] != size:
            pixels = resize_pixels(self._original(), size, self._config.interpolation)
            self._zoomed = (size, pixels)
        return self._zoomed[1]

    def _original(self) -> Pixels:
        if self._pixels is None:
            picture = read_picture(self.path, channels=self._channels)
            self._pixels = to_8_bits(picture.pixels)
        return self._pixels


def _only(pictures: Sequence[Path], domain: str) -> Path:
    if len(pictures) != 1:
        names = ", ".join(path.name for path in pictures[:3])
        names += ", ..." if len(pictures) > 3 else ""
        raise DataError(
            f"domain {domain.upper()} has {len(pictures)} training pictures ({names}), but this "
            "method trains on one picture of each: give a folder with one in trainA and one in "
            "trainB, or name the two, `--set data.domain_a=PICTURE --set data.domain_b=PICTURE`"
        )
    return pictures[0]
