"""Frames of a video as pictures; needs the extra `video`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.images import write_picture

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})


def extract_frames(video: Path, folder: Path, *, every: int = 1) -> int:
    """Write one frame in `every` of `video` to `folder` as PNG, upright, and return their number.

    Raises:
        ConfigError: the extra `video` is not installed, or `every` is below 1.
        DataError: the file is missing, or no video that can be decoded.
    """
    if every < 1:
        raise ConfigError(f"--every is {every}; give 1 for every frame, 10 for one in ten.")
    if not video.is_file():
        raise DataError(f"{video} does not exist; give the path of a video file.")
    av = _load_av()
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with av.open(str(video)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % every:
                    continue
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(getattr(frame, "rotation", 0) / 90)  # phones film sideways
                write_picture(
                    folder / f"{video.stem}_{number:06d}.png",
                    np.ascontiguousarray(np.rot90(pixels, turns)),
                )
                count += 1
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{video} cannot be decoded as a video ({error}).") from error
    if not count:
        raise DataError(f"{video} holds no frames.")
    return count


def _load_av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "Reading videos needs the extra `video`: pip install 'i2icli[video]'"
        ) from error
    module: ModuleType = av
    return module
