"""Measure presets at several sizes with `i2i bench` and add a row of each to results.md.

python benchmarks/table.py                              the default rows, with n = 10
python benchmarks/table.py --steps 5 cut:128 demo:64:bfloat16    PRESET:SIZE[:PRECISION]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import record

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ("demo:64", "fastcut:128", "cut:128", "qs-attn-global:128", "cyclegan:128")
HEADING = "# Results"
COLUMNS = (
    "| date | machine | i2i, torch | command | step s: min, median (quartiles), n | "
    "translate images/s: median (quartiles) | memory MiB | GFLOP a step | "
    "limit GFLOP/s | share of it: median (quartiles) |"
)


def main() -> None:
    """Measure row after row; each is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=DEFAULT, metavar="PRESET:SIZE[:PRECISION]")
    parser.add_argument("--steps", type=int, default=10, help="repeats that count")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the table to add to")
    asked = parser.parse_args()
    for row in asked.rows:
        words = command(row, asked.steps)
        record.add_row(asked.out, HEADING, COLUMNS, cells(words, measure(words)))


def command(row: str, steps: int) -> list[str]:
    """Return what `i2i` is told for PRESET:SIZE[:PRECISION]."""
    preset, size, *precision = row.split(":")
    words = ["bench", "--preset", preset, "--size", size, "--steps", str(steps)]
    return [*words, *(["--precision", precision[0]] if precision else [])]


def measure(words: list[str]) -> dict[str, Any]:
    """Run `i2i` and return its report."""
    # This very copy of the package, whichever is installed.
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    ended = subprocess.run(
        [sys.executable, "-m", "i2icli", *words, "--json"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def cells(words: list[str], report: dict[str, Any]) -> list[str]:
    """Return the cells of a row; every number with its repeats and spread."""
    step, speed, share = report["step"], report["translate"], report["share_of_limit"]
    versions = report["versions"]
    device = record.machine(report["device_name"], report["threads"])
    memory, quartiles = report["peak_memory_bytes"], record.pair(step["quartiles_s"])
    return [
        time.strftime("%Y-%m-%d"),
        f"{device}, {report['precision']}",
        f"{versions['i2i']}, {versions['torch']}",
        f"`i2i {' '.join(words)}`",
        f"{step['min_s']:.3g}, {step['median_s']:.3g} ({quartiles}), {step['n']}",
        f"{speed['images_per_s']:.3g} ({record.pair(speed['quartiles_images_per_s'])})",
        "unknown" if memory is None else f"{memory / 2**20:.0f}",
        f"{report['flops_per_step'] / 1e9:.4g}",
        f"{report['limit_gflops']:.0f}",
        f"{share['median']:.0%} ({share['quartiles'][0]:.0%} to {share['quartiles'][1]:.0%})",
    ]


if __name__ == "__main__":
    main()
