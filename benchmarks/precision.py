"""Train the demo set in several precisions and seeds, and compare what came out; see README.md.

python benchmarks/precision.py FOLDER --seeds 0 1 2 float32 bfloat16
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

_METRICS = ("error inside the objects", "error in all", "FID")


def main() -> None:
    """Train what is not trained yet, measure it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs lie; a second call goes on there")
    parser.add_argument("precisions", nargs="+", help="for example float32 bfloat16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="fewer than the preset's")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for every run")
    asked = parser.parse_args()
    found = {
        precision: [measured(asked, precision, seed) for seed in asked.seeds]
        for precision in asked.precisions
    }
    sys.stdout.write(table(found, asked.seeds))


def measured(asked: argparse.Namespace, precision: str, seed: int) -> dict[str, float]:
    """Return the numbers of one run, trained first where it is not there or not finished."""
    run = asked.folder / f"{precision}-{seed}"
    if (run / "config.toml").is_file():
        i2i("resume", str(run))
    else:
        settings = [f"runtime.precision={precision}", "eval.every_steps=0", *asked.set]
        overrides = [word for setting in settings for word in ("--set", setting)]
        steps = ["--steps", str(asked.steps)] if asked.steps else []
        words = ["--preset", "demo", "--seed", str(seed), "--run-dir", str(run)]
        i2i("train", *words, *steps, *overrides)
    metrics = json.loads(i2i("eval", str(run), "--truth-error", "--fid", "--json"))["metrics"]
    truth, fid = metrics["truth"], metrics["fid"]
    values = truth["parts"]["inside"], truth["value"], fid["value"]
    return dict(zip(_METRICS, values, strict=True))


def i2i(*words: str) -> str:
    """Run a command of i2i to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "i2icli", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def table(found: dict[str, list[dict[str, Any]]], seeds: list[int]) -> str:
    """Return Markdown: a row a precision and metric, each seed and the mean with its spread."""
    heads = ["precision", "metric", *(f"seed {seed}" for seed in seeds), "mean", "deviation"]
    lines = [heads, ["---"] * len(heads)]
    for precision, runs in found.items():
        for title in _METRICS:
            values = [run[title] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            numbers = [*values, statistics.fmean(values), spread]
            lines.append([precision, title, *(f"{number:.4g}" for number in numbers)])
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    main()
