"""Recorded numbers of the released codes, for the tests of this folder.

How to use it, in a module `test_golden_<subject>.py` of this folder:

    from golden import Case, golden_cases

    @pytest.mark.parametrize("case", golden_cases(r"patchnce_"))
    def test_patch_nce_gives_the_recorded_losses(case: Case) -> None:
        ...

- `golden_cases(pattern)` returns one pytest parameter a case whose name the regular expression
  matches from its start; its id is the case's name. Those cases count as claimed; the others are
  listed by name at the end of the run. One test a case: check all of it in that test.
- `Case` has `name`, `options`, `tolerance`, `notes`, `entry` (the whole manifest entry), `tensors`
  (loaded once), `state_dict(prefix)`, `numbers(pattern)` and `close(actual, name)`.
- `FOLDER` is where the numbers lie: the environment variable I2I_GOLDEN, or shared/golden beside
  the checkout. Without it no case exists, and one test of this folder skips with that reason.

Sizes, options and tolerances come from the manifest alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "golden"
FOLDER = Path(os.environ.get("I2I_GOLDEN") or _BESIDE)
CLAIMED: set[str] = set()


@dataclass(frozen=True)
class Case:
    """One recorded case of the manifest."""

    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.entry["case"])

    @property
    def options(self) -> Mapping[str, Any]:
        return self.entry.get("options", {})

    @property
    def tolerance(self) -> Mapping[str, Any]:
        return self.entry.get("tolerance", {})

    @property
    def notes(self) -> list[str]:
        return list(self.entry.get("notes", []))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the case by name."""
        from safetensors.torch import load_file

        return load_file(FOLDER / self.entry["file"])

    def state_dict(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose name starts with `prefix`, without it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def numbers(self, pattern: str) -> list[int]:
        """Return, ascending, the number in the one group of `pattern` for each tensor it fits."""
        found = (re.fullmatch(pattern, name) for name in self.tensors)
        return sorted({int(match[1]) for match in found if match})

    def close(self, actual: Tensor, name: str) -> None:
        """Assert that `actual` equals the tensor `name` within the case's tolerance."""
        self.close_to(actual, self.tensors[name], name)

    def close_to(self, actual: Tensor, expected: Tensor, name: str) -> None:
        """Assert that `actual` equals `expected` within the case's tolerance."""
        exact = bool(self.tolerance.get("exact", False))
        torch.testing.assert_close(
            actual.detach(),
            expected,
            rtol=0.0 if exact else float(self.tolerance["rtol"]),
            atol=0.0 if exact else float(self.tolerance["atol"]),
            check_dtype=False,
            msg=lambda difference: f"{self.name}: {name}: {difference}",
        )


def all_cases() -> list[Case]:
    """Return every case of the manifest; none without the folder."""
    manifest = FOLDER / "manifest.json"
    if not manifest.is_file():
        return []
    return [Case(entry) for entry in json.loads(manifest.read_text(encoding="utf-8"))["cases"]]


def golden_cases(pattern: str) -> list[Any]:
    """Claim the cases whose name `pattern` matches, and return them as pytest parameters."""
    cases = [case for case in all_cases() if re.match(pattern, case.name)]
    CLAIMED.update(case.name for case in cases)
    return [pytest.param(case, id=case.name) for case in cases]


def unclaimed() -> list[str]:
    """Return the names of the cases that no test collected so far claims."""
    return [case.name for case in all_cases() if case.name not in CLAIMED]
