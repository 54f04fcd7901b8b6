"""What training steps and translations cost on this machine: `i2i bench`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from i2icli import errors
from i2icli.checkpoint.file import load_checkpoint
from i2icli.config.document import Document, config_document
from i2icli.data.folders import find_domains
from i2icli.engine.bench_measure import Result
from i2icli.engine.bench_pictures import write_pictures, write_training_set
from i2icli.engine.bench_report import BenchReport, build_report
from i2icli.engine.bench_rig import Variant
from i2icli.engine.data import settle_data
from i2icli.errors import DataError, I2IError
from i2icli.methods import METHODS
from i2icli.methods.configure import AnyRunConfig, configure_run, restore_config

_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_PICTURES = 8


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, and how often.

    Attributes:
        preset: a preset's name, or the path of a TOML file.
        overrides: `KEY=VALUE` texts over it; those of `runtime` hold for `against` too.
        size: side of the training crop and of the pictures to translate; None: the preset's.
        batch: pictures a step; None: the preset's.
        precision: auto, float32, bfloat16 or float16; None: the preset's.
        data: a data set to use in place of made-up pictures.
        steps: rounds that count, of steps and of translations.
        warmup: rounds of steps before, that do not.
        against: a preset, or a checkpoint or run, to compare with in turn.
    """

    preset: str
    overrides: tuple[str, ...] = ()
    size: int | None = None
    batch: int | None = None
    precision: str | None = None
    data: Path | None = None
    steps: int = 10
    warmup: int = 2
    against: str | None = None


def run_bench(
    options: BenchOptions, *, note: Callable[[str], None] = lambda _: None
) -> BenchReport:
    """Measure, each thing in a process of its own.

    Args:
        options: what and how often.
        note: is told what is being measured.

    Raises:
        CheckpointError: if `against` looks like a file and is no checkpoint.
        ConfigError: for a wrong configuration or device.
        DataError: for missing pictures.
        I2IError: if a measurement ends without an answer, for example for want of memory.
    """
    configs = _configurations(options)
    with TemporaryDirectory(prefix="i2i-bench-") as name:
        folder = Path(name)
        variants = [
            Variant(title, _with_data(config, options, folder / f"data-{number}"), checkpoint)
            for number, (title, config, checkpoint) in enumerate(configs)
        ]
        costs = []
        for variant in variants:
            note(f"{variant.name}: peak memory and operations of a step")
            costs.append(measure(folder, "cost", variants=[variant]))
        both = " and ".join(variant.name for variant in variants)
        note(f"{both}: {options.steps} training steps after {options.warmup}, and the loader")
        steps = measure(
            folder, "steps", variants=variants, steps=options.steps, warmup=options.warmup
        )
        note(f"{both}: reading, translating and writing pictures")
        translation = _translate(folder, variants, options)
    return build_report(options.warmup, variants, costs, steps, translation)


def measure(folder: Path, kind: str, *, variants: Sequence[Variant], **task: Any) -> Result:
    """Make one measurement in a fresh process, see `bench_child`.

    Args:
        folder: where the task and its answer may lie.
        kind: cost, steps or translation.
        variants: what to measure.
        task: the other arguments of that measurement.

    Raises:
        I2IError: what went wrong there, as the same kind of error.
    """
    path = folder / f"{kind}.json"
    document = {"kind": kind, "variants": [variant.document() for variant in variants], **task}
    path.write_text(json.dumps(document), encoding="utf-8")
    # The very package that runs here, wherever the process starts.
    paths = [str(_PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [sys.executable, "-m", "i2icli.engine.bench_child", str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    answer_path = path.with_suffix(".answer.json")
    if ended.returncode != 0 or not answer_path.is_file():
        raise _failure(kind, variants, ended)
    answer: Result = json.loads(answer_path.read_text(encoding="utf-8"))
    answer_path.unlink()
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return answer


def _failure(
    kind: str, variants: Sequence[Variant], ended: subprocess.CompletedProcess[str]
) -> I2IError:
    """Return what to say of a process that ended without an answer."""
    names = " and ".join(variant.name for variant in variants)
    last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
    was_killed = ended.returncode == -9 or "out of memory" in last.lower()
    hint = "for want of memory; try a smaller --size or --batch" if was_killed else last
    return I2IError(f"measuring the {kind} of {names} ended with {ended.returncode}: {hint}")


def _configurations(options: BenchOptions) -> list[tuple[str, AnyRunConfig, str | None]]:
    """Return name, configuration and checkpoint of the one or two variants."""
    overrides = [*options.overrides]
    if options.precision is not None:
        overrides.append(f"runtime.precision={options.precision}")
    config = configure_run(options.preset, overrides)
    found: list[tuple[str, AnyRunConfig, str | None]] = [(config.preset, config, None)]
    if options.against is not None:
        name, other, checkpoint = _opponent(options.against)
        if name == config.preset:
            name = f"{name} (against)"
        shared = {**config_document(other), "runtime": config_document(config)["runtime"]}
        found.append((name, restore_config(shared), checkpoint))
    return [(name, resize(each, options.size, options.batch), path) for name, each, path in found]


def _opponent(against: str) -> tuple[str, AnyRunConfig, str | None]:
    """Return what `--against` names: a checkpoint, a run folder, or a preset."""
    path = Path(against).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "last.pt"
    if path.is_dir() or path.suffix in (".pt", ".pth") or path.is_file() and path.suffix != ".toml":
        config = restore_config(load_checkpoint(path).config)
        return path.name, config, str(path.resolve())
    config = configure_run(against)
    return config.preset, config, None


def resize(config: AnyRunConfig, size: int | None, batch: int | None) -> AnyRunConfig:
    """Return a configuration with other crops and batches, the share cut off by cropping kept.

    Raises:
        ConfigError: if the configuration cannot have that size.
    """
    document = config_document(config)
    data = document["data"]
    if size is not None:
        share = (
            1.0
            if data["preprocess"] in ("resize", "scale-width")
            else data["resize"] / data["crop"]
        )
        if data.get("resize_height") is not None:
            data["resize_height"] = max(size, round(size * data["resize_height"] / data["crop"]))
        data["resize"] = max(size, round(size * share))
        data["crop"] = size
    if batch is not None:
        data["batch_size"] = batch
    return restore_config(document)


def _with_data(config: AnyRunConfig, options: BenchOptions, folder: Path) -> Document:
    """Return the configuration with its data set: the named one, or made-up pictures."""
    document = config_document(config)
    if options.data is not None:
        root = options.data.expanduser()
        if not root.is_dir():
            raise DataError(f"--data {options.data} is no folder.")
        others = dict.fromkeys(("domain_a", "domain_b", "test_a", "test_b"))
        document["data"] = {**document["data"], **others, "root": str(root.resolve())}
        settled = settle_data(restore_config(document))[0]
        find_domains(settled.data, _kind_of(settled))
        return config_document(settled)
    if document["data"]["direction"] != "a2b":
        # Made-up pictures are the same both ways.
        document["data"]["direction"] = "a2b"
    count = max(_PICTURES, config.data.batch_size)
    return write_training_set(folder, document, _kind_of(config), count=count)


def _kind_of(config: AnyRunConfig) -> Any:
    """Return the kind of data set that a configuration's method trains on."""
    return METHODS[config.method.name].data  # type: ignore[attr-defined]


def _translate(folder: Path, variants: Sequence[Variant], options: BenchOptions) -> Result:
    """Measure translating; made-up pictures have the size of a training crop."""
    pictures: list[Path] = []
    if options.data is None:
        side = variants[0].config["data"]["crop"]
        pictures = write_pictures(folder / "pictures", count=_PICTURES, side=side, seed=9)
    return measure(
        folder,
        "translation",
        variants=variants,
        pictures=[str(path) for path in pictures],
        out=str(folder / "translated"),
        repeats=options.steps,
        batch_size=options.batch,
    )
