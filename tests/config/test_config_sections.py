"""Learning-rate schedules, and the rules inside a section."""

import pytest
from pydantic import ValidationError

from i2icli.config.schedule import CosineSchedule, LinearSchedule, StepSchedule
from i2icli.config.sections import DataConfig, TrainConfig


def test_linear_schedule_falls_after_the_constant_half_and_never_reaches_zero():
    schedule = LinearSchedule(epochs=3, epochs_decay=2)
    factors = [schedule.factor(epoch) for epoch in range(1, 6)]
    assert factors == pytest.approx([1, 1, 1, 1 - 1 / 3, 1 - 2 / 3])
    assert [schedule.is_decaying(epoch) for epoch in range(1, 6)] == [False] * 3 + [True] * 2
    assert schedule.total_epochs == 5


def test_step_schedule_drops_at_every_interval():
    schedule = StepSchedule(epochs=5, every_epochs=2, gamma=0.1)
    factors = [schedule.factor(epoch) for epoch in range(1, 6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert not any(schedule.is_decaying(epoch) for epoch in range(1, 6))
    assert schedule.total_epochs == 5


def test_cosine_schedule_halves_in_the_middle_and_rises_again_beyond():
    schedule = CosineSchedule(epochs=4, epochs_extra=2)
    factors = [schedule.factor(epoch) for epoch in (1, 3, 5, 6)]
    assert factors == pytest.approx([1, 0.5, 0, 0.1464466], abs=1e-6)
    assert [schedule.is_decaying(epoch) for epoch in (4, 5)] == [False, True]
    assert schedule.total_epochs == 6


@pytest.mark.parametrize(
    "schedule",
    [
        LinearSchedule(epochs=3, epochs_decay=4),
        LinearSchedule(epochs=3, epochs_decay=0),
        StepSchedule(epochs=7, every_epochs=2),
        CosineSchedule(epochs=5, epochs_extra=2),
    ],
    ids=lambda schedule: schedule.policy,
)
def test_schedule_holds_its_last_value_beyond_its_end(schedule):
    last = schedule.factor(schedule.total_epochs)
    assert last > 0
    assert schedule.factor(schedule.total_epochs + 1) == last
    assert schedule.factor(schedule.total_epochs + 1000) == last


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"domain_a": "a"}, "data.domain_a and data.domain_b are given together or not at all"),
        (
            {"root": "r", "domain_a": "a", "domain_b": "b"},
            "give data.root, or data.domain_a and data.domain_b, not both",
        ),
        (
            {"resize_height": 200},
            r"data.crop \(256\) is larger than data.resize_height \(200\)"
            r"|data.crop \(256\) is larger than data.resize \(",
        ),
        (
            {"preprocess": "scale-shorter-and-crop", "resize": 200},
            r"data.crop \(256\) is larger than data.resize \(200\): .* whose shorter side",
        ),
    ],
)
def test_data_section_refuses_what_contradicts(values, sentence):
    with pytest.raises(ValidationError, match=sentence):
        DataConfig.model_validate(values)


def test_crop_may_exceed_the_size_where_nothing_is_cut_from_it():
    assert DataConfig(preprocess="resize", resize=64).crop == 256


def test_train_section_has_one_stop():
    with pytest.raises(ValidationError, match="train.steps or train.epochs, not both"):
        TrainConfig(steps=1, epochs=1)


def test_configuration_is_frozen():
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
