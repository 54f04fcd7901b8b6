"""Lists the recorded cases that no test claims; leaves the tests out where nothing is recorded."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from golden import all_cases, unclaimed  # noqa: E402

collect_ignore_glob = [] if all_cases() else ["test_golden_*.py"]


def pytest_terminal_summary(terminalreporter):
    names = unclaimed()
    if names:
        terminalreporter.section("recorded cases that no test of this run claims")
        for name in names:
            terminalreporter.line(name)
