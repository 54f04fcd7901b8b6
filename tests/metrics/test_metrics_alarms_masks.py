"""Masks that pick out nothing or everything are alarms; masks of small things are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from i2icli.config.sections import HealthConfig
from i2icli.metrics.alarms import Alarm, mask_alarm, picture_alarms

LIMIT = HealthConfig().mask
Mask = NDArray[np.float32]


def level(value: float) -> Mask:
    return np.full((40, 40), value, np.float32)


def spot(side: int) -> Mask:
    """Return 1 in a square of `side` pixels on 0."""
    mask = level(0.0)
    mask[:side, :side] = 1
    return mask


def raised(masks: list[Mask], limit: float = LIMIT) -> list[Alarm]:
    named = {"attention": masks}
    empty = mask_alarm("mask-empty", named, limit=limit)
    full = mask_alarm("mask-full", named, limit=limit)
    return [alarm for alarm in (empty, full) if alarm is not None]


def test_masks_near_0_are_an_alarm_with_a_remedy() -> None:
    (alarm,) = raised([level(0.01), level(0.03), level(0.0), level(0.5)])
    assert alarm.name == "mask-empty"
    assert alarm.saw == (
        "the attention mask is 0.013 on average and picks out nothing, on 3 of 4 samples"
    )
    assert "--set train.seed=N" in alarm.remedy


def test_masks_near_1_are_an_alarm_with_a_remedy() -> None:
    (alarm,) = raised([level(0.99), level(1.0), level(0.97), level(0.5)])
    assert alarm.name == "mask-full"
    assert alarm.saw == (
        "the attention mask is 0.987 on average and leaves out nothing, on 3 of 4 samples"
    )
    assert "--set train.seed=N" in alarm.remedy
    assert "method.switch_epoch" in alarm.remedy


@pytest.mark.parametrize("value", [0.06, 0.5, 0.94])
def test_masks_in_between_are_none(value: float) -> None:
    assert raised([level(value)] * 4) == []


def test_half_of_the_samples_is_not_most() -> None:
    assert raised([level(0.0), level(0.0), level(0.5), level(0.5)]) == []


@pytest.mark.parametrize("side", [3, 8])
def test_small_foregrounds_and_small_backgrounds_are_none(side: int) -> None:
    # 3 x 3 of 40 x 40 pixels is 0.6 %: a horse far away.
    assert spot(side).mean() < LIMIT
    assert raised([spot(side)] * 4) == []
    assert raised([1 - spot(side)] * 4) == []


def test_a_stray_pixel_is_no_foreground() -> None:
    assert [alarm.name for alarm in raised([spot(1)] * 4)] == ["mask-empty"]


def test_limit_of_0_is_never() -> None:
    assert raised([level(0.0)] * 4, limit=0.0) == []
    assert raised([level(1.0)] * 4, limit=0.0) == []


def test_picture_alarms_look_at_masks_by_the_limit_of_the_configuration() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(4)]
    masks = {"attention": [level(0.1)] * 4}

    def names(limits: HealthConfig) -> list[str]:
        alarms = picture_alarms(pictures, pictures, references=None, limits=limits, masks=masks)
        return [alarm.name for alarm in alarms]

    assert names(HealthConfig()) == []
    assert names(HealthConfig(mask=0.2)) == ["mask-empty"]
