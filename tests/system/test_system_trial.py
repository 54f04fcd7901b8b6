"""Trials of two ways, and where their outcome is kept."""

import time

import pytest
import torch

from i2icli.system.trial import try_once

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def ways():
    return lambda: None, lambda: None


def refuse():
    raise AssertionError("tried again")


def test_gain_is_the_ratio_of_the_least_times(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    first, second = iter([9.0, 0.4, 0.3, 0.6, 0.5]), iter([9.0, 0.2, 0.9, 0.4, 0.5])

    def take(times):
        clock[0] += next(times) / 100

    # The first call of each, here 9.0, does not count.
    made = lambda: (lambda: take(first), lambda: take(second))  # noqa: E731
    assert try_once({"what": "a"}, CPU, made).gain == 1.5


def test_trial_is_made_once():
    first = try_once({"what": "a"}, CPU, ways)
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


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": "b"}'])
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
