"""Grids of the same few pictures, translated again and again while training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from i2icli.config.sections import DataConfig, SamplesConfig
from i2icli.data.folders import Domains
from i2icli.errors import DataError
from i2icli.methods.shared.base import Method
from i2icli.pictures.images import Picture, Pixels, read_picture
from i2icli.pictures.listing import evenly_spaced
from i2icli.pictures.mark import mark_png
from i2icli.system.files import write_whole
from i2icli.translation.pictures import mask_pixels, quiet_randomness, translate_pictures
from i2icli.translation.scale import AS_IS, Scale
from i2icli.viz.grid import draw_grid, lay_out, shrink
from i2icli.viz.tiles import describe_rows

log = logging.getLogger(__package__)


@dataclass(frozen=True)
class Sample:
    """A fixed picture."""

    name: str  # stem of its file
    direction: str  # in which it is translated
    picture: Picture  # at the size it is translated at


@dataclass(frozen=True)
class Drawn:
    """A fixed picture and what became of it."""

    sample: Sample
    output: Pixels  # its translation, (H, W, C)
    # maps by name that came with it, (H, W) float32 in [0, 1]; empty for most methods
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleDrawer:
    """Draws the grid of a step from the fixed pictures."""

    samples: tuple[Sample, ...]

    def draw(
        self, method: Method, path: Path, *, precision: torch.dtype, scale: Scale = AS_IS
    ) -> tuple[Drawn, ...]:
        """Translate the fixed pictures, write the grid to `path`, and return the translations.

        The pixels are those of `i2i translate` with the same weights and `scale`. The random states
        and the training mode are afterwards what they were. Without pictures there is no grid.
        """
        if not self.samples:
            return ()
        with quiet_randomness(method):
            drawn = tuple(
                Drawn(sample, made.pixels, made.masks)
                for sample in self.samples
                for made in translate_pictures(
                    method, [sample.picture], sample.direction, precision=precision, scale=scale
                )
            )
        grid, info = _draw_rows(drawn, method.mask_names)
        file = BytesIO()
        grid.save(file, format="PNG", pnginfo=info)
        write_whole(path, mark_png(file.getvalue()))
        return drawn


def build_drawer(
    config: SamplesConfig,
    data: DataConfig,
    domains: Domains,
    *,
    directions: Sequence[str],
) -> SampleDrawer:
    """Read the fixed pictures: evenly spaced in the test pictures, else in the training ones.

    Raises:
        DataError: if a picture cannot be read and `data.corrupt` is "error".
    """
    if not config.every_steps:
        return SampleDrawer(())
    pictures = {"a2b": domains.test_a or domains.train_a, "b2a": domains.test_b or domains.train_b}
    samples = []
    for direction in directions:
        channels = data.channels_from(direction)
        for path in evenly_spaced(pictures[direction], count=config.count):
            try:
                pixels = read_picture(path, channels=channels).pixels
            except DataError as fault:
                if data.corrupt == "error":
                    raise
                log.warning(f"left out of the samples: {fault}")
                continue
            small = shrink(pixels, side=config.max_side)[..., :channels]
            samples.append(Sample(path.stem, direction, Picture(small)))
    return SampleDrawer(tuple(samples))


def _draw_rows(
    drawn: Sequence[Drawn], mask_names: Sequence[str]
) -> tuple[Image.Image, PngImagePlugin.PngInfo]:
    rows = [
        (one.sample.picture.pixels, one.output, *(mask_pixels(one.masks[n]) for n in mask_names))
        for one in drawn
    ]
    titles = [f"{one.sample.direction} {one.sample.name}" for one in drawn]
    columns = ("source", "translation", *mask_names)
    grid = draw_grid(rows, column_titles=columns, row_titles=titles)
    layout = lay_out(rows, column_titles=columns, row_titles=titles)
    # For the report, which shows a translation beside its source and nothing else.
    pairs = replace(layout, boxes=tuple(boxes[:2] for boxes in layout.boxes))
    return grid, describe_rows(pairs, titles)
