"""Pictures through a network for features, in batches of one shape.

Pictures are decoded and resized by threads ahead of the network, so that the network never waits;
Pillow does both without holding Python's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2icli.errors import DataError, I2IError
from i2icli.metrics.inception import FeatureMode, Network, build_resizer, prepare, quiet
from i2icli.metrics.picture_sets import AnyPicture, contents_of
from i2icli.pictures.decode import Pixels, open_picture
from i2icli.pictures.images import read_picture, to_8_bits

Progress = Callable[[int, int | None], None]
Rows = NDArray[np.float32]
Put = Callable[[list[int], Rows], None]
_CPU_BATCH, _GPU_BATCH = 16, 128


def usual_batch(device: str) -> int:
    """Return the number of pictures through the network at once on a kind of device."""
    return _CPU_BATCH if device == "cpu" else _GPU_BATCH


def read_stored(picture: AnyPicture) -> Pixels:
    """Return the pixels, (H, W, 3) uint8, that are stored in a file, as clean-fid reads it.

    Grey of more than 8 bits, which clean-fid clips, is scaled.

    Raises:
        DataError: naming the file, when it is no picture, damaged or too large.
    """
    path, content = contents_of(picture)
    with open_picture(path, content) as image:
        if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
            return to_8_bits(read_picture(path, channels=3, content=content).pixels)
        # Neither an embedded profile nor the EXIF orientation is applied, though training and
        # translation apply both: published numbers come from the stored values. (41 pictures of
        # horse2zebra carry profiles other than sRGB; applying them lowers its FID by 0.1.)
        return np.array(image.convert("RGB"))


class FeaturePass:
    """One pass over pictures; all but decoding and resizing happens in the calling thread."""

    def __init__(
        self, mode: FeatureMode, device: torch.device, network: Network, batch_size: int | None
    ) -> None:
        self._resize = build_resizer(mode)
        self._device = device
        self._network = network
        self._batch_size = batch_size or usual_batch(device.type)
        self._waiting: dict[torch.Size, list[tuple[int, Tensor]]] = {}

    def run(
        self, pictures: Sequence[tuple[int, AnyPicture]], put: Put, *, workers: int
    ) -> list[Exception]:
        """Compute the features of pictures, each with its position in the set.

        Args:
            pictures: as above.
            put: called for each batch with its positions and their rows, (n, 2048).
            workers: threads that decode.

        Returns:
            The faults of those that cannot be read.

        Raises:
            I2IError: memory does not suffice.
        """
        self._put = put
        faults: list[Exception] = []
        with quiet():
            for place, image in self._prepared(pictures, workers):
                if isinstance(image, Exception):
                    faults.append(image)
                elif not faults:  # after a fault only the other broken ones are of interest
                    self._collect(place, image)
            for shape in [] if faults else list(self._waiting):
                self._flush(shape)
        return faults

    def _prepared(
        self, pictures: Sequence[tuple[int, AnyPicture]], workers: int
    ) -> Iterator[tuple[int, Tensor | Exception]]:
        """Yield every picture ready for the network, in order, a bounded number ahead."""
        ahead: deque[tuple[int, Future[Tensor]]] = deque()
        waiting = iter(pictures)
        room = 2 * self._batch_size + workers
        with ThreadPoolExecutor(workers, thread_name_prefix="features") as pool:
            while True:
                for place, picture in islice(waiting, room - len(ahead)):
                    ahead.append((place, pool.submit(self._read, picture)))
                if not ahead:
                    return
                place, future = ahead.popleft()
                try:
                    yield place, future.result()
                except (DataError, OSError) as fault:
                    yield place, fault

    def _read(self, picture: AnyPicture) -> Tensor:
        return prepare(read_stored(picture), self._resize)

    def _collect(self, place: int, image: Tensor) -> None:
        bucket = self._waiting.setdefault(image.shape, [])
        bucket.append((place, image))
        if len(bucket) == self._batch_size:
            self._flush(image.shape)
        # Few of many shapes must not fill the memory: the fullest go.
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
        self._put([place for place, _ in entries], rows)
