"""Writes a line of JSON for each test that pytest ran; loaded by gpu.py alone, with `-p`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """Take down how a test ended, with the first line of what it said and its numbers."""
    if report.passed and report.when != "call":
        return
    text = ""
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else str(report.longrepr)
    elif report.skipped:
        text = report.longrepr[2].removeprefix("Skipped: ")
    line = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "says": (text.strip().splitlines() or [""])[0],
        "numbers": dict(report.user_properties),
    }
    with Path(os.environ["I2I_GPU_REPORT"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
