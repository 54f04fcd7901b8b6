"""Puts pictures into a data set: by hard link, by copy, or decoded, resized and written anew."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.pictures.encode import to_image
from i2icli.pictures.images import Picture, Pixels, read_picture, write_picture


@dataclass(frozen=True)
class Resize:
    """A new size for pictures: bicubic and antialiased, as in training."""

    side: int  # pixels
    # `exact` gives side x side whatever the picture's shape, the released pipeline's first step, so
    # that training on the result equals training on the originals; `shorter` scales the shorter
    # side and keeps the shape, and enlarges nothing
    shape: Literal["exact", "shorter"] = "shorter"

    def check(self) -> None:
        """Refuse impossible sides.

        Raises:
            ConfigError: fewer than 4 pixels, or more than 16384.
        """
        if not 4 <= self.side <= 16384:
            raise ConfigError(f"--resize is {self.side}; give 4 to 16384 pixels.")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the new (width, height) of a picture."""
        if self.shape == "exact":
            return self.side, self.side
        factor = min(1.0, self.side / min(width, height))
        return max(1, round(width * factor)), max(1, round(height * factor))


@dataclass
class Placer:
    """Puts pictures in place and counts how."""

    transfer: Literal["link", "copy", "move"] = "link"  # a link that fails is a copy
    resize: Resize | None = None  # decode and resize instead
    linked: int = 0  # pictures placed so far, by the way it was done
    copied: int = 0
    written: int = 0
    failed: list[str] = field(default_factory=list)  # why pictures were left out, one each
    unmatched: list[str] = field(default_factory=list)  # pictures of a paired set on their own

    def __post_init__(self) -> None:
        if self.resize is not None:
            self.resize.check()

    @property
    def suffix(self) -> str | None:
        """The suffix of what is written; None where files keep theirs."""
        return ".png" if self.resize is not None else None

    def moving(self) -> Placer:
        """Return a placer for temporary files: what need not be resized is moved."""
        return replace(self, transfer="move")

    def place(self, source: Path, target: Path) -> None:
        """Put the picture `source` at `target`, which does not exist.

        Raises:
            DataError: it must be decoded, and cannot.
        """
        if self.resize is not None:
            self.write(read_picture(source, channels=None), target)
        elif self.transfer == "move":
            source.rename(target)
        elif self.transfer == "link" and _link(source, target):
            self.linked += 1
        else:
            _copy(source, target)
            self.copied += 1

    def write(self, picture: Picture, target: Path) -> None:
        """Write decoded pixels at `target`, resized where that was asked for."""
        pixels, alpha = picture.pixels, picture.alpha
        if self.resize is not None:
            size = self.resize.size(pixels.shape[1], pixels.shape[0])
            pixels = resize_pixels(pixels, size)
            alpha = None if alpha is None else resize_pixels(alpha[..., None], size)[..., 0]
        try:
            write_picture(target, pixels, alpha=alpha)
        except I2IError as fault:
            if isinstance(fault.__cause__, OSError):
                raise fault.__cause__ from None  # of the data set as a whole
            raise
        self.written += 1


def resize_pixels(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize pixels (H, W, C) to (width, height), bicubic and antialiased, type kept.

    8-bit pictures go through Pillow's own 8-bit arithmetic, as in the released pipelines.
    """
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    if pixels.dtype == np.uint8:
        resized = np.asarray(to_image(pixels).resize(size, Image.Resampling.BICUBIC))
        return resized.reshape(size[1], size[0], -1)
    planes = [
        np.asarray(
            Image.fromarray(pixels[..., index].astype(np.float32)).resize(
                size, Image.Resampling.BICUBIC
            )
        )
        for index in range(pixels.shape[2])
    ]
    top = np.iinfo(pixels.dtype).max
    resized = np.clip(np.rint(np.stack(planes, axis=-1)), 0, top)
    whole: Pixels = resized.astype(pixels.dtype)
    return whole


def unique_names(
    paths: Sequence[Path], source: Path, *, suffix: str | None = None
) -> Mapping[Path, str]:
    """Give every picture below `source` a name of its own in one flat folder.

    A name that is alone stays; others get their folders in front (`b_cat.jpg` for `b/cat.jpg`);
    what still collides gets a number. Letter case does not tell names apart, since some file
    systems ignore it.
    """
    plain = {path: _with_suffix(path.name, suffix) for path in paths}
    taken = Counter(name.casefold() for name in plain.values())
    names: dict[Path, str] = {}
    used = {name for name, count in taken.items() if count == 1}
    for path in sorted(paths):
        if taken[plain[path].casefold()] == 1:
            names[path] = plain[path]
            continue
        full = "_".join(path.relative_to(source).parts)
        # Two files that differ in their suffix alone must not become one .png.
        candidate = stem = _with_suffix(full.replace(".", "_", full.count(".") - 1), suffix)
        number = 2
        while candidate.casefold() in used:
            candidate = f"{Path(stem).stem}-{number}{Path(stem).suffix}"
            number += 1
        used.add(candidate.casefold())
        names[path] = candidate
    return names


def _with_suffix(name: str, suffix: str | None) -> str:
    return name if suffix is None else Path(name).stem + suffix


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except (FileNotFoundError, PermissionError) as error:
        raise DataError(f"{source} cannot be read: {error.strerror}") from error


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True
