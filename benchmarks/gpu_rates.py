"""Time training steps on a GPU with its settings off and on; started by gpu.py alone.

Writes a line of JSON for each measurement, so that those that are there stay when time is over.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from gpu_time import Allowance

from i2icli.bench.rig import Rig, Variant, build_rig, resize, write_training_set
from i2icli.bench.worker import Spread
from i2icli.config.document import config_document
from i2icli.config.schedule import Moment
from i2icli.methods import configure_run, method_of
from i2icli.system.device import wait_for
from i2icli.system.memory import peak_bytes
from i2icli.version import __version__

OFF = dict.fromkeys(
    ("channels_last", "compile", "cuda_graphs", "fused_optimizer", "prefetch"), "off"
)
ON = {"channels_last": "on", "fused_optimizer": "on", "prefetch": "on"}
# What is measured of each step, in this order; each is on top of `ON` but the first two.
VARIANTS: dict[str, dict[str, str]] = {
    "off": OFF,
    "auto": {},
    "layout": {**OFF, **ON},
    "graphs": {**OFF, **ON, "cuda_graphs": "on"},
    "compiled": {**OFF, **ON, "compile": "on"},
}
PRESETS = ("cut", "qs-attn-global")
# Small batches wait for launches: graphs matter there.
LARGE = 4
# The first of a kind are computed kernel by kernel, then one is recorded; compiling ends sooner.
WARM_UP = 6
ENOUGH_SECONDS = 2.0
# What a run says where a setting came to nothing.
REFUSALS = ("no CUDA graphs", "not compiled", "goes on uncompiled")
SMALL = (
    "method.generator.width=4",
    "method.generator.blocks=1",
    "method.discriminator.width=4",
    "method.nce_layers=[0,4]",
    "runtime.threads=1",
)


def main() -> None:
    """Measure what was asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--machine", action="store_true", help="say what computes, and stop")
    parser.add_argument("--compiled", action="store_true", help="compiled networks alone")
    parser.add_argument("--quick", action="store_true", help="tiny networks, to try the script")
    asked = parser.parse_args()
    if asked.machine:
        say(machine(asked.device) | {"is_trial": asked.quick})
        return
    allowance = Allowance()
    for preset, batch, precision, variant in wanted(compiled=asked.compiled, quick=asked.quick):
        if not allowance.suffices():
            break
        row = {"preset": preset, "batch": batch, "precision": precision, "variant": variant}
        try:
            say(row | measure(asked, preset, batch, precision, VARIANTS[variant]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are measured
            say(row | {"error": (str(error).strip().splitlines() or [type(error).__name__])[0]})
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def wanted(*, compiled: bool, quick: bool) -> Iterator[tuple[str, int, str, str]]:
    """Yield preset, batch, precision and variant of each measurement, the telling ones first."""
    if quick:
        yield from (("cut", 1, "float32", variant) for variant in ("off", "auto"))
        return
    for batch in (1, 16):
        for precision in ("bfloat16", "float32"):
            for preset in PRESETS[:1] if compiled else PRESETS:
                for variant in VARIANTS:
                    is_due = (variant == "compiled") is compiled
                    if is_due and (variant != "graphs" or batch <= LARGE):
                        yield preset, batch, precision, variant


def measure(
    asked: argparse.Namespace, preset: str, batch: int, precision: str, settings: dict[str, str]
) -> dict[str, Any]:
    """Return the spread of a step's seconds, the peak of memory, and what the run would say."""
    overrides = [f"runtime.{name}={value}" for name, value in settings.items()]
    overrides += [f"runtime.device={asked.device}", f"runtime.precision={precision}"]
    config = configure_run(preset, [*overrides, *(SMALL if asked.quick else ())])
    config = resize(config, 32 if asked.quick else 256, batch)
    with TemporaryDirectory(prefix="i2i-gpu-") as name:
        document = write_training_set(
            Path(name) / "data", config_document(config), method_of(config).data, count=batch
        )
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        rig = build_rig(Variant(preset, document))
    seconds = timed(rig, rounds=2 if asked.quick else 20, block=1 if asked.quick else 5)
    if refused := [note for note in rig.notes if any(words in note for words in REFUSALS)]:
        return {"error": refused[0]}
    return {
        **Spread.of([1e3 * each for each in seconds]).document("ms"),
        "images_per_s": batch / Spread.of(seconds).median,
        "memory": peak_bytes(rig.device),
        "settings": [name for name, on in vars(rig.choices).items() if on is True],
    }


def timed(rig: Rig, *, rounds: int, block: int) -> list[float]:
    """Return the seconds of a step, once a round: as in a run nobody waits within a block.

    The rounds end early where two seconds are over, after three of them.
    """
    take, numbers = rig.build_step(), count(1)

    def steps(times: int) -> None:
        for number in islice(numbers, times):
            batch = rig.batches[number % len(rig.batches)]
            take(batch, Moment(number, rig.data.steps_per_epoch))
        wait_for(rig.device)

    steps(WARM_UP)
    seconds: list[float] = []
    while len(seconds) < rounds and (len(seconds) < 3 or block * sum(seconds) < ENOUGH_SECONDS):
        started = time.perf_counter()
        steps(block)
        seconds.append((time.perf_counter() - started) / block)
    return seconds


def machine(device: str) -> dict[str, Any]:
    """Return the device and the versions, after importing all that the tests need."""
    import pytest

    import i2icli.cli.app  # noqa: F401 - what is missing is better said now than by every part

    place = torch.device(device)
    is_cuda = place.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(place) if is_cuda else platform.processor() or "CPU",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "pytest": pytest.__version__,
        "i2i": __version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def say(line: dict[str, Any]) -> None:
    """Write a line of the report."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
