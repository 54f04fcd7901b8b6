"""The folder of recorded numbers itself."""

import importlib
from pathlib import Path

import pytest
from golden import FOLDER, all_cases, unclaimed


def test_every_recorded_case_has_its_file():
    cases = all_cases()
    if not cases:
        pytest.skip(f"no recorded numbers: {FOLDER / 'manifest.json'} is not there (I2I_GOLDEN)")
    missing = [case.name for case in cases if not (FOLDER / case.entry["file"]).is_file()]
    assert missing == []


def test_every_recorded_case_is_claimed_by_a_test():
    if not all_cases():
        pytest.skip(f"no recorded numbers: {FOLDER / 'manifest.json'} is not there (I2I_GOLDEN)")
    for path in sorted(Path(__file__).parent.glob("test_golden_*.py")):
        importlib.import_module(path.stem)  # claims its cases
    assert unclaimed() == []
