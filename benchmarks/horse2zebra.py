"""Train presets on real pictures at their best settings, measure speed and FID; see README.md.

python benchmarks/horse2zebra.py horse2zebra/ --out runs/h2z --hours 12 --record

Started again with the same folder it goes on where it was: measurements that are there are kept,
runs are resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import record
import torch

from i2icli.version import __version__

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## Runs on real pictures"
COLUMNS = (
    "| date | machine | i2i, torch | preset, settings | steps | images/s while training: "
    "median (quartiles), n | s a step at batch 1, 16 | share of the limit, step at 1, 16; "
    "network at 16 | training memory MiB at 1, 16 | "
    "measured | at the last checkpoint | best, at step |"
)
# The paper's way to measure, of each preset.
PROTOCOLS = {"qs-attn-global": "qs-attn", "qs-attn-local": "qs-attn", "cut": "cut"}
BATCHES = (1, 16)
PAUSE = 2.0  # seconds between two looks at a run
GRACE = 600.0  # seconds for a run to save and end


def main() -> None:
    """Measure, train and measure again, preset after preset; each part is kept when it is done."""
    asked = parse()
    asked.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for number, preset in enumerate(asked.preset):
        for batch in asked.bench_batch:
            bench(asked, preset, batch)
        # Every run gets an equal share of the time that is left.
        left = asked.hours * 3600 - (time.monotonic() - began)
        share = left / (len(asked.preset) - number)
        run = asked.out / preset
        train(asked, preset, run, seconds=share)
        evaluate(asked, preset, run)
        found = summary(asked, preset, run)
        write(asked.out / f"{preset}-summary.json", found)
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        if asked.record:
            record.add_row(asked.results, HEADING, COLUMNS, cells(asked, preset, found))


def parse() -> argparse.Namespace:
    """Return what was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with trainA, trainB, testA, testB")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and measurements")
    parser.add_argument("--preset", nargs="+", default=["qs-attn-global", "cut"])
    parser.add_argument("--hours", type=float, default=12.0, help="to train, all presets together")
    parser.add_argument("--steps", type=int, default=None, help="a run; none: the preset's")
    parser.add_argument("--keep-every", type=int, default=20000, help="steps between checkpoints")
    parser.add_argument("--precision", default=None, help="none: bfloat16 with a GPU, else float32")
    parser.add_argument("--metric", default="fid", help="of `i2i eval`: fid, kid, truth-error")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--bench-batch", nargs="*", type=int, default=list(BATCHES))
    parser.add_argument("--bench-steps", type=int, default=20)
    parser.add_argument("--record", action="store_true", help="add rows to the table")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="file of the table")
    asked = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    asked.precision = asked.precision or ("bfloat16" if has_gpu else "float32")
    # What `auto` leaves off for runs whose length it does not know.
    asked.graphs = has_gpu
    return asked


def settings(asked: argparse.Namespace) -> list[str]:
    """Return the words that runs and measurements share."""
    words = [f"runtime.precision={asked.precision}", *asked.set]
    return [word for text in words for word in ("--set", text)]


def bench(asked: argparse.Namespace, preset: str, batch: int) -> None:
    """Measure a step, the generator and memory; with a GPU against the same without graphs."""
    path = asked.out / f"{preset}-bench-{batch}.json"
    if path.is_file():
        return
    words = ["bench", "--preset", preset, "--batch", str(batch), "--json"]
    words += ["--steps", str(asked.bench_steps), *settings(asked)]
    if asked.graphs:
        words += ["--set", "runtime.cuda_graphs=on", "--vary", "runtime.cuda_graphs=off"]
    report = ask(words)
    if report is not None:
        write(path, report)


def train(asked: argparse.Namespace, preset: str, run: Path, *, seconds: float) -> None:
    """Start the run or go on with it; end it, saved, when its time is over."""
    steps = [] if asked.steps is None else ["--steps", str(asked.steps)]
    if (run / "checkpoints" / "last.pt").is_file():
        words = ["resume", str(run), *steps]
    else:
        words = ["train", "--preset", preset, "--data", str(asked.data), "--run-dir", str(run)]
        words += [*steps, "--set", f"checkpoint.keep_every_steps={asked.keep_every}"]
        words += settings(asked)
    say(words)
    process = subprocess.Popen(command(words), env=environment())
    deadline = time.monotonic() + seconds
    log = run / "metrics.jsonl"
    # Before its first line a run may not be listening yet.
    while process.poll() is None and (
        time.monotonic() < deadline or not (log.is_file() and log.stat().st_size)
    ):
        time.sleep(PAUSE)
    if process.poll() is None:
        sys.stderr.write("the time is over: the run saves and ends\n")
        process.send_signal(signal.SIGTERM)
        process.wait(GRACE)
    elif process.returncode != 0:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")


def evaluate(asked: argparse.Namespace, preset: str, run: Path) -> None:
    """Measure every kept checkpoint by the paper's protocol, again where there are new ones."""
    path = asked.out / f"{preset}-{asked.metric}.json"
    there = sorted(each.name for each in (run / "checkpoints").glob("*.pt"))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["files"] == there:
        return
    words = ["eval", str(run), f"--{asked.metric}", "--all-checkpoints", "--json"]
    if asked.metric == "fid" and preset in PROTOCOLS:
        words += ["--protocol", PROTOCOLS[preset]]
    report = ask(words)
    if report is not None:
        write(path, {**report, "files": there})


def summary(asked: argparse.Namespace, preset: str, run: Path) -> dict[str, Any]:
    """Put together what is there of a preset; parts that failed are None."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    # The first interval warms up, what ends early is short.
    kept = [line for line in map(json.loads, lines) if "images_per_s" in line]
    whole = [line for line in kept if not line.get("partial")][1:] or kept
    rates = [line["images_per_s"] for line in whole]
    return {
        "preset": preset,
        "precision": asked.precision,
        "settings": asked.set,
        "step": kept[-1]["step"],
        "seconds": kept[-1]["seconds"],
        "images_per_s": {
            "median": statistics.median(rates),
            "quartiles": statistics.quantiles(rates, n=4)[::2] if len(rates) > 1 else rates * 2,
            "n": len(rates),
        },
        "bench": {batch: bench_facts(asked.out, preset, batch) for batch in asked.bench_batch},
        "metric": asked.metric,
        "checkpoints": measured(asked.out / f"{preset}-{asked.metric}.json"),
    }


def bench_facts(out: Path, preset: str, batch: int) -> dict[str, Any] | None:
    """Return of a measurement what a table wants; None where it failed."""
    path = out / f"{preset}-bench-{batch}.json"
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    graphs = report.get("against", {}).get("speedup", {}).get("step")
    return {
        "step_s": report["step"]["median_s"],
        "images_per_s": batch / report["step"]["median_s"],
        "share_of_limit": report["share_of_limit"]["median"],
        "network_share_of_limit": report["translate"]["network"]["share_of_limit"]["median"],
        "network_images_per_s": report["translate"]["network"]["images_per_s"],
        "memory_bytes": report["peak_memory_bytes"],
        "limit_gflops": report["limit_gflops"],
        "flops_per_step": report["flops_per_step"],
        "without_graphs": graphs and graphs["median"],
        "device_name": report["device_name"],
        "threads": report["threads"],
    }


def measured(path: Path) -> list[tuple[int, float]] | None:
    """Return step and number of every checkpoint that was measured, in order."""
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    found = {}
    for each in report["checkpoints"]:
        (metric,) = each["metrics"].values()
        found[each["about"]["step"]] = metric["value"]
    return sorted(found.items())


def cells(asked: argparse.Namespace, preset: str, found: Mapping[str, Any]) -> list[str]:
    """Return the cells of the row."""
    benches = [each for each in found["bench"].values() if each]
    first = benches[0] if benches else {"device_name": "", "threads": torch.get_num_threads()}
    rates, numbers = found["images_per_s"], found["checkpoints"]
    shares = ", ".join(f"{each['share_of_limit']:.0%}" for each in benches)
    network = f"; {benches[-1]['network_share_of_limit']:.0%}" if benches else ""
    memory = [each["memory_bytes"] for each in benches]
    best = min(numbers, key=lambda number: number[1]) if numbers else None
    machine = record.machine(first["device_name"], first["threads"])
    return [
        time.strftime("%Y-%m-%d"),
        f"{machine}, {found['precision']}",
        f"{__version__}, {torch.__version__}",
        " ".join([preset, *(f"`{text}`" for text in asked.set)]),
        str(found["step"]),
        f"{rates['median']:.3g} ({record.pair(rates['quartiles'])}), {rates['n']}",
        ", ".join(f"{each['step_s']:.3g}" for each in benches),
        shares + network,
        ", ".join("unknown" if m is None else f"{m / 2**20:.0f}" for m in memory),
        f"{asked.metric}, {PROTOCOLS.get(preset, 'none')}"
        if asked.metric == "fid"
        else asked.metric,
        f"{numbers[-1][1]:.4g}" if numbers else "not measured",
        f"{best[1]:.4g} at {best[0]}" if best else "not measured",
    ]


def ask(words: Sequence[str]) -> dict[str, Any] | None:
    """Run a command of `i2i` that prints JSON; None where it failed, after saying so."""
    say(words)
    ended = subprocess.run(
        command(words), env=environment(), stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode != 0:
        sys.stderr.write(f"that failed with {ended.returncode}; started again, it is tried again\n")
        return None
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def command(words: Sequence[str]) -> list[str]:
    """Return the command for this Python."""
    return [sys.executable, "-m", "i2icli", *words]


def environment() -> dict[str, str]:
    """Return one that finds this very copy of the package, whichever is installed."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": paths}


def say(words: Sequence[str]) -> None:
    """Tell the person who waits what runs."""
    sys.stderr.write(f"i2i {' '.join(words)}\n")


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a measurement as a whole or not at all."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(document, indent=2), encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main()
