"""`--nproc`: a command in several processes, and which of them speaks."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from i2icli.cli.progress import MESSAGES

Processes = Annotated[
    int | None,
    typer.Option(
        "--nproc", min=1, help="Share each batch among N processes; on GPUs one a process."
    ),
]


def share_work(count: int | None) -> None:
    """Run this same command in `count` processes, and exit as they did; one goes on as it is.

    A process that was started so goes on too. One that goes on works for this command alone.
    """
    if count is None or count == 1 or _is_member():
        from i2icli.system.allocator import claim_process  # imports torch too

        claim_process()
        if not is_main_process():
            MESSAGES.setLevel(logging.CRITICAL)
        return
    # It imports torch; so --help stays instant.
    from i2icli.system.processes.launch import run_in_processes

    command = [sys.executable, "-m", "i2icli", *sys.argv[1:]]
    raise typer.Exit(run_in_processes(command, count))


def is_main_process() -> bool:
    """Say whether this process is the one that shows results."""
    return not _is_member() or os.environ["RANK"] == "0"


def speaks_of_errors() -> bool:
    """Say whether this process, having failed, is the one to say so."""
    if not _is_member():
        return True
    from i2icli.system.ranks import current_ranks

    return current_ranks().claims_to_speak()


def _is_member() -> bool:
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as in `ranks`, without torch
    return all(name in os.environ for name in names) and int(os.environ["WORLD_SIZE"]) > 1
