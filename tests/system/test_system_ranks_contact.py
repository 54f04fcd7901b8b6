"""What a process says and does when it, or another one, fails."""

import pytest
import torch.distributed as dist

from i2icli.errors import DataError, LostContactError
from i2icli.system import ranks
from i2icli.system.ranks import ALONE, Ranks


def fail():
    raise DataError("the disk is full")


def two_ranks():
    """Return both processes of a run that share words, but exchange no tensors."""
    store = dist.HashStore()
    return Ranks(0, 2, store=store), Ranks(1, 2, store=store)


def test_rank_0_that_fails_alone_says_why_and_the_other_ends_silently():
    first, second = two_ranks()
    with pytest.raises(DataError):
        first.alone(fail)
    second.advice = "Go on with `i2i resume RUN`."
    with pytest.raises(LostContactError) as lost:
        second.alone(fail)
    assert str(lost.value) == (
        "another of the 2 processes of this run ended, or did not answer for 60 s (rank 0 "
        "failed). Nothing was saved since the last checkpoint, which is whole. Go on with "
        "`i2i resume RUN`."
    )
    assert not second.claims_to_speak()
    assert first.claims_to_speak()


def test_rank_0_without_sign_of_life_is_given_up(monkeypatch):
    monkeypatch.setattr(ranks, "_SILENCE", 0.01)
    _, second = two_ranks()
    with pytest.raises(LostContactError, match="rank 0 gives no sign of life"):
        second.alone(fail)


def test_single_process_works_and_speaks_for_itself():
    assert ALONE.alone(lambda: 3) == 3
    assert ALONE.claims_to_speak()
    assert ALONE.collect("x") == ALONE.collect_on_main("x") == ["x"]
    assert ALONE.average({"loss": 0.5}) == {"loss": 0.5}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, False),  # a scheduler's own words
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, True),
    ],
)
def test_processes_are_told_by_their_environment(monkeypatch, environment, expected):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks.is_one_of_many() is expected
