"""Where slow tests find the real pretrained weights and real pictures, or why they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from i2icli.errors import WeightsError
from i2icli.pretrained.weights import find_weights

# Read while tests are collected, before they get a home of their own.
_HOME = os.environ.get("I2I_HOME")
SHARED = Path(os.environ.get("I2I_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@cache
def real_home(*names: str) -> Path:
    """Return a home whose weights folder holds `names`; skip the test where there is none."""
    for home in _candidates():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("I2I_HOME", str(home))
            try:
                for name in names:
                    find_weights(name)
            except WeightsError:
                continue
            return home
    pytest.skip(f"no weights {', '.join(names)} in I2I_HOME, and no {_tool()} that makes them")


def real_pictures(*parts: str) -> list[Path]:
    """Return folders of the shared real pictures; skip the test where there are none."""
    folders = [SHARED / "data" / part for part in parts]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip(f"no real pictures in {SHARED / 'data'}: name the folder with I2I_SHARED")
    return folders


def _candidates() -> list[Path]:
    found = [Path(_HOME)] if _HOME else []
    made = _made()
    return found if made is None else [*found, made]


@cache
def _made() -> Path | None:
    """Let the shared tool make the weights, once a session, where I2I_HOME has none."""
    if _HOME and any((Path(_HOME) / "weights").glob("*.p*")):
        return None
    if not _tool().is_file():
        return None
    home = Path(tempfile.mkdtemp(prefix="i2i-real-weights-"))
    command = [sys.executable, str(_tool()), str(home / "weights")]
    done = subprocess.run(command, capture_output=True, check=False)
    return home if done.returncode == 0 else None


def _tool() -> Path:
    return SHARED / "tools" / "fetch_weights.py"
