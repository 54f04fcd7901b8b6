"""Inception features of pictures: clean-fid's network and resizing.

Pictures are decoded and resized by threads ahead of the network, so that the network never waits;
Pillow does both without holding Python's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2icli.data.decode import Pixels, open_picture
from i2icli.data.images import read_picture, to_8_bits
from i2icli.errors import DataError, I2IError
from i2icli.evaluation.cache import features_key, load_features, store_features
from i2icli.evaluation.inception import (
    FEATURES,
    FeatureMode,
    Network,
    build_network,
    build_resizer,
    find_inception,
    prepare,
    quiet,
)
from i2icli.evaluation.picture_sets import broken_pictures, describe_set
from i2icli.evaluation.shards import ALONE, Shard

Progress = Callable[[int, int | None], None]
Rows = NDArray[np.float32]
_CPU_BATCH, _GPU_BATCH = 16, 128


def extract_features(
    paths: Sequence[Path],
    *,
    mode: FeatureMode,
    device: torch.device,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    shard: Shard = ALONE,
) -> Rows:
    """Return the Inception features of pictures, kept by content under `I2I_HOME/features`.

    Args:
        paths: the pictures, at least one.
        mode: clean-fid's way of resizing.
        device: where the network computes.
        batch_size: pictures through the network at once; None: as the device likes.
        workers: threads that decode; None: one a CPU core.
        progress: called with the pictures done and their total; not when they were kept.
        cache: whether to look for kept features and to keep new ones.
        shard: this process' part in the work; each computes its own share, all get all.

    Returns:
        (N, 2048) float32, in the order of `paths`.

    Raises:
        DataError: naming every picture that cannot be read.
        WeightsError: the weights are not here.
        I2IError: memory does not suffice.
    """
    weights = find_inception(mode)
    key, content, kept = "", "", None
    if cache and shard.is_first:
        content = describe_set(paths).digest
        key = features_key(content, mode=mode, weights=weights.sha256, device=device.type)
        kept = load_features(key, len(paths))
    kept = shard.agree(kept)
    if kept is not None:
        return kept
    job = _Extraction(mode, device, build_network(mode, device, weights), batch_size, progress)
    with quiet():
        rows = job.run(shard.share(paths), workers or min(16, os.cpu_count() or 1))
    features = shard.gather(rows, len(paths))
    # A picture that changed meanwhile must not be kept under its old content.
    if cache and shard.is_first and describe_set(paths).digest == content:
        store_features(key, features)
    return features


def read_stored(path: Path) -> Pixels:
    """Return the pixels, (H, W, 3) uint8, that are stored in a file, as clean-fid reads it.

    Neither an embedded profile nor the EXIF orientation is applied, though training and
    translation apply both: published numbers come from the stored values. (41 pictures of
    horse2zebra carry profiles other than sRGB; applying them lowers its FID by 0.1.) Grey of
    more than 8 bits, which clean-fid clips, is scaled.

    Raises:
        DataError: naming the file, when it is no picture, damaged or too large.
    """
    with open_picture(path) as image:
        if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
            return to_8_bits(read_picture(path, channels=3).pixels)
        return np.array(image.convert("RGB"))


class _Extraction:
    """One pass over pictures; all but decoding and resizing happens in the calling thread."""

    def __init__(
        self,
        mode: FeatureMode,
        device: torch.device,
        network: Network,
        batch_size: int | None,
        progress: Progress | None,
    ) -> None:
        self._resize = build_resizer(mode)
        self._device = device
        self._network = network
        self._batch_size = batch_size or (_CPU_BATCH if device.type == "cpu" else _GPU_BATCH)
        self._progress = progress
        self._waiting: dict[torch.Size, list[tuple[int, Tensor]]] = {}
        self._done = 0

    def run(self, paths: Sequence[Path], workers: int) -> Rows:
        self._rows: Rows = np.zeros((len(paths), FEATURES), dtype=np.float32)
        faults: list[Exception] = []
        for index, image in self._prepared(paths, workers):
            if isinstance(image, Exception):
                faults.append(image)
            elif not faults:  # after a fault only the other broken pictures are of interest
                self._collect(index, image)
        if faults:
            raise broken_pictures(faults, len(paths))
        for shape in list(self._waiting):
            self._flush(shape)
        return self._rows

    def _prepared(
        self, paths: Sequence[Path], workers: int
    ) -> Iterator[tuple[int, Tensor | Exception]]:
        """Yield every picture ready for the network, in order, a bounded number ahead."""
        ahead: deque[tuple[int, Future[Tensor]]] = deque()
        waiting = iter(enumerate(paths))
        room = 2 * self._batch_size + workers
        with ThreadPoolExecutor(workers, thread_name_prefix="features") as pool:
            while True:
                for index, path in islice(waiting, room - len(ahead)):
                    ahead.append((index, pool.submit(self._read, path)))
                if not ahead:
                    return
                index, future = ahead.popleft()
                try:
                    yield index, future.result()
                except (DataError, OSError) as fault:
                    yield index, fault

    def _read(self, path: Path) -> Tensor:
        return prepare(read_stored(path), self._resize)

    def _collect(self, index: int, image: Tensor) -> None:
        """Put a picture to others of its shape, and compute those that are enough."""
        bucket = self._waiting.setdefault(image.shape, [])
        bucket.append((index, image))
        if len(bucket) == self._batch_size:
            self._flush(image.shape)
        elif sum(map(len, self._waiting.values())) >= 4 * self._batch_size:
            self._flush(max(self._waiting, key=lambda shape: len(self._waiting[shape])))

    def _flush(self, shape: torch.Size) -> None:
        entries = self._waiting.pop(shape)
        batch = torch.stack([image for _, image in entries])
        try:
            with torch.inference_mode():
                rows = self._network(batch.to(self._device)).float().cpu().numpy()
        except torch.OutOfMemoryError:
            raise I2IError(
                f"{self._device} has too little memory for {len(entries)} pictures at once: "
                f"use a smaller --batch than {self._batch_size}, or `--device cpu`."
            ) from None
        self._rows[[index for index, _ in entries]] = rows
        self._done += len(entries)
        if self._progress is not None:
            self._progress(self._done, len(self._rows))
