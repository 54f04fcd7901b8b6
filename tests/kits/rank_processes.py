"""Processes that reach each other, started as torchrun starts them."""

import os
import socket
import subprocess
from typing import NamedTuple


class Ended(NamedTuple):
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


def run_ranks(command, *, count=2, timeout=200, **environment):
    """Run a command once a rank, and return how each ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared = {**os.environ, "OMP_NUM_THREADS": "1", **shared, **environment}
    started = [
        subprocess.Popen(
            [str(word) for word in command],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=timeout) for process in started]
    return [Ended(process.returncode, *told) for process, told in zip(started, said, strict=True)]
