"""The command line, called inside the test's own process."""

from __future__ import annotations

import sys

import pytest
import torch

from i2icli.cli.app import main


def run_i2i(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Run a command and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["i2i", *(str(word) for word in words)])
    with torch.random.fork_rng(devices=[]):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
