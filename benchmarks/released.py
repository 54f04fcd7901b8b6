"""Time the training step of a released code base in turn with ours; see README.md.

python benchmarks/released.py FOLDER --preset cut --size 128 -- --model cut --CUT_mode CUT
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import record
import torch

from i2icli.bench.rig import Variant, resize, write_pictures, write_training_set
from i2icli.bench.worker import Spread, Worker, in_turn
from i2icli.config.document import config_document
from i2icli.methods import configure_run
from i2icli.version import __version__

HEADING = "## Against the released code"
COLUMNS = (
    "| date | machine | i2i, torch | command | theirs, ours, s a step: median (quartiles), n | "
    "theirs over ours: median (quartiles), n | memory MiB, theirs -> ours | "
    "GFLOP a step, theirs -> ours | network images/s, theirs -> ours: factor | "
    "ours, read to written, images/s |"
)
PICTURES = 8


def main() -> None:
    """Start both, step them in turn, say what came out."""
    asked = parse(sys.argv[1:])
    with TemporaryDirectory(prefix="i2i-released-") as name:
        folder = Path(name)
        with Worker.of(our_variant(asked, folder)) as ours:
            batches = folder / "batches.pt"
            ours.ask("batches", path=str(batches))
            choices = ours.ask("choices")
            with their_worker(asked, folder, batches, choices["threads"]) as theirs:
                result = compare(asked, ours, theirs, folder)
    result |= {"preset": asked.preset, "options": asked.options, "torch": torch.__version__}
    result |= {key: choices[key] for key in ("shape", "threads", "precision", "settings")}
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if asked.record:
        cells = row(asked, result, choices["device_name"])
        record.add_row(asked.out, HEADING, COLUMNS, cells)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what was asked; `options` are the words after `--`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="their code")
    parser.add_argument("--preset", required=True, help="ours")
    parser.add_argument("--size", type=int, default=128, help="side of a crop")
    parser.add_argument("--batch", type=int, default=1, help="pictures a step")
    parser.add_argument("--steps", type=int, default=6, help="rounds that count")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before, that do not")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", default="float32", help="ours: float32 or bfloat16")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="ours")
    parser.add_argument("--translate", action="store_true", help="time translating too")
    parser.add_argument("--record", action="store_true", help="add a row to the table")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the file of the table")
    parser.epilog = "What stands after -- are the options of their code."
    # argparse would take the first of them for its own.
    cut = list(words).index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:cut])
    asked.options = list(words[cut + 1 :])
    return asked


def our_variant(asked: argparse.Namespace, folder: Path) -> Variant:
    """Return ours on made-up pictures, with every setting that is not asked for at its default."""
    runtime = [f"runtime.device={asked.device}", f"runtime.precision={asked.precision}"]
    config = resize(configure_run(asked.preset, [*runtime, *asked.set]), asked.size, asked.batch)
    document = write_training_set(folder / "data", config_document(config), "unpaired")
    return Variant(asked.preset, document)


def their_worker(asked: argparse.Namespace, folder: Path, batches: Path, threads: int) -> Worker:
    """Start theirs, on the batches of ours."""
    is_cpu = asked.device == "cpu"
    given = {
        "--dataroot": str(folder),
        "--checkpoints_dir": str(folder / "theirs"),
        "--name": "bench",
        "--gpu_ids": "-1" if is_cpu else "0",
        "--crop_size": str(asked.size),
        "--load_size": str(asked.size),
        "--batch_size": str(asked.batch),
    }
    words = [*(word for pair in given.items() for word in pair), *asked.options]
    script = Path(__file__).with_name("released_child.py")
    task = {"folder": str(asked.folder.resolve()), "options": words, "batches": str(batches)}
    return Worker("theirs", [str(script)], {**task, "threads": threads, "is_cpu": is_cpu})


def compare(
    asked: argparse.Namespace, ours: Worker, theirs: Worker, folder: Path
) -> dict[str, Any]:
    """Step both in turn, and translate in turn where that was asked for.

    Returns:
        For each its seconds a step, `memory` and `flops_per_step`; `speedup`, their seconds over
        ours within each round; and `translate`.
    """
    weights = {"ours": ours.ask("weights"), "theirs": theirs.ask("weights")}
    sys.stderr.write(f"weights: {json.dumps(weights)}\n")
    refuse_other_networks(weights["ours"], weights["theirs"])
    workers = (ours, theirs)
    for _ in range(asked.warmup):
        for worker in workers:
            worker.ask("step")
    seconds = turns(workers, "step", asked.steps)
    result: dict[str, Any] = {
        side: {
            **Spread.of(seconds[index]).document("s"),
            "memory": worker.ask("memory"),
            "weights": weights[side],
            "flops_per_step": worker.ask("flops"),
        }
        for index, (side, worker) in enumerate(zip(("ours", "theirs"), workers, strict=True))
    }
    result["speedup"] = ratios(seconds[1], seconds[0])
    if asked.translate:
        result["translate"] = translate(asked, ours, theirs, folder)
    return result


def translate(
    asked: argparse.Namespace, ours: Worker, theirs: Worker, folder: Path
) -> dict[str, Any]:
    """Time both networks alone on the same pictures in turn, then ours from file to file."""
    for worker in (ours, theirs):
        worker.ask("network")
    speeds = turns((ours, theirs), "network", asked.steps)
    made = write_pictures(folder / "pictures", count=PICTURES, side=asked.size, seed=9)
    files = [str(path) for path in made]
    given = {"pictures": files, "out": str(folder / "translated"), "batch_size": asked.batch}
    ours.ask("pass", **given)
    whole = [ours.ask("pass", **given) for _ in range(asked.steps)]
    return {
        "ours": Spread.of(speeds[0]).document("images_per_s"),
        "theirs": Spread.of(speeds[1]).document("images_per_s"),
        "speedup": ratios(speeds[0], speeds[1]),
        "ours_read_to_written": Spread.of(whole).document("images_per_s"),
    }


def turns(workers: Sequence[Worker], what: str, rounds: int) -> list[list[float]]:
    """Ask in turn, A B, B A, ..., one at a time; by worker one answer a round."""
    answers: list[list[float]] = [[] for _ in workers]
    for order in in_turn(rounds, len(workers)):
        for index in order:
            answers[index].append(workers[index].ask(what))
    return answers


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Return the spread of a factor that is formed within each round."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)]).document()


def refuse_other_networks(ours: Mapping[str, int], theirs: Mapping[str, int]) -> None:
    """End where the two do not train as many weights: a factor would mean nothing."""
    if sum(ours.values()) != sum(theirs.values()):
        counts = [f"{sum(each.values()):,} weights, {dict(each)}" for each in (ours, theirs)]
        raise SystemExit(
            f"the networks differ: ours have {counts[0]}, theirs {counts[1]}. Give options of "
            "theirs, or --set of ours, that make them the same."
        )


def row(asked: argparse.Namespace, result: dict[str, Any], device_name: str) -> list[str]:
    """Return the cells of the row; every number with its repeats and spread."""
    ours, theirs = result["ours"], result["theirs"]
    steps = ", ".join(
        f"{side['median_s']:.3g} ({record.pair(side['quartiles_s'])})" for side in (theirs, ours)
    )
    memory = (side["memory"]["less_imports_bytes"] for side in (theirs, ours))
    speed = result.get("translate")
    network, whole = "", ""
    if speed:
        both = " -> ".join(f"{speed[s]['median_images_per_s']:.3g}" for s in ("theirs", "ours"))
        network = f"{both}: {record.factor(speed['speedup'])}"
        end_to_end = speed["ours_read_to_written"]
        quartiles = record.pair(end_to_end["quartiles_images_per_s"])
        whole = f"{end_to_end['median_images_per_s']:.3g} ({quartiles})"
    words = [f"--preset {asked.preset}", f"--size {asked.size}", f"--batch {asked.batch}"]
    words += [f"--precision {asked.precision}", *(f"--set {text}" for text in asked.set)]
    return [
        time.strftime("%Y-%m-%d"),
        f"{record.machine(device_name, result['threads'])}, {result['precision']}",
        f"{__version__}, {result['torch']}",
        f"`released.py {asked.folder.name} {' '.join(words)} -- {shlex.join(asked.options)}`",
        f"{steps}, {ours['n']}",
        record.factor(result["speedup"]),
        " -> ".join("unknown" if m is None else f"{m / 2**20:.0f}" for m in memory),
        " -> ".join(f"{side['flops_per_step'] / 1e9:.4g}" for side in (theirs, ours)),
        network,
        whole,
    ]


if __name__ == "__main__":
    main()
