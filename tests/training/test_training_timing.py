"""What a run does by the clock, on a clock of our own: each step takes a minute."""

import signal
import tomllib
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from engine_kit import Watcher, assert_same_end, log_of, pair_config, send, state_of
from plain_data import assert_same

from i2icli.config.schedule import ShareSchedule
from i2icli.errors import ConfigError, Interrupted
from i2icli.runs.checkpoint import load_checkpoint, save_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.training import logs
from i2icli.training.logs import Clock
from i2icli.training.run import resume_run, start_run
from i2icli.training.timing import StepTimer

pytestmark = pytest.mark.usefixtures("pair")

SHARES = {"policy": "shares", "steps": 30, "constant": 0.5, "floor": 0.1, "warmup_steps": 2}
GRIDS = {"every_steps": 4, "count": 1}


class Killed(BaseException):
    """Stands for a kill: nothing is saved."""


def kill():
    raise Killed


@pytest.fixture
def now(monkeypatch):
    """Return the time of the clock, a list of one number."""
    time = [1000.0]
    monkeypatch.setattr(logs, "time", SimpleNamespace(perf_counter=lambda: time[0]))
    return time


class Minutes(Watcher):
    """Lets a step take a minute, and acts after one of them."""

    def __init__(self, now, *, seconds=60.0, at=-1, act=kill):
        super().__init__(at=at, act=act)
        self.now, self.seconds = now, seconds

    def stepped(self, progress):
        self.now[0] += self.seconds
        super().stepped(progress)


@pytest.fixture
def train(now, tmp_path):
    """Return a call that starts a run of that name, each step a minute."""

    def call(config, name="run", **watching):
        watcher = Minutes(now, **watching)
        with pytest.raises((Killed, Interrupted)) if "at" in watching else nullcontext():
            start_run(config, run_dir=tmp_path / name, reporter=watcher)
        return RunFolder(tmp_path / name), watcher

    return call


def config_for(root, *, steps=None, budget=None, schedule=None, **sections):
    """Return a run with dropout, an average and one stop."""
    schedule = schedule or {"policy": "linear", "epochs": 1, "epochs_decay": 3}
    return pair_config(
        root,
        method={"dropout": 0.5, "schedule": schedule},
        train={"steps": steps, "budget": budget},
        ema={"decay": 0.9},
        **{"samples": GRIDS, "log": {"every_steps": 3}, **sections},
    )


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.samples.glob("step-*.png")}


# Budgets


def test_budget_ends_a_run_with_the_bits_of_as_many_steps(train, picture_root):
    limited, watcher = train(config_for(picture_root, budget="9m30s"), "limited")
    whole, _ = train(config_for(picture_root, steps=11), "whole")
    assert_same(state_of(limited.path, "config"), state_of(whole.path, "config"))
    assert state_of(limited.path)["step"] == 11  # that which had begun when it was used
    assert log_of(limited.path) == log_of(whole.path)
    assert files_of(limited) == files_of(whole)
    assert load_checkpoint(limited.last).seconds == 660
    (said,) = [note for note in watcher.notes if note.startswith("the budget")]
    assert said.startswith(
        "the budget of 9m30s is used: stopped after step 11, 34% of the schedule's 32 steps (epoch "
        "2 of 4), the learning rate at 75% of its full height. Go on with `i2i resume "
    )
    assert said.endswith("--budget 19m`.")


def test_time_before_a_resume_counts(train, now, picture_root):
    config = config_for(picture_root, budget="9m30s", checkpoint={"every_steps": 4})
    whole, _ = train(config, "whole")
    killed, _ = train(config, "killed", at=6)
    now[0] += 1e6  # a pause is no time of training, nor are the steps in vain
    resumed = Minutes(now)
    resume_run(killed.path, reporter=resumed)
    assert resumed.steps == list(range(5, 12))
    assert_same_end(whole.path, killed.path)


def test_used_budget_has_nothing_to_resume_but_a_larger_one(train, now, picture_root):
    folder, _ = train(config_for(picture_root, budget="3m"))
    result = resume_run(folder.path)
    assert result.was_finished
    first, further, _ = result.lines()
    assert first.endswith("is finished: step 4, epoch 1, its budget of 3m used.")
    assert further.endswith(" --budget 6m")
    result = resume_run(folder.path, budget="6m", reporter=Minutes(now))
    assert (result.step, result.was_finished) == (7, False)


def test_time_of_early_checkpoints_is_what_the_log_says(train, now, picture_root):
    config = config_for(picture_root, budget="5m", checkpoint={"every_steps": 3})
    folder, _ = train(config, at=4)
    save_checkpoint(folder.last, replace(load_checkpoint(folder.last), seconds=0.0))
    assert resume_run(folder.path, reporter=Minutes(now)).step == 6


# Schedules in shares


def test_budget_becomes_steps_that_repeat_the_run_bit_for_bit(train, picture_root):
    shares = {"schedule": SHARES, "log": {"every_steps": 1}}
    limited, watcher = train(config_for(picture_root, budget="40m", **shares), "limited")
    whole, _ = train(config_for(picture_root, steps=40, **shares), "whole")
    assert_same_end(limited.path, whole.path)  # the configuration among all else
    assert limited.config.read_bytes() == whole.config.read_bytes()
    assert files_of(limited) == files_of(whole)
    assert any(
        note == "the budget of 40m becomes 40 steps, at 60.0 s each (measured); the learning rate "
        "falls after step 20. `--steps 40` repeats this run."
        for note in watcher.notes
    )
    rates = [line["generator/lr"] / 0.01 for line in limited.read_metrics()]
    assert rates[:20] == pytest.approx([1 / 3, 2 / 3, *[1.0] * 18])
    assert rates[20:] == pytest.approx([1 - 0.9 * fallen / 20 for fallen in range(1, 21)])


def test_other_length_of_a_share_schedule_is_the_presets_own(train, picture_root):
    folder, _ = train(config_for(picture_root, schedule={**SHARES, "steps": 8}))
    assert state_of(folder.path)["step"] == 8
    assert folder.read_metrics()[-1]["generator/lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("at", [3, 14, 15, 17, 50])
@pytest.mark.parametrize("act", [kill, send(signal.SIGTERM)], ids=["killed", "interrupted"])
def test_stopped_run_keeps_its_steps_from_a_budget(train, now, picture_root, at, act):
    config = config_for(picture_root, budget="1h20m", schedule=SHARES)
    whole, _ = train(config, "whole")
    assert state_of(whole.path)["step"] == 80
    stopped, _ = train(config, "stopped", at=at, act=act)
    resume_run(stopped.path, reporter=Minutes(now))
    assert_same_end(whole.path, stopped.path)


def test_budget_too_small_to_measure_a_step_is_refused(train, picture_root):
    with pytest.raises(ConfigError) as refused:
        train(config_for(picture_root, budget="20m", schedule=SHARES))
    assert str(refused.value) == (
        "a budget of 20m allows 20 steps of 60.0 s here, and after 50% of them the learning rate "
        "should fall: that is before a step is measured. Give --budget 35m or more, or --steps N."
    )


def test_budget_that_the_refusal_names_is_enough(train, picture_root):
    folder, _ = train(config_for(picture_root, budget="35m", schedule=SHARES))
    assert state_of(folder.path)["step"] == 35


def test_new_budget_becomes_steps_by_the_pace_so_far(train, now, picture_root):
    folder, _ = train(config_for(picture_root, steps=10, schedule=SHARES))
    watcher = Minutes(now)
    assert resume_run(folder.path, budget="30m", reporter=watcher).step == 30
    assert tomllib.loads(folder.config.read_text())["train"] == {"seed": 0, "steps": 30}
    assert any(
        note.startswith("the budget of 30m becomes 30 steps, at 60.0 s each (so far, ")
        for note in watcher.notes
    )
    assert (
        "the learning rate falls by shares of 30 steps from here on, not of 10: after step 15"
        in watcher.notes
    )


def test_rate_of_the_constant_share_is_the_same_whatever_the_length(train, picture_root):
    config = config_for(picture_root, schedule=SHARES, log={"every_steps": 1})
    (short, _), (long, _) = (
        train(config.model_copy(update={"train": config.train.model_copy(update={"steps": n})}), f)
        for n, f in ((24, "short"), (60, "long"))
    )
    assert log_of(short.path)[:12] == log_of(long.path)[:12]
    assert ShareSchedule(**SHARES).constant_steps(24) == 12


def test_step_is_measured_without_the_first_and_without_what_stands_aside(now):
    clock = Clock()
    timer = StepTimer(clock, torch.device("cpu"), shortest=30.0)
    known = []
    for step in range(1, 60):
        now[0] += 1000.0 if step < 5 else 2.0
        with clock.aside():
            now[0] += 50.0
        if step % 7 == 0:
            clock.interval()
        if timer.stepped():
            known.append(step)
    assert known == [20]  # 15 steps after the fifth take 30 s
    assert timer.seconds == pytest.approx(2.0)


# What is written and shown between the steps that say so


def test_checkpoint_is_written_every_so_many_minutes_besides(train, now, picture_root):
    often = {"checkpoint": {"every_steps": 1000, "every_minutes": 3.0}}
    whole, _ = train(config_for(picture_root, steps=11), "whole")
    killed, _ = train(config_for(picture_root, steps=11, **often), "killed", at=8)
    state = load_checkpoint(killed.last)
    assert (state.step, state.seconds) == (6, 360.0)
    resumed = Minutes(now)
    resume_run(killed.path, reporter=resumed)
    assert resumed.steps == list(range(7, 12))
    assert_same(*(state_of(folder.path, "config") for folder in (whole, killed)))
    assert log_of(whole.path) == log_of(killed.path)
    assert files_of(whole) == files_of(killed)


def test_minutes_between_checkpoints_count_from_the_last_one(train, picture_root):
    checkpoint = {"every_steps": 2, "every_minutes": 3.0}
    folder, _ = train(config_for(picture_root, steps=11, checkpoint=checkpoint), at=10)
    assert load_checkpoint(folder.last).step == 8


@pytest.mark.parametrize("minutes", [0.0, 100.0])
def test_checkpoint_is_left_to_the_steps(train, picture_root, minutes):
    checkpoint = {"every_steps": 1000, "every_minutes": minutes}
    folder, _ = train(config_for(picture_root, steps=11, checkpoint=checkpoint), at=10)
    assert not folder.last.exists()


def test_samples_of_the_clock_go_to_one_file_and_change_nothing(train, picture_root):
    without, _ = train(config_for(picture_root, steps=11), "without")
    sections = {"samples": {**GRIDS, "every_minutes": 3.0}, "health": {"warmup_steps": 0}}
    shown, watcher = train(config_for(picture_root, steps=11, **sections), "shown")
    assert_same(*(state_of(folder.path, "config") for folder in (without, shown)))
    assert files_of(without) == files_of(shown)
    lines = [line for line in log_of(shown.path) if "alarm" not in line and "cleared" not in line]
    assert lines == log_of(without.path)
    (said,) = [note for note in watcher.notes if "now.png" in note]
    assert said.endswith("now.png: samples of step 2, anew every 3 minutes")
    assert {path.name for path in shown.samples.iterdir()} == {*files_of(shown), "now.png"}


def test_first_sample_comes_within_two_minutes_and_again_later(train, picture_root):
    seen = {}
    for end in (2, 3, 11, 12, 13):
        folder, _ = train(config_for(picture_root, steps=20), f"{end}", at=end)
        seen[end] = folder.now.read_bytes() if folder.now.exists() else None
    assert seen[2] is None
    assert seen[3] is not None
    assert seen[11] == seen[12] == seen[3]  # of step 2
    assert seen[13] != seen[3]  # of step 12


def test_run_without_grids_has_none_of_the_clock(train, picture_root):
    folder, _ = train(config_for(picture_root, steps=11, samples={"every_steps": 0}))
    assert list(folder.samples.iterdir()) == []


@pytest.mark.parametrize(("every", "shown"), [(1000, [1]), (2, [1]), (1, [])])
def test_first_loss_is_shown_within_a_minute_unless_a_line_was(train, picture_root, every, shown):
    config = config_for(picture_root, steps=5, log={"every_steps": every})
    folder, watcher = train(config)
    assert [step for step, _ in watcher.glances] == shown
    if shown:
        assert set(watcher.glances[0][1]) >= {"generator/gan", "discriminator/fake"}
    assert [line["step"] for line in folder.read_metrics()] == (
        [5] if every == 1000 else list(range(every, 6, every)) + [5] * (every == 2)
    )


def test_quick_run_shows_and_saves_nothing_by_the_clock(train, picture_root):
    config = config_for(picture_root, steps=11, log={"every_steps": 1000})
    folder, watcher = train(config, seconds=1.0)
    assert watcher.glances == []
    assert not folder.now.exists()


def test_killed_runs_end_alike_whatever_the_clock_wrote(train, now, picture_root):
    often = {
        "checkpoint": {"every_steps": 5, "every_minutes": 2.0},
        "samples": {**GRIDS, "every_minutes": 1.0},
    }
    config = config_for(picture_root, steps=20, **often)
    whole, _ = train(config, "whole")
    killed, _ = train(config, "killed", at=4)
    for at in (7, 8, 13, 19):
        with pytest.raises(Killed):
            resume_run(killed.path, reporter=Minutes(now, at=at))
    resume_run(killed.path, reporter=Minutes(now))
    assert_same_end(whole.path, killed.path)
    assert files_of(whole) == files_of(killed)


# Long runs


def test_run_of_days_says_so_once_its_steps_are_known(train, picture_root):
    config = config_for(
        picture_root, steps=2000, samples={"every_steps": 0}, checkpoint={"every_minutes": 0.0}
    )
    folder, watcher = train(config, at=40)
    (said,) = [note for note in watcher.notes if note.startswith("this takes")]
    first, *rest = said.split("\n  ")
    assert first == "this takes about 1 day 9 hours here: 1,985 steps, 60.0 s each"
    assert f"`i2i train --preset {folder.config} --budget 8h`" in rest[0]


def test_short_run_does_not(train, picture_root):
    _, watcher = train(config_for(picture_root, steps=20, samples={"every_steps": 0}))
    assert not any(note.startswith("this takes") for note in watcher.notes)
