"""Save one checkpoint after the other, and be killed at every point of a save.

Usage: python save_until_killed.py FOLDER. Prints JSON: for every kill, the step of the last
checkpoint, or the error that reading it gave; how many kills left half a file; and what lies in
the folder in the end.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import torch
from dying import die_at_byte, die_at_file_event

from i2icli.runs.checkpoint import CheckpointState, load_checkpoint, save_checkpoint
from i2icli.system.files import remove_leftovers

FILLED = 300_000  # numbers in a checkpoint: more than one write takes


def state_of(step: int) -> CheckpointState:
    return CheckpointState(
        config={"preset": "x"}, weights={"w": torch.full((FILLED,), float(step))}, step=step
    )


def save_and_die(path: Path, step: int, arm: Callable[[], None]) -> bool:
    """Save once in a process that lives, and once in one that may not; return whether it died."""
    child = os.fork()
    if child == 0:
        save_checkpoint(path, state_of(step + 1))
        arm()
        save_checkpoint(path, state_of(step + 2))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def read(path: Path) -> int | str:
    try:
        state = load_checkpoint(path)
    except Exception as fault:  # every failure is what the test looks for
        return repr(fault)
    is_whole = bool((state.weights["w"] == state.step).all())
    return state.step if is_whole else f"step {state.step} is mixed"


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # a forked child has no thread pool, and would wait for it forever
    path = folder / "last.pt"
    save_checkpoint(path, state_of(0))
    size = path.stat().st_size
    seen: list[int | str] = []
    step = leftovers = 0

    def dies(arm: Callable[[], None]) -> bool:
        nonlocal step, leftovers
        has_died = save_and_die(path, step, arm)
        leftovers += len(list(folder.iterdir())) - 1
        found = read(path)
        seen.append(found)
        step = found if isinstance(found, int) else step
        return has_died

    for byte in (0, 1, size // 3, size // 2, size - 1):
        assert dies(partial(die_at_byte, byte)), f"{byte} bytes were not passed"
    for number in count(1):
        if not dies(partial(die_at_file_event, number)):
            break
    remove_leftovers(folder)
    names = sorted(entry.name for entry in folder.iterdir())
    sys.stdout.write(json.dumps({"seen": seen, "leftovers": leftovers, "names": names}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
