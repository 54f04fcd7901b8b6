"""Two processes on half batches do what one does on whole ones, in float64."""

import sys
from pathlib import Path

import pytest
import torch
from ranks_equality import CASES, STEPS

from i2icli.system.messages import collect_messages
from i2icli.system.processes.launch import run_in_processes

TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train every case both ways; return what each rank, and one alone, came to."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).parents[1] / "kits" / "ranks_equality.py"
    notes = collect_messages()
    code = run_in_processes([sys.executable, str(script), str(folder)], 2)
    assert (code, notes) == (0, [])
    parts = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return {
        "ranks": [part["shared"] for part in parts],
        "exchange": [part["exchange"] for part in parts],
        "whole": {case: run for part in parts for case, run in part["whole"].items()},
    }


@pytest.mark.parametrize("case", list(CASES))
def test_two_ranks_have_the_losses_of_one(trained, case):
    whole, shared = trained["whole"][case]["losses"], trained["ranks"][0][case]["losses"]
    assert len(whole) == len(shared) == STEPS
    for ours, theirs in zip(shared, whole, strict=True):
        assert ours == pytest.approx(theirs, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("case", list(CASES))
def test_two_ranks_come_to_the_weights_of_one(trained, case):
    whole, shared = trained["whole"][case], trained["ranks"][0][case]
    assert list(whole["weights"]) == list(shared["weights"])
    for name, value in whole["weights"].items():
        difference = (value - shared["weights"][name]).abs().max()
        assert difference <= TOLERANCE, name
    assert whole["ungraded"] == shared["ungraded"]


@pytest.mark.parametrize("case", list(CASES))
def test_both_ranks_have_the_same_weights_and_draws(trained, case):
    first, second = (ranks[case] for ranks in trained["ranks"])
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    assert torch.equal(first["draws"], second["draws"])


def test_weight_that_one_rank_missed_counts_as_zero_there(trained):
    for rank in (0, 1):
        both, first, neither = trained["exchange"][rank]["gradients"]
        assert both.tolist() == [1.5, 1.5]
        assert first.tolist() == [2.0, 2.0]
        assert neither is None


def test_gathered_rows_are_in_order_and_send_gradient_back(trained):
    for rank, expected in enumerate((2.0, 20.0)):
        exchange = trained["exchange"][rank]
        assert exchange["gathered"] == [0.0, 1.0]
        assert exchange["row_gradient"].tolist() == [expected]


def test_ranks_agree_on_what_one_of_them_knows(trained):
    for exchange in trained["exchange"]:
        assert exchange["any"] == [False, True, True]
        assert exchange["alone"] == "from 0"
        assert exchange["collected"] == [0, 1]
        assert sorted(exchange["first_to_fail"]) == [False, True]
