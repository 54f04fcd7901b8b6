"""The command line, in a process that ends itself on the way.

Usage: python ranks_command.py RANK STEP SIGNAL WORDS... runs `i2i WORDS`; the process of that rank
sends itself the signal in its STEP-th step, of its first start only. STEP 0: never. With
STEP_MINUTES in the environment the clock of rank 0 goes by so much a step; those of others stand.
"""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

from i2icli.cli.app import main
from i2icli.system.ranks import restart_count
from i2icli.training import graph_step, logs

train_step, done = graph_step.train_step, 0


def counted(*args: Any, **options: Any) -> Any:
    global done
    done += 1
    is_here = os.environ.get("RANK") == rank and restart_count() == 0
    if is_here and done == int(step):
        os.kill(os.getpid(), signal.Signals[name])
    return train_step(*args, **options)


def told_time() -> float:
    is_main = os.environ.get("RANK") == "0"
    return 60.0 * float(os.environ["STEP_MINUTES"]) * done if is_main else 0.0


# Not by a process that loads pictures: forkserver and spawn import this file in it.
if __name__ == "__main__":
    rank, step, name, *words = sys.argv[1:]
    graph_step.train_step = counted
    if "STEP_MINUTES" in os.environ:
        logs.time = SimpleNamespace(perf_counter=told_time)
    sys.argv = ["i2i", *words]
    main()
