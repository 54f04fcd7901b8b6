"""Save one checkpoint after the other and be killed while doing so, again and again.

Usage: python save_until_killed.py FOLDER ROUNDS SEED. Prints JSON: for every round,
the step of the last checkpoint, or the error that reading it gave; and how many kills left half a
file.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from i2icli.runs.checkpoint import (
    CheckpointState,
    load_checkpoint,
    remove_leftovers,
    save_checkpoint,
)

FILLED = 300_000  # numbers in a checkpoint: large enough for a kill to hit the middle of a write


def state_of(step: int) -> CheckpointState:
    return CheckpointState(
        config={"preset": "x"}, weights={"w": torch.full((FILLED,), float(step))}, step=step
    )


def save_forever(path: Path, step: int) -> None:
    while True:
        step += 1
        save_checkpoint(path, state_of(step))


def read(path: Path) -> int | str:
    try:
        state = load_checkpoint(path)
    except Exception as fault:  # every failure is what the test looks for
        return repr(fault)
    is_whole = bool((state.weights["w"] == state.step).all())
    return state.step if is_whole else f"step {state.step} is mixed"


def main(folder: Path, rounds: int, seed: int) -> None:
    torch.set_num_threads(1)  # a forked child has no thread pool, and would wait for it forever
    path, chance = folder / "last.pt", random.Random(seed)
    save_checkpoint(path, state_of(0))
    seen: list[int | str] = []
    step = leftovers = 0
    for turn in range(8 * rounds):
        # On a loaded machine kills may come before any write: go on, ever later, until one was
        # hit and one was finished.
        if turn >= rounds and leftovers and step:
            break
        child = os.fork()
        if child == 0:
            save_forever(path, step)
        time.sleep(chance.uniform(0.01, 0.12) * (1 + turn / rounds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        leftovers += len(list(folder.iterdir())) - 1
        found = read(path)
        seen.append(found)
        if isinstance(found, int):
            step = found
    remove_leftovers(folder)
    names = sorted(entry.name for entry in folder.iterdir())
    sys.stdout.write(json.dumps({"seen": seen, "leftovers": leftovers, "names": names}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
