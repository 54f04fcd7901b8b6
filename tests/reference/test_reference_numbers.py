"""Networks and losses against our own recorded numbers."""

from __future__ import annotations

import json

import pytest
from reference_cases import CASES, FILE, compute

RECORDED = json.loads(FILE.read_text(encoding="ascii"))


def test_every_case_is_recorded() -> None:
    assert list(RECORDED) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_the_recorded_ones(name: str) -> None:
    computed = compute(name)
    assert list(computed) == list(RECORDED[name])
    for key, numbers in RECORDED[name].items():
        assert computed[key] == pytest.approx(numbers, rel=1e-7, abs=1e-10), key
