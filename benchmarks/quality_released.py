"""Train the released CUT code for so long, and keep its generator at marks; see README.md.

python benchmarks/quality_released.py FOLDER DATA OUT --marks 10,20,40,60 -- --crop_size 128

Killed and started again it begins anew, for that code cannot go on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from released_child import prepare


def main() -> None:
    """Train by their own data, model and losses; the clock counts these alone."""
    asked = parse(sys.argv[1:])
    torch.set_num_threads(asked.threads)
    sys.path.insert(0, str(asked.folder.resolve()))
    given = ["--dataroot", str(asked.data), "--checkpoints_dir", str(asked.out), "--name", "run"]
    sys.argv = ["train.py", *given, "--gpu_ids", "-1", "--num_threads", "0", *asked.options]
    options = importlib.import_module("options.train_options").TrainOptions().parse()
    dataset = importlib.import_module("data").create_dataset(options)
    model = importlib.import_module("models").create_model(options)
    spent, marks, since = 0.0, list(asked.marks), time.perf_counter()
    for step, batch in enumerate(endless(dataset), start=1):
        if step == 1:
            prepare(model, options, batch)
        model.set_input(batch)
        model.optimize_parameters()
        spent += asked.step_seconds or time.perf_counter() - since
        if spent >= 60 * marks[0]:
            mark = marks.pop(0)
            path = asked.out / f"at-{mark:g}" / "latest_net_G.pth"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(model.netG.state_dict(), path)
            sys.stdout.write(f"{mark:g} minutes: step {step}, {path}\n")
            sys.stdout.flush()
        if not marks:
            return
        since = time.perf_counter()


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what was asked; `options` are the words after `--`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="their code")
    parser.add_argument("data", type=Path, help="trainA, trainB")
    parser.add_argument("out", type=Path, help="folder of what it writes")
    parser.add_argument("--marks", default="10,20,40,60", help="minutes, with commas between")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step-seconds", type=float, help="count steps, of so long on a quiet day")
    cut = list(words).index("--") if "--" in words else len(words)
    asked = parser.parse_args(words[:cut])
    asked.options = list(words[cut + 1 :])
    asked.marks = [float(mark) for mark in asked.marks.split(",")]
    return asked


def endless(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yield its batches, epoch after epoch."""
    epoch = 0
    while True:
        epoch += 1
        dataset.set_epoch(epoch)
        yield from dataset


if __name__ == "__main__":
    main()
