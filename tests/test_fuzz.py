"""Damaged pictures, presets and archives are refused in a sentence, or read, in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import KINDS, run_cases

COUNTS = {"pictures": 3000, "presets": 500, "archives": 700}
SCRIPT = Path(__file__).parent / "kits" / "fuzzing.py"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_few_damaged_files_raise_nothing_else(kind):
    found = run_cases(kind, 0, 40)
    assert found["uncaught"] == []
    assert found["slowest"] < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("pictures", 3000), ("presets", 500), ("archives", 700)]
)
def test_many_damaged_files_raise_nothing_else_and_take_little(kind, count):
    command = [sys.executable, "-W", "ignore", str(SCRIPT), kind, "0", str(count)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["uncaught"] == []
    assert found["cases"] == count
    assert found["slowest"] < 10, "seconds"
    assert found["mib"] < 1024, "above the imports"
