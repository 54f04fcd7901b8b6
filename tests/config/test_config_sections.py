"""Learning-rate schedules, and the rules inside a section."""

import pytest
from pydantic import ValidationError

from i2icli.config.schedule import (
    CosineSchedule,
    LinearSchedule,
    Moment,
    ShareSchedule,
    StepSchedule,
    TrainConfig,
)
from i2icli.config.sections import DataConfig
from i2icli.config.words import parse_duration, short_duration


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


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        ({"steps": 1, "epochs": 1}, "give train.steps or train.epochs, not both"),
        ({"steps": 1, "budget": "1h"}, "give train.steps or train.budget, not both"),
        (
            {"steps": 1, "epochs": 1, "budget": "1h"},
            "give train.steps, train.epochs or train.budget, not all",
        ),
    ],
)
def test_train_section_has_one_stop(stops, said):
    with pytest.raises(ValidationError, match=said):
        TrainConfig(**stops)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86400),
        ("1d2h3m4s", 93784),
        ("1.5h", 5400),
    ],
)
def test_budget_is_a_time_in_days_hours_and_minutes(text, seconds):
    assert TrainConfig(budget=text).budget_seconds == seconds


@pytest.mark.parametrize("text", ["", "90", "2 h", "2hours", "30m1h", "-1h", "0m", "h"])
def test_budget_that_is_no_time_is_refused(text):
    with pytest.raises(ValidationError, match=r"is no time such as 90m, 2h, 1d or 1h30m"):
        TrainConfig(budget=text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "1h30m"), (60, "1m"), (61, "2m"), (93600, "1d2h"), (86400, "1d")]
)
def test_time_is_written_as_a_budget_reads_it(seconds, text):
    assert short_duration(seconds) == text
    assert parse_duration(text) >= seconds


def rates(schedule, total, *steps):
    return [schedule.rate(Moment(step, 7, total)) for step in steps]


def test_share_schedule_falls_linearly_to_its_floor_at_the_last_step():
    schedule = ShareSchedule(constant=0.6, floor=0.2)
    assert rates(schedule, 10, *range(1, 7)) == [1.0] * 6
    assert rates(schedule, 10, 7, 8, 9, 10) == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert rates(schedule, 10, 11, 1000) == pytest.approx([0.2, 0.2])  # taken further
    assert rates(ShareSchedule(constant=1.0), 10, 1, 10, 11) == [1.0, 1.0, 1.0]


def test_share_schedule_rises_first_by_steps_whatever_the_length():
    schedule = ShareSchedule(warmup_steps=3)
    for total in (20, 1000, None):
        assert rates(schedule, total, 1, 2, 3, 4, 5) == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_share_schedule_stays_constant_while_the_length_is_not_known():
    assert rates(ShareSchedule(steps=10), None, 1, 10, 10**6) == [1.0, 1.0, 1.0]
    assert ShareSchedule(steps=10).total_steps(7) == 10


def test_configuration_is_frozen():
    config = TrainConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
