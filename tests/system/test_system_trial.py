"""Trials of two ways, and where their outcome is kept."""

import json
import platform
import time

import pytest
import torch

from i2icli.system import trial as trial_module
from i2icli.system.cores import Load
from i2icli.system.trial import Trial, forget_trials, try_once

CPU = torch.device("cpu")
QUIET, CROWDED = Load(0.1, 2, 2), Load(1.2, 2, 2)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    set_load(monkeypatch, QUIET)
    return tmp_path / "home"


def set_load(monkeypatch, before, during=None):
    class Watch:
        def look(self):
            return during or before

    monkeypatch.setattr(trial_module, "look_at_load", lambda: before)
    monkeypatch.setattr(trial_module, "LoadWatch", Watch)


def set_times(monkeypatch, first, second, clock="perf_counter"):
    """Let two ways take these seconds by a clock; the first call of each does not count."""
    now = [0.0]
    monkeypatch.setattr(time, clock, lambda: now[0])
    times = iter([9.0, *first]), iter([9.0, *second])

    def take(index):
        now[0] += next(times[index])

    return lambda: (lambda: take(0), lambda: take(1))


def ways():
    return lambda: None, lambda: None


def refuse():
    raise AssertionError("tried again")


def test_gain_is_the_ratio_of_the_least_times(monkeypatch):
    made = set_times(monkeypatch, [0.4, 0.3, 0.6, 0.5], [0.2, 0.9, 0.4, 0.5])
    trial = try_once({"what": "a"}, CPU, made)
    assert trial.gain == 1.5
    assert trial.seconds == ((0.4, 0.3), (0.2, 0.9))  # then it had taken long enough
    assert trial.spread == pytest.approx(0.7 / 2 / 0.55, abs=1e-3)


def test_one_timing_that_stands_alone_does_not_hide_a_gain(monkeypatch):
    usual, other = [0.84, 0.88, 0.86, 0.81, 0.73, 0.84], [0.71, 0.70, 0.72, 0.66, 0.72, 0.64]
    made = set_times(monkeypatch, [t / 50 for t in usual] * 4, [t / 50 for t in other] * 4)
    trial = try_once({"what": "a"}, CPU, made)
    assert trial.spread == pytest.approx((0.72 - 0.66) / 2 / 0.705, abs=1e-3)
    assert trial.is_gain


def test_short_ways_are_timed_more_often(monkeypatch):
    made = set_times(monkeypatch, [0.02] * 24, [0.01] * 24)
    trial = try_once({"what": "a"}, CPU, made)
    assert [len(times) for times in trial.seconds] == [24, 24]
    assert (trial.gain, trial.spread) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("gain", "spread", "is_gain"),
    [(1.02, 0.0, False), (1.04, 0.0, True), (1.04, 0.05, False), (1.3, 0.25, True)],
)
def test_gain_within_the_spread_is_none(gain, spread, is_gain):
    assert Trial(gain, spread=spread).is_gain is is_gain
    assert not Trial(None).is_gain


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (Trial(1.144), "1.14x in a trial"),
        (Trial(1.144, spread=0.03, others=0.1), "1.14x in a trial, 3% spread"),
        (
            Trial(0.9, spread=0.1, others=1.23, is_quiet=False),
            "0.90x in a trial, 10% spread, beside 1.2 busy core(s)",
        ),
        (Trial(None, why="too small"), "too small"),
    ],
)
def test_trial_is_described_by_gain_spread_and_neighbours(trial, words):
    assert trial.describe() == words


def test_trial_is_made_once():
    first = try_once({"what": "a"}, CPU, ways)
    assert first.others == 0.1
    assert try_once({"what": "a"}, CPU, refuse) == first


def test_trials_of_other_work_are_others():
    try_once({"what": "a"}, CPU, ways)
    with pytest.raises(AssertionError, match="tried again"):
        try_once({"what": "b"}, CPU, refuse)


def test_number_of_threads_makes_it_another_trial(monkeypatch):
    try_once({"what": "a"}, CPU, ways)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    with pytest.raises(AssertionError, match="tried again"):
        try_once({"what": "a"}, CPU, refuse)


@pytest.mark.parametrize(("before", "during"), [(CROWDED, QUIET), (QUIET, CROWDED)])
def test_trial_beside_other_programs_is_by_the_time_of_one_thread_and_not_kept(
    before, during, monkeypatch
):
    set_load(monkeypatch, before, during)
    threads = torch.get_num_threads()
    counts = []
    made = set_times(monkeypatch, [0.4] * 60, [0.2] * 60, clock="thread_time")

    def counted():
        first, second = made()
        return lambda: (counts.append(torch.get_num_threads()), first()), second

    trial = try_once({"what": "a"}, CPU, counted)
    assert (trial.gain, trial.is_quiet, trial.others) == (2.0, False, 1.2)
    assert trial.seconds[0] == (0.4,) * 24
    assert counts[-1] == 1
    assert torch.get_num_threads() == threads
    set_load(monkeypatch, QUIET)
    with pytest.raises(AssertionError, match="tried again"):
        try_once({"what": "a"}, CPU, refuse)


def test_what_a_quiet_machine_found_serves_a_crowded_one_too(monkeypatch):
    first = try_once({"what": "a"}, CPU, ways)
    set_load(monkeypatch, CROWDED)
    assert try_once({"what": "a"}, CPU, refuse) == first


def test_machine_that_does_not_say_its_load_counts_as_quiet(monkeypatch):
    set_load(monkeypatch, Load(None, 2, 2))
    first = try_once({"what": "a"}, CPU, ways)
    assert first.others is None
    assert try_once({"what": "a"}, CPU, refuse) == first


def test_gains_without_a_load_are_of_an_old_version_and_tried_again(home):
    try_once({"what": "a"}, CPU, ways)
    file = home / "cache" / "trials.json"
    (name,) = json.loads(file.read_text())
    file.write_text(json.dumps({name: 0.5, "another": 2.0}))
    with pytest.raises(AssertionError, match="tried again"):
        try_once({"what": "a"}, CPU, refuse)
    again = try_once({"what": "a"}, CPU, ways)
    (kept,) = json.loads(file.read_text()).values()
    assert (kept["gain"], kept["others"], kept["spread"]) == (again.gain, 0.1, again.spread)
    assert [tuple(times) for times in kept["seconds"]] == list(again.seconds)


def test_trials_of_this_machine_are_forgotten_and_no_others(home, monkeypatch):
    try_once({"what": "a"}, CPU, ways)
    with monkeypatch.context() as patch:
        patch.setattr(platform, "node", lambda: "another")
        kept = try_once({"what": "a"}, CPU, ways)
    assert forget_trials() == 1
    assert forget_trials() == 0
    with pytest.raises(AssertionError, match="tried again"):
        try_once({"what": "a"}, CPU, refuse)
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert try_once({"what": "a"}, CPU, refuse) == kept


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": "b"}', '{"a": {"gain": "b"}}'])
def test_spoilt_file_costs_a_trial_and_no_more(home, content):
    file = home / "cache" / "trials.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert try_once({"what": "a"}, CPU, ways).gain is not None
    try_once({"what": "a"}, CPU, refuse)


def test_folder_that_cannot_be_written_costs_a_trial_each_time(home):
    home.write_text("a file, no folder")
    assert try_once({"what": "a"}, CPU, ways).gain is not None
    with pytest.raises(AssertionError, match="tried again"):
        try_once({"what": "a"}, CPU, refuse)
