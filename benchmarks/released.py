"""Time the training step of a released code base in turn with ours; see README.md.

python benchmarks/released.py FOLDER --preset cut --size 128 -- --model cut --CUT_mode CUT
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from i2icli.config.document import config_document
from i2icli.engine.bench import resize
from i2icli.engine.bench_pictures import write_training_set
from i2icli.engine.bench_rig import Rig, Variant, build_rig
from i2icli.engine.bench_spread import Spread, in_turn
from i2icli.methods import configure_run


def main() -> None:
    """Build both, step them in turn, say what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="their code")
    parser.add_argument("--preset", required=True, help="ours")
    parser.add_argument("--size", type=int, default=128, help="side of a crop")
    parser.add_argument("--batch", type=int, default=1, help="pictures a step")
    parser.add_argument("--steps", type=int, default=6, help="rounds that count")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before, that do not")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.epilog = "What stands after -- are the options of their code."
    # argparse would take the first of them for its own.
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked = parser.parse_args(sys.argv[1:cut])
    asked.options = sys.argv[cut + 1 :]
    with TemporaryDirectory(prefix="i2i-released-") as name:
        rig = our_rig(asked, Path(name))
        theirs = their_step(asked, rig, Path(name))
        result = compare(rig.step, theirs, rounds=asked.steps, warmup=asked.warmup)
    result |= {"preset": asked.preset, "options": asked.options, "shape": list(rig.shape)}
    result |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def our_rig(asked: argparse.Namespace, folder: Path) -> Rig:
    """Return ours in float32, which the released codes compute in, on made-up pictures."""
    runtime = [f"runtime.device={asked.device}", "runtime.precision=float32"]
    config = resize(configure_run(asked.preset, runtime), asked.size, asked.batch)
    document = write_training_set(folder / "data", config_document(config), "unpaired")
    return build_rig(Variant(asked.preset, document))


def their_step(asked: argparse.Namespace, rig: Rig, folder: Path) -> Callable[[], object]:
    """Return their training step on the batches of ours.

    Their modules have common names (models, options, data, util), so their folder is first on
    the path; their options are read from the command line, so it is theirs meanwhile.
    """
    batches = [
        {"A": b.real_a, "B": b.real_b, "A_paths": list(b.names_a), "B_paths": list(b.names_b)}
        for b in rig.batches
    ]
    is_cpu = rig.device.type == "cpu"
    given = {
        "--dataroot": str(folder),
        "--checkpoints_dir": str(folder / "theirs"),
        "--name": "bench",
        "--gpu_ids": "-1" if is_cpu else "0",
        "--crop_size": str(asked.size),
        "--load_size": str(asked.size),
        "--batch_size": str(asked.batch),
    }
    sys.path.insert(0, str(asked.folder.resolve()))
    sys.argv = ["train.py", *(word for pair in given.items() for word in pair), *asked.options]
    with contextlib.redirect_stdout(io.StringIO()):
        options = importlib.import_module("options.train_options").TrainOptions().parse()
        model = importlib.import_module("models").create_model(options)
        prepare(model, options, batches[0])

    turn = 0

    def step() -> None:
        nonlocal turn
        model.set_input(batches[turn % len(batches)])
        model.optimize_parameters()
        turn += 1
        if not is_cpu:
            torch.cuda.synchronize()

    return step


def prepare(model: Any, options: Any, batch: dict[str, Any]) -> None:
    """Do what a code base does before its first step; the older ones lack some of it."""
    if hasattr(model, "data_dependent_initialize"):
        # The first code of the family takes the batch here, others before.
        takes_batch = bool(inspect.signature(model.data_dependent_initialize).parameters)
        if not takes_batch:
            model.set_input(batch)
        model.data_dependent_initialize(*([batch] if takes_batch else []))
    model.setup(options)
    if hasattr(model, "parallelize"):
        model.parallelize()


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int, warmup: int
) -> dict[str, Any]:
    """Step both in turn; seconds of each, and theirs over ours within each round."""
    steps: Sequence[Callable[[], object]] = (ours, theirs)
    for _ in range(warmup):
        for step in steps:
            step()
    seconds: list[list[float]] = [[], []]
    for order in in_turn(rounds, 2):
        for index in order:
            started = time.perf_counter()
            steps[index]()
            seconds[index].append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(*seconds, strict=True)]
    return {
        "ours": Spread.of(seconds[0]).document("s"),
        "theirs": Spread.of(seconds[1]).document("s"),
        "speedup": Spread.of(ratios).document(),
    }


if __name__ == "__main__":
    main()
