"""Measure what each lever and setting saves: off against on, in turn; rows in results.md.

python benchmarks/levers.py                                   all rows, 128 x 128
python benchmarks/levers.py --size 256 --steps 5 --missing    those of today that are not there
python benchmarks/levers.py --preset cut --only recompute reuse_memory --precision float32
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import record
import torch

from i2icli.bench.run import BenchOptions, run_bench
from i2icli.config.sections import LeversConfig
from i2icli.errors import I2IError

HEADING = "## Levers"
COLUMNS = (
    "| date | machine | i2i, torch | command | step, off over on: median (quartiles), n | "
    "read to written, on over off | network alone, on over off | "
    "training memory MiB, off -> on | GFLOP a step, off -> on | s a step, on: median |"
)
LEVERS = tuple(LeversConfig.model_fields)
SETTINGS = ("channels_last", "recompute", "reuse_memory", "fused_optimizer", "compile")
CUDA_SETTINGS = ("cuda_graphs", "prefetch")
PRESETS = ("qs-attn-global", "qs-attn-local", "cut", "fastcut", "cyclegan")
PRECISIONS = ("float32", "bfloat16")
# A lever that one family of methods has alone: others would show noise.
ONLY_IN = {
    "selected_rows": ("qs-attn-global", "qs-attn-local"),
    "reuse_features": ("qs-attn-global", "qs-attn-local", "cut", "fastcut"),
    "tapped_rows": ("qs-attn-global", "qs-attn-local", "cut", "fastcut"),
}
# These share all else with those above them.
ELSEWHERE = {
    "qs-attn-local": ("selected_rows", "reuse_features"),
    "fastcut": ("reuse_features", "batch_passes", "freeze_others", "recompute"),
    "cyclegan": ("batch_passes", "lean_norm", "freeze_others", *SETTINGS, *CUDA_SETTINGS),
}
# Measured on a quiet machine of two threads, float32, 256 x 256: seconds a step. What a row takes
# besides steps and passes is the start of processes.
SECONDS = {"qs-attn-global": 4.9, "qs-attn-local": 6.0, "cut": 4.2, "fastcut": 2.3, "cyclegan": 9.0}
STARTS = 45.0
COMPILING = 240.0


@dataclass(frozen=True)
class Row:
    """One comparison: a preset with one thing off, against the same with it on."""

    preset: str
    name: str
    precision: str

    @property
    def key(self) -> str:
        """Where the configuration says it."""
        return f"runtime.levers.{self.name}" if self.name in LEVERS else f"runtime.{self.name}"

    def setting(self, *, is_on: bool) -> str:
        """Return it as `--set` takes it."""
        words = ("false", "true") if self.name in LEVERS else ("off", "on")
        return f"{self.key}={words[is_on]}"

    def command(self, size: int, steps: int) -> str:
        """Return the command that measures it."""
        return (
            f"i2i bench --preset {self.preset} --size {size} --steps {steps} "
            f"--precision {self.precision} --set {self.setting(is_on=True)} "
            f"--vary {self.setting(is_on=False)}"
        )

    def estimate(self, size: int, steps: int, warmup: int) -> float:
        """Return about how many seconds it takes on a CPU of two threads."""
        # Each variant: three steps and a counted one, then the rounds, and as long to translate.
        count = 2 * (4 + warmup + 1.5 * steps)
        compiling = COMPILING if self.name == "compile" else 0.0
        return STARTS + compiling + count * SECONDS.get(self.preset, 5.0) * (size / 256) ** 2


def main() -> None:
    """Measure row after row; each is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", nargs="*", default=PRESETS)
    parser.add_argument("--only", nargs="*", default=None, metavar="LEVER", help="none: all")
    parser.add_argument("--precision", nargs="*", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--size", type=int, default=128, help="side of a crop; 128, or 256 to wait")
    parser.add_argument("--steps", type=int, default=5, help="rounds that count")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before, that do not")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for both")
    parser.add_argument("--missing", action="store_true", help="pass over rows of today")
    parser.add_argument("--list", action="store_true", help="say what would run, and stop")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the file of the table")
    asked = parser.parse_args()
    due = list(wanted(asked))
    say(f"{len(due)} rows, about {sum(seconds for _, _, seconds in due) / 60:.0f} minutes")
    for number, (row, command, seconds) in enumerate(due, 1):
        say(f"{number}/{len(due)}, about {seconds:.0f} s: {command}")
        if not asked.list:
            measure(asked, row, command)


def wanted(asked: argparse.Namespace) -> Iterator[tuple[Row, str, float]]:
    """Yield what is to be measured: the row, its command, and about how long it takes."""
    done = {(cells[0], cells[3].strip("`")) for cells in record.rows(asked.out, HEADING)}
    for row in rows(asked.preset, asked.only, asked.precision, is_cuda=torch.cuda.is_available()):
        command = row.command(asked.size, asked.steps)
        command = " ".join([command, *(f"--set {text}" for text in asked.set)])
        if not (asked.missing and (today(), command) in done):
            yield row, command, row.estimate(asked.size, asked.steps, asked.warmup)


def rows(
    presets: list[str], only: list[str] | None, precisions: list[str], *, is_cuda: bool
) -> Iterator[Row]:
    """Yield the rows that say something: levers where they matter, unless they are asked for.

    Raises:
        SystemExit: for a lever that there is not.
    """
    known = (*LEVERS, *SETTINGS, *(CUDA_SETTINGS if is_cuda else ()))
    if unknown := sorted({*(only or ())} - {*known}):
        raise SystemExit(
            f"no lever here is called {', '.join(unknown)}; there are {', '.join(known)}"
        )
    for preset in presets:
        for name in known:
            matters = preset in ONLY_IN.get(name, presets)
            matters = matters and name in ELSEWHERE.get(preset, known)
            if name in only if only else matters:
                yield from (Row(preset, name, precision) for precision in precisions)


def measure(asked: argparse.Namespace, row: Row, command: str) -> None:
    """Measure one row and write it; one that fails is said and passed over."""
    options = BenchOptions(
        preset=row.preset,
        overrides=(*asked.set, row.setting(is_on=True)),
        vary=(row.setting(is_on=False),),
        precision=row.precision,
        size=asked.size,
        steps=asked.steps,
        warmup=asked.warmup,
        pictures=2,
    )
    try:
        report = run_bench(options).as_document()
    except I2IError as error:
        say(f"failed: {error}")
        return
    record.add_row(asked.out, HEADING, COLUMNS, cells(command, report))


def cells(command: str, report: dict[str, Any]) -> list[str]:
    """Return the cells of a row: the first variant has the lever on, the other off."""
    off, versions = report["against"], report["versions"]
    speedup = off["speedup"]
    memory = (side["peak_memory_bytes"] for side in (off, report))
    return [
        today(),
        f"{record.machine(report['device_name'], report['threads'])}, {report['precision']}",
        f"{versions['i2i']}, {versions['torch']}",
        f"`{command}`",
        *(record.factor(speedup[kind]) for kind in ("step", "translate", "network")),
        " -> ".join("unknown" if m is None else f"{m / 2**20:.0f}" for m in memory),
        " -> ".join(f"{side['flops_per_step'] / 1e9:.4g}" for side in (off, report)),
        f"{report['step']['median_s']:.3g}",
    ]


def today() -> str:
    """Return the date as the table has it."""
    return time.strftime("%Y-%m-%d")


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
