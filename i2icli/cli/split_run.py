"""One command in several processes that each do a share and never meet, unlike in training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import typer

from i2icli.errors import ConfigError, DataError, I2IError

_LAUNCHED = "I2I_LAUNCHED"  # tells a process that its standard input is a line to the launcher


def run_split(count: int, words: Sequence[str]) -> list[dict[str, Any]]:
    """Run a command in several processes, which find their share in the environment.

    Args:
        count: processes.
        words: the command without the program; the processes are asked for JSON.

    Returns:
        What each has printed.

    Raises:
        I2IError: one ended without a result.
    """
    if "WORLD_SIZE" in os.environ:
        raise ConfigError("--nproc is for a command of its own: leave it out under torchrun.")
    asked = [*words, *([] if "--json" in words else ["--json"])]
    before = signal.signal(signal.SIGTERM, _interrupt)
    processes = [_start(asked, rank, count) for rank in range(count)]
    try:
        texts = [_read_result(process) for process in processes]
    finally:
        for process in processes:
            _end(process)
        signal.signal(signal.SIGTERM, before)
    for rank, (process, text) in enumerate(zip(processes, texts, strict=True)):
        if process.returncode not in (0, DataError.exit_code) or not text:
            raise _failure(rank, process.returncode)
    return [json.loads(text) for text in texts]


def watch_launcher() -> None:
    """End this process when the launcher that started it is gone, killed ones too."""
    if os.environ.pop(_LAUNCHED, None):
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()


def end_with_parent() -> None:
    """End this process when the one that started it is gone, where the system lets go of it."""
    threading.Thread(target=_end_without, args=(os.getppid(),), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _end_with(line: int) -> None:
    while os.read(line, 1):
        pass
    os._exit(1)


def _start(words: Sequence[str], rank: int, count: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // count))
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, _LAUNCHED: 1}
    environment = {"OMP_NUM_THREADS": threads, **os.environ, **{k: str(v) for k, v in own.items()}}
    return subprocess.Popen(
        [sys.executable, "-m", "i2icli", *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _read_result(process: subprocess.Popen[bytes]) -> str:
    """Return what a process prints, when it has ended."""
    assert process.stdout is not None, "its output is a pipe"
    text = process.stdout.read()
    process.wait()  # before its standard input is closed, which would end it
    return text.decode("utf-8")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process where it still runs, and wait."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _failure(rank: int, code: int) -> I2IError:
    cause = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    kind = ConfigError if code == 2 else DataError if code == 3 else I2IError
    return kind(
        f"process {rank} {cause}. What is finished stays: run the command again, for files with "
        "--skip-existing."
    )


def without_option(words: Sequence[str], name: str) -> list[str]:
    """Return a command's words without an option that takes a value."""
    kept: list[str] = []
    is_value = False
    for word in words:
        if not is_value and word != name and not word.startswith(f"{name}="):
            kept.append(word)
        is_value = not is_value and word == name
    return kept


def sum_documents(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put the results of several processes together: numbers are added, lists joined.

    Of the seconds the most count, and the rate is that of all together.
    """
    total: dict[str, Any] = {}
    for document in documents:
        for key, value in document.items():
            known = total.get(key)
            total[key] = value if known is None or isinstance(value, str) else known + value
    total["seconds"] = max(document["seconds"] for document in documents)
    rate = total["written"] / total["seconds"] if total["seconds"] else 0.0
    total["images_per_s"] = round(rate, 3)
    return total


def say_counts(document: dict[str, Any], *, who: str = "") -> None:
    """Print the line of counts on stderr."""
    counts = ", ".join(f"{k} {document[k]}" for k in ("found", "written", "skipped", "failed"))
    typer.echo(f"{who}{counts}", err=True)
