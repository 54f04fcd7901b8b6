"""Time single operations in each way that was thought of, in turn; a table for results.md.

python benchmarks/operations.py                    bfloat16, channels last, torch's own threads
python benchmarks/operations.py --precision float32 --threads 1 --rounds 60

For each way: milliseconds forward and backward, median (quartiles), on maps as a generator of width
32 or 64 has them. What a step gains by them all is what `benchmarks/levers.py` measures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import record
import torch
from torch import Tensor
from torch.nn import functional as F

from i2icli.bench.worker import Spread
from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resample import Downsample

HEADING = "## Single operations"
COLUMNS = (
    "| date | machine | torch | operation | maps | way | forward, ms: median (quartiles) | "
    "backward, ms: median (quartiles) | n |"
)
Way = Callable[[Tensor], Tensor]
BLURRED = ((2, 64, 128, 128), (2, 128, 64, 64))
NORMALISED = ((2, 128, 32, 32), (2, 64, 128, 128), (2, 128, 31, 31))


def blurs(channels: int, dtype: torch.dtype) -> dict[str, Way]:
    """Return ways to halve maps by [1, 2, 1]."""
    slices, convolved = Downsample(channels).to(dtype), Downsample(channels).to(dtype)
    convolved.is_lean = False
    return {
        "gradient by slices (lean_blur)": slices,
        "gradient by a convolution": convolved,
        "two average pools": pooled,
    }


def pooled(maps: Tensor) -> Tensor:
    """Return the blur by two pools of two, whose product is [1, 2, 1]."""
    padded = F.pad(maps, (1, 1, 1, 1), mode="reflect")
    return F.avg_pool2d(F.avg_pool2d(padded, 2, 1), 2, 2)


def norms(channels: int, _dtype: torch.dtype) -> dict[str, Way]:
    """Return ways to normalise the channels of each map."""
    lean, plain = InstanceNorm(channels), InstanceNorm(channels)
    plain.is_lean = False
    return {
        "in columns (lean_norm)": lean,
        "PyTorch's instance norm on float32 copies": plain,
        "PyTorch's group norm": lambda maps: F.group_norm(maps, channels),
    }


def main() -> None:
    """Measure all ways of all operations, and write a row each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--record", action="store_true", help="add the rows to results.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    dtype = getattr(torch, asked.precision)
    for operation, ways, shapes in (("blur", blurs, BLURRED), ("norm", norms, NORMALISED)):
        for shape in shapes:
            for name, spreads in measure(ways(shape[1], dtype), shape, dtype, asked.rounds).items():
                cells = [
                    time.strftime("%Y-%m-%d"),
                    f"{record.machine('', asked.threads)}, {asked.precision}",
                    torch.__version__,
                    operation,
                    " x ".join(map(str, shape)),
                    name,
                    *map(in_milliseconds, spreads),
                    str(asked.rounds),
                ]
                sys.stdout.write(f"| {' | '.join(cells)} |\n")
                if asked.record:
                    record.add_row(Path(record.RESULTS), HEADING, COLUMNS, cells)


def measure(
    ways: dict[str, Way], shape: tuple[int, ...], dtype: torch.dtype, rounds: int
) -> dict[str, tuple[Spread, Spread]]:
    """Return seconds forward and backward by way; in each round every way has its turn."""
    torch.manual_seed(0)
    maps = torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    maps.requires_grad_()
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            forward, result = timed(partial(way, maps))
            upper = torch.ones_like(result)
            backward, _ = timed(partial(torch.autograd.grad, result, maps, upper))
            if number >= 2:  # libraries choose their kernels in the first ones
                times[name][0].append(forward)
                times[name][1].append(backward)
    return {name: (Spread.of(each[0]), Spread.of(each[1])) for name, each in times.items()}


def timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds that some work takes, and what it gives."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def in_milliseconds(spread: Spread) -> str:
    """Return a spread of seconds as a cell."""
    low, middle, high = (1e3 * seconds for seconds in (spread.q1, spread.median, spread.q3))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


if __name__ == "__main__":
    main()
