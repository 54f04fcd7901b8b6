"""How many pictures a second the loader gives while nobody trains."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from i2icli.config.sections import DataConfig, DatasetKind, LabelsConfig
from i2icli.data.folders import find_domains
from i2icli.data.loader import build_loader
from i2icli.data.training_set import open_training_set


@dataclass(frozen=True)
class Throughput:
    """Pictures a second, of all domains together, over several repeats.

    Attributes:
        median: of the repeats.
        slowest, fastest: their ends; on a shared machine the fastest says most of the code.
        repeats: how many.
        pictures: loaded in each repeat.
        workers: processes that loaded; 0: this one.
        start_seconds: of the first repeat, until its first batch.
        rates: of each repeat.
        notes: where the pictures come from, as training would say it.
    """

    median: float
    slowest: float
    fastest: float
    repeats: int
    pictures: int
    workers: int
    start_seconds: float
    rates: tuple[float, ...]
    notes: tuple[str, ...] = ()


def measure_loader(
    config: DataConfig,
    *,
    workers: int,
    kind: DatasetKind = "unpaired",
    labels: LabelsConfig | None = None,
    batches: int = 100,
    repeats: int = 5,
    seed: int = 0,
) -> Throughput:
    """Load the first batches of a run, several times, as fast as they come.

    Each repeat starts the loader anew, and its clock with the second batch: starting processes is
    no part of the figure, and what they loaded ahead until then is one batch or two each.

    Args:
        config: the data section; its folders are named.
        workers: processes that load; 0 loads in this one.
        kind: of the data set.
        labels: what label maps hold, where there are some; settled.
        batches: of each repeat, after the first; at least 1.
        repeats: at least 1.
        seed: draws the order and the crops.

    Raises:
        DataError: when pictures are missing or cannot be read.
        ValueError: for less than one batch or repeat.
    """
    if min(batches, repeats) < 1:
        raise ValueError("batches and repeats are at least 1")
    dataset = open_training_set(kind, find_domains(config, kind), config, labels or LabelsConfig())
    rates, waits, pictures = [], [], 0
    for _ in range(repeats):
        began = time.perf_counter()
        stream = build_loader(
            dataset,
            config,
            seed=seed,
            start_step=0,
            is_decaying=lambda _: False,
            workers=workers,
            pin=False,
        )
        with stream:
            next(stream)
            started = time.perf_counter()
            pictures = sum(len(next(stream).names) for _ in range(batches))
            rates.append(pictures / (time.perf_counter() - started))
        waits.append(started - began)
    return Throughput(
        median=statistics.median(rates),
        slowest=min(rates),
        fastest=max(rates),
        repeats=repeats,
        pictures=pictures,
        workers=workers,
        start_seconds=waits[0],
        rates=tuple(rates),
        notes=dataset.notes,
    )
