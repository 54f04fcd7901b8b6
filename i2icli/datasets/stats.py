"""Training on a data set in numbers: epochs, steps, repeats, hours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from i2icli.config.words import human_time
from i2icli.data.folders import Domains
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.images import read_size


@dataclass(frozen=True)
class PartStats:
    """Sizes of the pictures of one part, from their headers."""

    pictures: int
    unreadable: int  # those whose header cannot be read; `i2i data check` names them
    width: int  # median, pixels
    height: int
    smallest: int  # shortest side of all, pixels
    largest: int
    megabytes: float


@dataclass(frozen=True)
class Plan:
    """A schedule on this data set."""

    batch_size: int  # pictures of each domain a step
    steps_per_epoch: int  # the larger domain, once; or `crops`
    epochs: int  # of the whole schedule
    steps: int
    uses_a: float  # how often each picture of A is used an epoch, on average
    uses_b: float
    unseen_b: float | None  # expected share that an epoch leaves out, where B is drawn at random
    hours: float | None  # None where the time of a step is not known
    crops: int | None = None  # an epoch, for methods that train on one picture of a domain


def measure_part(paths: Sequence[Path]) -> PartStats:
    """Read the headers of pictures."""
    sizes, total, unreadable = [], 0, 0
    for path in paths:
        try:
            sizes.append(read_size(path))
            total += path.stat().st_size
        except (DataError, OSError):
            unreadable += 1
    return PartStats(
        pictures=len(paths),
        unreadable=unreadable,
        width=int(median(width for width, _ in sizes)) if sizes else 0,
        height=int(median(height for _, height in sizes)) if sizes else 0,
        smallest=min((min(size) for size in sizes), default=0),
        largest=max((max(size) for size in sizes), default=0),
        megabytes=round(total / 1e6, 1),
    )


def plan_training(
    domains: Domains,
    *,
    batch_size: int,
    total_steps: Callable[[int], int],
    is_random_pairing: bool = True,
    seconds_per_step: float | None = None,
    crops: int | None = None,
) -> Plan:
    """Work out what a schedule means; an epoch is one pass over the larger domain, or `crops`.

    Raises:
        ConfigError: `seconds_per_step` is not above 0.
        DataError: the batch is larger than the larger domain.
    """
    if seconds_per_step is not None and not seconds_per_step > 0:
        raise ConfigError(f"--seconds-per-step is {seconds_per_step:g}; give more than 0.")
    count_a, count_b = len(domains.train_a), len(domains.train_b)
    per_epoch = (crops or max(count_a, count_b)) // batch_size
    if not per_epoch:
        raise DataError(
            f"A batch of {batch_size} is larger than both domains ({count_a} and {count_b} "
            "pictures); train with --set data.batch_size=1."
        )
    drawn = per_epoch * batch_size
    steps = total_steps(per_epoch)
    return Plan(
        batch_size=batch_size,
        steps_per_epoch=per_epoch,
        epochs=math.ceil(steps / per_epoch),
        steps=steps,
        uses_a=drawn / count_a,
        uses_b=drawn / count_b,
        unseen_b=(1 - 1 / count_b) ** drawn if is_random_pairing and not crops else None,
        hours=None if seconds_per_step is None else steps * seconds_per_step / 3600,
        crops=crops,
    )


def stats_lines(preset: str, sizes: Mapping[str, PartStats], plan: Plan, where: str) -> list[str]:
    """Return the sizes of the parts, and what a schedule amounts to."""
    lines = [f"{'':<8}{'pictures':>9}{'median':>12}{'shortest':>10}{'longest':>9}{'MB':>9}"]
    for name, part in sizes.items():
        lines.append(
            f"{name:<8}{part.pictures:>9}{f'{part.width}x{part.height}':>12}"
            f"{part.smallest:>10}{part.largest:>9}{part.megabytes:>9.1f}"
        )
        if part.unreadable:
            lines.append(f"  {part.unreadable} of them unreadable: i2i data check names them")
    lines += [
        "",
        f"With the preset {preset} (batch {plan.batch_size}):",
        f"an epoch is {plan.steps_per_epoch} steps, one pass over the larger domain; each picture "
        f"of A is used {plan.uses_a:.2f} times an epoch, of B {plan.uses_b:.2f} times"
        if plan.crops is None
        else f"an epoch is {plan.steps_per_epoch} steps, {plan.crops} crops of each picture",
    ]
    if plan.unseen_b is not None:
        lines.append(f"B is drawn at random: an epoch leaves out {plan.unseen_b:.0%} of it")
    lines.append(f"the whole schedule is {plan.epochs} epochs, {plan.steps} steps")
    if plan.hours is None:
        lines.append(
            "hours: unknown without the time of a step on this machine; measure it with "
            f"i2i train --preset {preset} --data {where} --dry-run, then give --seconds-per-step S"
        )
    else:
        lines.append(f"hours: {plan.hours:.1f}, which is {human_time(3600 * plan.hours)}")
    return lines
