"""The process that makes one measurement: `python -m i2icli.engine.bench_child TASK.json`.

Each measurement has a process of its own, so that no peak of memory, warm cache or fragmented
heap of one shows in another. What to do stands in a file, and so does the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torchvision.models  # noqa: F401 - some networks need it; it is no part of their memory

from i2icli.engine.bench_measure import (
    Result,
    measure_cost,
    measure_steps,
    measure_translation,
    resident_bytes,
)
from i2icli.engine.bench_rig import Variant
from i2icli.errors import I2IError


def perform(task: Mapping[str, Any], *, imports_bytes: int | None) -> Result:
    """Make the measurement that `task["kind"]` names: cost, steps or translation."""
    variants = [Variant(**variant) for variant in task["variants"]]
    if task["kind"] == "cost":
        return measure_cost(variants[0], imports_bytes=imports_bytes)
    if task["kind"] == "steps":
        return measure_steps(variants, steps=task["steps"], warmup=task["warmup"])
    return measure_translation(
        variants,
        pictures=[Path(path) for path in task["pictures"]],
        out=Path(task["out"]),
        repeats=task["repeats"],
        batch_size=task["batch_size"],
        imports_bytes=imports_bytes,
    )


def main() -> None:
    """Read the task, make the measurement, write the answer beside it."""
    imports_bytes = resident_bytes("VmRSS")
    path = Path(sys.argv[1])
    try:
        answer = perform(json.loads(path.read_text(encoding="utf-8")), imports_bytes=imports_bytes)
    except I2IError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    path.with_suffix(".answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
