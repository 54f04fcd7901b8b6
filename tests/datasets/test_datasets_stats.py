"""`i2i data stats`: the arithmetic of epochs, and sizes from headers."""

from pathlib import Path

import numpy as np
import pytest

from i2icli.data.folders import Domains
from i2icli.datasets.stats import measure_part, plan_training
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.images import write_picture


def domains(count_a, count_b):
    return Domains(
        tuple(map(Path, map(str, range(count_a)))), tuple(map(Path, map(str, range(count_b))))
    )


def epochs(count):
    """Return the steps of a schedule of `count` epochs."""
    return lambda steps_per_epoch: count * steps_per_epoch


def test_horse2zebra_counts_as_the_papers_do():
    plan = plan_training(
        domains(1067, 1334), batch_size=1, total_steps=epochs(400), seconds_per_step=0.1
    )
    assert (plan.steps_per_epoch, plan.steps) == (1334, 533_600)
    assert plan.uses_a == pytest.approx(1334 / 1067)
    assert plan.uses_b == 1.0
    assert plan.unseen_b == pytest.approx(np.exp(-1), abs=1e-3)
    assert plan.hours == pytest.approx(533_600 * 0.1 / 3600)


def test_an_incomplete_batch_is_dropped():
    plan = plan_training(domains(10, 7), batch_size=4, total_steps=epochs(2))
    assert (plan.steps_per_epoch, plan.steps) == (2, 4)
    assert plan.uses_b == pytest.approx(8 / 7)
    assert plan.hours is None


def test_ordered_pairing_leaves_nothing_to_chance():
    plan = plan_training(
        domains(4, 4), batch_size=1, total_steps=epochs(1), is_random_pairing=False
    )
    assert plan.unseen_b is None


def test_impossible_plans_are_refused():
    with pytest.raises(DataError, match="A batch of 8 is larger than both domains"):
        plan_training(domains(3, 4), batch_size=8, total_steps=epochs(1))
    with pytest.raises(ConfigError, match="--seconds-per-step is 0"):
        plan_training(domains(3, 4), batch_size=1, total_steps=epochs(1), seconds_per_step=0.0)


def test_sizes_come_from_readable_headers(tmp_path):
    for number, (width, height) in enumerate([(10, 20), (30, 20), (50, 8)]):
        write_picture(tmp_path / f"{number}.png", np.zeros((height, width, 3), np.uint8))
    (tmp_path / "bad.png").write_bytes(b"x")
    part = measure_part(sorted(tmp_path.iterdir()))
    assert (part.pictures, part.unreadable) == (4, 1)
    assert (part.width, part.height, part.smallest, part.largest) == (30, 20, 8, 50)


def test_no_readable_header_gives_zeros(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    part = measure_part([tmp_path / "bad.png"])
    assert (part.width, part.smallest, part.megabytes) == (0, 0, 0.0)
