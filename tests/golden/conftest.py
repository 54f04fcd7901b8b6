"""Lists the recorded cases that no test claims; leaves the tests out where nothing is recorded."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from golden import all_cases, unclaimed  # noqa: E402

collect_ignore_glob = [] if all_cases() else ["test_golden_*.py"]


def pytest_collection_modifyitems(config, items):
    # a folder may record some kinds of cases only: a test without any is no test, not a skipped one
    empty = [item for item in items if item.name.endswith("[NOTSET]")]
    if empty:
        config.hook.pytest_deselected(items=empty)
        items[:] = [item for item in items if item not in empty]


def pytest_terminal_summary(terminalreporter):
    names = unclaimed()
    if names:
        terminalreporter.section("recorded cases that no test of this run claims")
        for name in names:
            terminalreporter.line(name)
