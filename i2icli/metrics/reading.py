"""Reading pictures in batches while the batch before is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
Loaded = TypeVar("Loaded")

_PLAIN = 256 * 256


def load_ahead(
    batches: Sequence[Batch], load: Callable[[Batch], Loaded]
) -> Iterator[tuple[Batch, Loaded]]:
    """Yield each batch with what `load` makes of it; the next one is loaded meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = [pool.submit(load, batch) for batch in batches[:1]]
        for number, batch in enumerate(batches):
            loaded = coming.pop().result()
            coming = [pool.submit(load, following) for following in batches[number + 1 :][:1]]
            yield batch, loaded


def batch_by_size(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Put pictures of one size together.

    Args:
        sizes: width and height of each picture, pixels.
        batch_size: the most a batch holds at 256x256; fewer of larger pictures, so that memory
            stays as it is.

    Returns:
        Batches of positions in `sizes`, each position once.
    """
    batches: list[list[int]] = []
    last: tuple[int, int] | None = None
    for place in sorted(range(len(sizes)), key=lambda place: sizes[place]):
        width, height = sizes[place]
        most = max(1, min(batch_size, batch_size * _PLAIN // (width * height)))
        if sizes[place] != last or len(batches[-1]) >= most:
            batches.append([])
        batches[-1].append(place)
        last = sizes[place]
    return batches
