"""`--nproc N`: the same command in N processes on this machine, as one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

import torch.distributed as dist

from i2icli.system.threads import threads_each

log = logging.getLogger(__package__)

# Seconds that the others have to notice by themselves that one is gone.
_GRACE = 50.0
_INTERRUPTED = 75


def run_in_processes(command: Sequence[str], count: int, *, grace: float = _GRACE) -> int:
    """Run a command in several processes that find each other through the environment.

    They find what `torchrun` would tell them. SIGINT and SIGTERM are passed on to all, which agree
    on the step to stop after.

    Args:
        command: program and arguments.
        count: processes.
        grace: seconds after the first failure until the others are ended.

    Returns:
        0 if all succeeded, 75 if all were interrupted and saved; else the exit code of one that
        failed by itself, 1 where there is none.
    """
    # This process keeps the meeting point, so that it outlives each of the others.
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    children: list[subprocess.Popen[bytes]] = []
    signals: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        signals.append(number)
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        for rank in range(count):
            environment = _environment(rank, count, store.port)
            # A session of its own: Ctrl-C reaches it from here alone, once.
            children.append(
                subprocess.Popen(list(command), env=environment, start_new_session=True)
            )
        return _wait(children, grace=grace)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: Sequence[subprocess.Popen[bytes]], *, grace: float) -> int:
    """Wait for all; after a failure end those that do not end by themselves."""
    failed_at: float | None = None
    told: set[int] = set()
    running = True
    while running:
        time.sleep(0.05)
        # Asked first, so that one that ends during this round is still seen in the next.
        running = any(child.poll() is None for child in children)
        for rank, child in enumerate(children):
            code = child.poll()
            if code in (None, 0, _INTERRUPTED):
                continue
            failed_at = failed_at or time.monotonic()
            if code < 0 and rank not in told:
                told.add(rank)
                name = signal.Signals(-code).name
                log.warning(f"process {rank} of {len(children)} was ended by {name}")
        if running and failed_at is not None and time.monotonic() - failed_at > grace:
            for child in children:
                child.kill()
    return _exit_code([child.wait() for child in children])


def _exit_code(codes: Sequence[int]) -> int:
    if len(set(codes)) == 1 and codes[0] >= 0:
        return codes[0]
    # Code 1 is that of those who only lost contact.
    own = [code for code in codes if code > 1 and code != _INTERRUPTED]
    return own[0] if own else 1


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the environment of one process."""
    # Each takes its part of the cores, unless told otherwise.
    ours = {"OMP_NUM_THREADS": str(threads_each(count))}
    if sys.platform.startswith("linux"):
        ours["GLOO_SOCKET_IFNAME"] = "lo"  # they share the machine, whatever its name resolves to
    return {
        **ours,
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
