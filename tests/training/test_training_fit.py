"""Advice on runs that take longer than a day."""

import shlex

import pytest

from i2icli.cli import options
from i2icli.config import presets
from i2icli.config.presets import default_preset
from i2icli.methods import configure_run
from i2icli.training.fit import advise

COMMAND = "i2i train --preset cut"


def advice(preset="cut", *overrides, steps=400_000, step_seconds=5.0, device="cpu"):
    return advise(
        configure_run(preset, overrides),
        steps=steps,
        step_seconds=step_seconds,
        device=device,
        command=f"i2i train --preset {preset}",
    )


@pytest.fixture
def with_laptop(monkeypatch):
    """Have a preset for machines without a GPU."""
    names = [*presets.preset_names(), "laptop"]
    monkeypatch.setattr(presets, "preset_names", lambda: names)


def test_run_of_a_day_needs_no_advice():
    assert advice(steps=100, step_seconds=864.0) == []
    assert advice(steps=100, step_seconds=865.0) != []


def test_run_with_a_budget_needs_none():
    assert advice("cut", "train.budget=2h") == []


def test_long_run_is_told_its_time_and_commands_that_fit(with_laptop):
    assert advice("cut", "data.root=my pictures", steps=50_000, step_seconds=4.9) == [
        "this takes about 2 days 20 hours here: 50,000 steps, 4.9 s each",
        "smaller, about 17.0 hours (estimated): `i2i train --preset cut --set data.crop=128 "
        "--set data.jitter_in_decay=true`",
        "as far as it comes in a time of your choice: `i2i train --preset cut --budget 8h`",
        "made for a machine without a GPU: `i2i train --preset laptop --data 'my pictures'`",
    ]


@pytest.mark.parametrize(
    ("days", "settings"),
    [
        (1.5, ["data.crop=192"]),
        (2.5, ["method.generator.width=32"]),
        (4.5, ["data.crop=192", "method.generator.width=32"]),
        (10.0, ["data.crop=128", "method.generator.width=32"]),
        (1000.0, ["data.crop=64", "method.generator.width=16"]),  # the least there is
    ],
)
def test_least_change_that_brings_a_run_under_a_day_is_proposed(days, settings):
    said = advice("cut", "data.jitter_in_decay=true", steps=1000, step_seconds=86.4 * days)
    words = shlex.split(said[1].split("`")[1])
    assert [word for word in words if "=" in word] == settings
    assert ("--budget" in words) == (days == 1000.0)
    configure_run("cut", settings)


@pytest.mark.parametrize("preset", [name for name in presets.preset_names() if name != "demo"])
def test_what_is_proposed_for_a_preset_is_a_run(preset):
    said = advice(preset, steps=10**6, step_seconds=10.0)
    assert said[0].startswith("this takes about 115 days 18 hours here")
    for sentence in said:
        if " --set " in sentence:
            words = shlex.split(sentence.split("`")[1])
            assert configure_run(preset, [word for word in words if "=" in word])


def test_whole_pictures_are_not_cropped_by_advice():
    said = advice("cut", "data.preprocess=resize")
    assert "data.crop" not in said[1]
    assert "method.generator.width=16" in said[1]


def test_preset_without_a_gpu_is_the_laptops_where_there_is_one(with_laptop):
    assert [default_preset(device) for device in ("cpu", "cuda", "mps")] == [
        "laptop",
        "demo",
        "demo",
    ]
    assert options.preset_for("cpu") == "laptop"


def test_preset_without_one_is_the_demo(monkeypatch):
    monkeypatch.setattr(presets, "preset_names", lambda: ["cut", "demo"])
    assert default_preset("cpu") == "demo"
