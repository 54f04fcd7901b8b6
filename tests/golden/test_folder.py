"""The folder of recorded numbers itself."""

from __future__ import annotations

import pytest
from golden import FOLDER, all_cases


def test_every_recorded_case_has_its_file() -> None:
    cases = all_cases()
    if not cases:
        pytest.skip(f"no recorded numbers: {FOLDER / 'manifest.json'} is not there (I2I_GOLDEN)")
    missing = [case.name for case in cases if not (FOLDER / case.entry["file"]).is_file()]
    assert missing == []
