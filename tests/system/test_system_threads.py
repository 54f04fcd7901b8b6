"""The number of torch's threads: by cores, by what the user said, by a trial beside others."""

import time

import pytest
import torch

from i2icli.system import threads
from i2icli.system.cores import Load
from i2icli.system.threads import limit_threads, threads_each, try_threads


class Torch:
    """torch's number of threads, and how long work takes with each."""

    def __init__(self, monkeypatch, number):
        self.number, self.clock, self.passes = number, 0.0, []
        self.seconds = {}
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.number)
        monkeypatch.setattr(torch, "set_num_threads", lambda n: setattr(self, "number", n))
        monkeypatch.setattr(time, "perf_counter", lambda: self.clock)

    def work(self):
        self.passes.append(self.number)
        self.clock += self.seconds[self.number]


@pytest.fixture
def four(monkeypatch):
    for name in threads._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Torch(monkeypatch, 4)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (4, 4), (64, 4)])
def test_torch_gets_no_more_threads_than_cores_nor_more_than_it_took(
    four, monkeypatch, cores, expected
):
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    limit_threads()
    assert four.number == expected


@pytest.mark.parametrize("name", threads._VARIABLES)
def test_threads_that_the_user_said_stay(four, monkeypatch, name):
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    monkeypatch.setenv(name, "4")
    limit_threads()
    assert four.number == 4


def test_processes_share_the_cores(four, monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    assert [threads_each(count) for count in (1, 2, 4, 9)] == [6, 3, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_each(2) == 5


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # A thread less pays off, where the others have a core to themselves then.
        ({4: 2.0, 3: 1.0, 2: 1.5}, 3),
        ({4: 2.0, 3: 1.2, 2: 1.0}, 2),
        # Fewer that are hardly faster would be too few once the others are gone.
        ({4: 1.05, 3: 1.0, 2: 1.0}, 4),
        ({4: 1.0, 3: 1.5, 2: 2.0}, 4),
    ],
)
def test_the_number_that_is_clearly_faster_beside_others_is_taken(four, seconds, expected):
    four.seconds = seconds
    trial = try_threads(four.work, Load(1.0, usable=4, cpus=4))
    assert trial.threads == expected
    assert trial.seconds == pytest.approx(seconds)
    assert four.number == 4


def test_short_work_is_repeated_for_each_timing_and_numbers_take_turns(four):
    four.seconds = {4: 0.01, 2: 0.02}
    trial = try_threads(four.work, Load(2.0, usable=4, cpus=4))
    turns = [n for n, before in zip(four.passes, [0, *four.passes], strict=False) if n != before]
    assert turns[:6] == [4, 2, 4, 2, 4, 2]
    assert four.passes.count(4) > 6 * 9
    assert trial.seconds == pytest.approx(four.seconds)


def test_a_trial_ends_after_the_round_that_used_up_its_time(four):
    four.seconds = {4: 2.0, 2: 2.0}
    try_threads(four.work, Load(2.0, usable=4, cpus=4))
    assert four.passes == [4, 2, 4, 2]


def test_a_machine_full_of_others_still_gets_a_thread(four):
    four.seconds = {4: 1.0, 2: 1.0, 1: 0.5}
    trial = try_threads(four.work, Load(4.0, usable=4, cpus=4))
    assert trial.threads == 1
    words = "2.00x as fast as 4, 2.00x as fast as 2 in a trial beside 4.0 busy core(s)"
    assert trial.describe() == words
