"""Masks that pick out nothing or everything are alarms; masks of small things are not."""

import numpy as np
import pytest

from i2icli.config.sections import HealthConfig
from i2icli.metrics.alarms import mask_alarm, picture_alarms

LIMIT = HealthConfig().mask


def level(value):
    return np.full((40, 40), value, np.float32)


def spot(side):
    """Return 1 in a square of `side` pixels on 0."""
    mask = level(0.0)
    mask[:side, :side] = 1
    return mask


def raised(masks, limit=LIMIT):
    found = (
        mask_alarm(f"mask-{kind}", {"attention": masks}, limit=limit) for kind in ("empty", "full")
    )
    return [alarm for alarm in found if alarm is not None]


@pytest.mark.parametrize(
    ("values", "name", "said", "remedies"),
    [
        (
            (0.01, 0.03, 0.0, 0.5),
            "mask-empty",
            "the attention mask is 0.013 on average and picks out nothing, on 3 of 4 samples",
            ["--set train.seed=N"],
        ),
        (
            (0.99, 1.0, 0.97, 0.5),
            "mask-full",
            "the attention mask is 0.987 on average and leaves out nothing, on 3 of 4 samples",
            ["--set train.seed=N", "method.switch_epoch"],
        ),
    ],
)
def test_masks_near_0_or_1_are_an_alarm_with_a_remedy(values, name, said, remedies):
    (alarm,) = raised([level(value) for value in values])
    assert (alarm.name, alarm.saw) == (name, said)
    assert all(remedy in alarm.remedy for remedy in remedies)


@pytest.mark.parametrize(
    "values", [[0.06] * 4, [0.5] * 4, [0.94] * 4, [0.0, 0.0, 0.5, 0.5]], ids=str
)
def test_masks_in_between_and_half_of_the_samples_are_none(values):
    assert raised([level(value) for value in values]) == []


@pytest.mark.parametrize("side", [3, 8])
def test_small_foregrounds_and_small_backgrounds_are_none(side):
    # 3 x 3 of 40 x 40 pixels is 0.6 %: a horse far away.
    assert spot(side).mean() < LIMIT
    assert raised([spot(side)] * 4) == []
    assert raised([1 - spot(side)] * 4) == []


def test_a_stray_pixel_is_no_foreground():
    assert [alarm.name for alarm in raised([spot(1)] * 4)] == ["mask-empty"]


def test_limit_of_0_is_never():
    assert raised([level(0.0)] * 4, limit=0.0) == []
    assert raised([level(1.0)] * 4, limit=0.0) == []


def test_picture_alarms_look_at_masks_by_the_limit_of_the_configuration():
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(4)]
    masks = {"attention": [level(0.1)] * 4}

    def names(limits):
        alarms = picture_alarms(pictures, pictures, references=None, limits=limits, masks=masks)
        return [alarm.name for alarm in alarms]

    assert names(HealthConfig()) == []
    assert names(HealthConfig(mask=0.2)) == ["mask-empty"]
