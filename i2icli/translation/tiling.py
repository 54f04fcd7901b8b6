"""A large picture through a residual generator in bands, exactly as if it went through whole.

Instance norm looks at the whole picture, so the network runs layer by layer: the layers between
two norms are computed band by band from one stored map to the next, while the statistics of the
next norm add up. Maps are held in memory, or on disk where they do not fit. The bands see real
rows around them, so there are no seams: the result differs from the whole only by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2icli.errors import I2IError
from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resnet import ResnetBlock, ResnetGenerator
from i2icli.system.memory import in_words
from i2icli.system.waiting import look_around
from i2icli.translation.row_maps import MapStore, MemoryMap, RowMap
from i2icli.translation.row_ops import AddChange, Chain, Normalise, RowOp, row_ops

_MOST_BAND = 256 << 20  # bytes; larger bands are no faster, their borders cost little already


@dataclass(frozen=True)
class Room:
    """The memory that a translation may take."""

    bands: int  # bytes for what is being computed, on the device
    maps: int  # bytes for stored maps, in host memory; the rest goes to disk


class Moments:
    """Mean and variance of each channel over a map that comes in bands, in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None  # sum of squared distances from the mean

    def add(self, rows: Tensor) -> None:
        """Take in rows, (1, C, h, W)."""
        flat = rows[0].flatten(1).double()
        count = flat.shape[1]
        variance, mean = torch.var_mean(flat, dim=1, correction=0)
        if self._mean is None or self._squares is None:
            self._count, self._mean, self._squares = count, mean, variance * count
            return
        # Chan et al., "Updating Formulae and a Pairwise Algorithm", 1979: merging two samples.
        total = self._count + count
        shift = mean - self._mean
        self._squares += variance * count + shift.square() * (self._count * count / total)
        self._mean += shift * (count / total)
        self._count = total

    def norm(self) -> Normalise:
        """Return the norm with these statistics."""
        assert self._mean is not None, "no rows"
        assert self._squares is not None
        return Normalise(self._mean, self._squares / self._count)


def tileable(network: nn.Module | None) -> bool:
    """Say whether `run_in_bands` can compute a network."""
    if not isinstance(network, ResnetGenerator) or network.attention is not None:
        return False
    try:
        for layer in _flat(network.model):
            if not isinstance(layer, InstanceNorm):
                row_ops(layer)
    except I2IError:
        return False
    return True


@torch.inference_mode()
def run_in_bands(
    network: ResnetGenerator,
    image: Tensor,
    room: Room,
    *,
    change: bool = False,
    on_band: Callable[[], None] = lambda: None,
) -> tuple[Tensor, int]:
    """Translate one picture, (C, H, W) in [-1, 1] on the CPU, by a `tileable` network.

    The network is in evaluation mode; sides are a multiple of 4. `room` is memory besides the
    picture and its translation; `change`: of a residual generator, stop before the picture is
    added.

    Returns:
        The translation or change, (C', H, W), float32 on the CPU, and the bytes of maps that went
        to disk.

    Raises:
        I2IError: if not even a band of one row fits, or there is no room on disk.
    """
    run = _Run(next(network.parameters()).device, room, on_band)
    try:
        layers = network.model[:-1] if network.residual else network.model
        source, pending = run.through(layers, MemoryMap(image))
        if network.residual and not change:
            pending = [*pending, AddChange(image)]
        chain = Chain(source, pending)
        result = torch.empty(chain.shapes[-1], dtype=torch.float32)
        run.stored(chain, target=MemoryMap(result))
    finally:
        run.store.close()
    return result, run.store.spilled


def _flat(layers: Iterable[nn.Module]) -> Iterable[nn.Module]:
    for layer in layers:
        if isinstance(layer, ResnetBlock):
            yield from _flat(layer.conv_block)
        else:
            yield layer


class _Run:
    def __init__(self, device: torch.device, room: Room, on_band: Callable[[], None]) -> None:
        self.store = MapStore(room.maps)
        self._device = device
        self._band_bytes = min(room.bands, _MOST_BAND)
        self._on_band = on_band

    def through(
        self, layers: Iterable[nn.Module], source: RowMap, *, keep: bool = False
    ) -> tuple[RowMap, list[RowOp]]:
        """Run layers; return the last stored map and the layers that are still to be run on it.

        `source` is freed once it is not needed, unless `keep` is set.
        """
        current, pending = source, list[RowOp]()

        def advance(stored: RowMap) -> RowMap:
            if not (keep and current is source):
                self.store.free(current)
            return stored

        for layer in layers:
            if isinstance(layer, InstanceNorm):
                moments = Moments()
                current = advance(self.stored(Chain(current, pending), moments))
                pending = row_ops(moments.norm())
            elif isinstance(layer, ResnetBlock):
                if pending:
                    current = advance(self.stored(Chain(current, pending)))
                current = advance(self._block(layer, current))
                pending = []
            else:
                pending += row_ops(layer)
        return current, pending

    def _block(self, block: ResnetBlock, source: RowMap) -> RowMap:
        # The sum needs the block's input once more, so it stays until all bands are done.
        inner, pending = self.through(block.conv_block, source, keep=True)
        change = Chain(inner, pending)
        target: RowMap | None = None
        for first, last in self._bands(change):
            rows = source.read(first, last).to(self._device)
            rows = rows + change.rows(first, last, self._device)
            target = target or self.store.make(source.shape, rows.dtype)
            self._put(target, first, rows, None)
        assert target is not None
        if inner is not source:
            self.store.free(inner)
        return target

    def stored(
        self, chain: Chain, moments: Moments | None = None, target: RowMap | None = None
    ) -> RowMap:
        for first, last in self._bands(chain):
            rows = chain.rows(first, last, self._device)
            # only now is the type known, which autocast chooses
            target = target or self.store.make(chain.shapes[-1], rows.dtype)
            self._put(target, first, rows, moments)
        assert target is not None
        return target

    def _put(self, target: RowMap, first: int, rows: Tensor, moments: Moments | None) -> None:
        if moments is not None:
            moments.add(rows)
        target.write(first, rows.cpu())
        self._on_band()
        look_around(self._device)

    def _bands(self, chain: Chain) -> Iterable[tuple[int, int]]:
        height = chain.shapes[-1][1]
        count = height
        while count > 1 and chain.cost(count) > self._band_bytes:
            count = -(-count // 2)
        if chain.cost(count) > self._band_bytes:
            raise I2IError(
                f"a picture of {chain.shapes[-1][2]} columns at this layer needs "
                f"{in_words(chain.cost(count))} at once, and there are "
                f"{in_words(self._band_bytes)}: give more memory (--memory), or use a smaller "
                "picture."
            )
        return [(first, min(first + count, height)) for first in range(0, height, count)]
