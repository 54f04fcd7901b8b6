"""Measure presets at several sizes with `i2i bench` and add a row of each to results.md.

python benchmarks/table.py                              the default rows, with n = 10
python benchmarks/table.py --steps 5 cut:128 demo:64:bfloat16    PRESET:SIZE[:PRECISION]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.md")
ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ("demo:64", "fastcut:128", "cut:128", "qs-attn-global:128", "cyclegan:128")
HEAD = (
    "| date | machine | i2i, torch | command | step s: min, median (quartiles), n | "
    "translate images/s: median (quartiles) | memory MiB | GFLOP a step | "
    "limit GFLOP/s | share of it: median (quartiles) |"
)


def main() -> None:
    """Measure row after row; each is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=DEFAULT, metavar="PRESET:SIZE[:PRECISION]")
    parser.add_argument("--steps", type=int, default=10, help="repeats that count")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the table to add to")
    asked = parser.parse_args()
    for row in asked.rows:
        words = command(row, asked.steps)
        add_row(asked.out, words, measure(words))


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


def add_row(path: Path, words: list[str], report: dict[str, Any]) -> None:
    """Add one measurement to the table, which is made where it is not there."""
    if not path.exists():
        rule = "|---" * HEAD.count(" | ") + "|---|"
        path.write_text(f"# Results\n\n{HEAD}\n{rule}\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"| {' | '.join(cells(words, report))} |\n")


def cells(words: list[str], report: dict[str, Any]) -> list[str]:
    """Return the cells of a row; every number with its repeats and spread."""
    step, speed, share = report["step"], report["translate"], report["share_of_limit"]
    versions = report["versions"]
    device = report["device_name"] or f"{processor()}, {report['threads']} threads"
    memory = report["peak_memory_bytes"]
    return [
        time.strftime("%Y-%m-%d"),
        f"{device}, {report['precision']}",
        f"{versions['i2i']}, {versions['torch']}",
        f"`i2i {' '.join(words)}`",
        f"{step['min_s']:.3g}, {step['median_s']:.3g} ({pair(step['quartiles_s'])}), {step['n']}",
        f"{speed['images_per_s']:.3g} ({pair(speed['quartiles_images_per_s'])})",
        "unknown" if memory is None else f"{memory / 2**20:.0f}",
        f"{report['flops_per_step'] / 1e9:.4g}",
        f"{report['limit_gflops']:.0f}",
        f"{share['median']:.0%} ({share['quartiles'][0]:.0%} to {share['quartiles'][1]:.0%})",
    ]


def pair(quartiles: list[float]) -> str:
    """Return both quartiles as text."""
    return f"{quartiles[0]:.3g} to {quartiles[1]:.3g}"


def processor() -> str:
    """Return the processor as it names itself."""
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
