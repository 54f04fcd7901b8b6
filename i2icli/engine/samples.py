"""Grids of the same few pictures, translated again and again while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from i2icli.config.sections import DataConfig, SamplesConfig
from i2icli.data.folders import Domains
from i2icli.data.images import from_tensor, read_picture, to_tensor
from i2icli.inference.pixels import translate_tensor
from i2icli.methods.base import Method
from i2icli.visual.grid import Pixels, draw_grid, shrink


@dataclass(frozen=True)
class SampleDrawer:
    """Draws the grid of a step.

    Attributes:
        sources: the fixed pictures of each direction that the method translates in.
        data: says how many channels a domain has.
        max_side: a longer picture is scaled down to this side, pixels.
    """

    sources: dict[str, tuple[Path, ...]]
    data: DataConfig
    max_side: int

    def draw(self, method: Method, path: Path, *, precision: torch.dtype) -> None:
        """Translate the fixed pictures and write the grid to `path`.

        The pixels are those of `i2i translate` with the same weights. The random states and
        the training mode are afterwards what they were.
        """
        rows, titles = [], []
        with quiet_randomness(method):
            for direction, paths in self.sources.items():
                for source in paths:
                    pixels = self._read(source, direction)
                    translated = translate_pixels(
                        method, pixels, direction=direction, precision=precision
                    )
                    rows.append((pixels, translated))
                    titles.append(f"{direction} {source.stem}")
        grid = draw_grid(rows, column_titles=("source", "translation"), row_titles=titles)
        partial = path.with_name(f".{path.name}.partial")
        grid.save(partial, format="PNG")
        partial.replace(path)

    def _read(self, path: Path, direction: str) -> Pixels:
        channels = source_channels(self.data, direction)
        pixels = read_picture(path, channels=channels).pixels
        return shrink(pixels, side=self.max_side)[..., :channels]


def build_drawer(
    config: SamplesConfig, data: DataConfig, domains: Domains, directions: Sequence[str]
) -> SampleDrawer:
    """Choose the fixed pictures: evenly spaced in the test pictures, else the training ones."""
    pictures = {
        "a2b": domains.test_a or domains.train_a,
        "b2a": domains.test_b or domains.train_b,
    }
    sources = {name: spaced(pictures[name], count=config.count) for name in directions}
    return SampleDrawer(sources, data, config.max_side)


def source_channels(data: DataConfig, direction: str) -> int:
    """Return the channels of the pictures that a direction starts from."""
    return data.channels_a if direction == "a2b" else data.channels_b


def spaced(paths: Sequence[Path], *, count: int) -> tuple[Path, ...]:
    """Return `count` of the paths, evenly spaced from the first to the last; all if fewer."""
    if len(paths) <= count:
        return tuple(paths)
    last = max(count - 1, 1)
    return tuple(paths[round(index * (len(paths) - 1) / last)] for index in range(count))


def translate_pixels(
    method: Method, pixels: Pixels, *, direction: str, precision: torch.dtype
) -> Pixels:
    """Translate one picture, (H, W, C), to one of 8 bits."""
    images = to_tensor(pixels)[None]
    translated: Pixels = from_tensor(
        translate_tensor(method, images, direction, precision=precision)[0].cpu()
    )
    return translated


def quiet_randomness(method: Method) -> torch.random.fork_rng:
    """Return a context that gives back the random states of the CPU and the method's device."""
    device = next(method.parameters()).device
    devices = [device] if device.type == "cuda" else []
    return torch.random.fork_rng(devices=devices)
