"""What training steps and translations cost on this machine: `i2i bench`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from i2icli.bench import cost
from i2icli.bench.measure import Result
from i2icli.bench.report import BenchReport, build_report
from i2icli.bench.rig import Variant, resize, write_pictures, write_training_set
from i2icli.bench.worker import measuring, take_turns
from i2icli.config.document import Document, config_document
from i2icli.config.sections import data_at
from i2icli.data.folders import find_domains
from i2icli.errors import ConfigError, DataError
from i2icli.methods import method_of
from i2icli.methods.shared.configure import AnyRunConfig, configure_run, restore_config
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.paths import find_checkpoint
from i2icli.runs.zoo import MODEL, PREFIX
from i2icli.training.data import resolve_data

log = logging.getLogger(__package__)

_PICTURES = 8
_LOADER_REPEATS = 5  # each starts the loader anew


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, and how often.

    Attributes:
        preset: a preset's name, or the path of a TOML file.
        overrides: `KEY=VALUE` texts over it; those of `runtime` hold for `against` too.
        size: side of the training crop and of the pictures to translate; None: the preset's.
        batch: pictures a step; None: the preset's.
        precision: auto, float32, bfloat16 or float16; None: the preset's.
        data: a data set to use instead of made-up pictures.
        steps: rounds that count, of steps and of translations.
        warmup: rounds of steps before, that do not.
        against: a preset, or a checkpoint or run, to compare with in turn.
        vary: `KEY=VALUE` texts that make another variant of the preset, to compare with in turn.
        pictures: made-up ones that a pass of translating takes.
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
    vary: tuple[str, ...] = ()
    pictures: int = _PICTURES


def run_bench(options: BenchOptions) -> BenchReport:
    """Measure, each variant and each kind of thing in a process of its own.

    Args:
        options: what and how often.

    Raises:
        CheckpointError: if `against` looks like a file and is no checkpoint.
        ConfigError: for a wrong configuration or device, or two things to compare with.
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
        both = " and ".join(variant.name for variant in variants)
        log.info(
            f"{both}: peak memory and operations of a step, and {options.steps} training steps "
            f"after {options.warmup}"
        )
        costs = cost.step_cost(variants, rounds=options.steps, warmup=options.warmup)
        log.info(f"{variants[0].name}: the loader alone")
        with measuring(variants[:1]) as (worker,):
            loader = worker.ask("loader", repeats=min(options.steps, _LOADER_REPEATS))
        log.info(f"{both}: reading, translating and writing pictures")
        pictures: list[Path] = []
        if options.data is None:
            side = variants[0].config["data"]["crop"]
            count = options.pictures
            pictures = write_pictures(folder / "pictures", count=count, side=side, seed=9)
        translation = _translate(
            variants,
            pictures=pictures,
            out=folder / "translated",
            repeats=options.steps,
            batch_size=options.batch,
        )
    return build_report(costs, loader, translation, warmup=options.warmup, varied=options.vary)


def _translate(
    variants: Sequence[Variant],
    *,
    pictures: Sequence[Path],
    out: Path,
    repeats: int,
    batch_size: int | None,
) -> Result:
    """Time translating pictures, and the network alone, all variants in turn.

    Returns:
        For `pass`, read to written, and `network`, the batches of training in memory:
        `images_per_s`, by variant one number a pass, and `rates` of the limit beside them. By
        variant, `memory` at its peak and `operations` of one picture of each of the two; `notes`.
    """
    files = [str(path) for path in pictures]
    given = {"pictures": files, "out": str(out), "batch_size": batch_size}
    found: Result = {}
    with measuring(variants) as workers:
        for kind, arguments in (("pass", given), ("network", {})):
            for worker in workers:
                worker.ask(kind, **arguments)
            turns = take_turns(workers, kind, rounds=repeats, **arguments)
            found[kind] = {"images_per_s": turns["answers"], "rates": turns["rates"]}
        found["memory"] = [worker.ask("memory") for worker in workers]
        found["notes"] = [note for worker in workers for note in worker.ask("choices")["notes"]]
        found["operations"] = [worker.ask("operations", **given) for worker in workers]
    return found


def _configurations(options: BenchOptions) -> list[tuple[str, AnyRunConfig, str | None]]:
    if options.vary and options.against is not None:
        raise ConfigError("--vary and --against cannot go together: compare with one of them.")
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
    if options.vary:
        name = f"{config.preset} with {' '.join(options.vary)}"
        found.append((name, configure_run(options.preset, [*overrides, *options.vary]), None))
    return [(name, resize(each, options.size, options.batch), path) for name, each, path in found]


def _opponent(against: str) -> tuple[str, AnyRunConfig, str | None]:
    path = Path(against).expanduser()
    is_path = path.exists() or len(path.parts) > 1 or path.suffix in (".pt", ".pth")
    is_path = is_path or against.startswith(PREFIX)
    if is_path and path.suffix != ".toml":
        path = find_checkpoint(path)
        config = restore_config(load_checkpoint(path).config)
        name = path.parent.name if path.name == MODEL else path.name
        return name, config, str(path.resolve())
    config = configure_run(against)
    return config.preset, config, None


def _with_data(config: AnyRunConfig, options: BenchOptions, folder: Path) -> Document:
    document = config_document(config)
    if options.data is not None:
        if not options.data.expanduser().is_dir():
            raise DataError(f"--data {options.data} is no folder.")
        document["data"] |= data_at(options.data)
        resolved = resolve_data(restore_config(document))[0]
        find_domains(resolved.data, method_of(resolved).data)
        return config_document(resolved)
    if document["data"]["direction"] != "a2b":
        # Made-up pictures are the same both ways.
        document["data"]["direction"] = "a2b"
    return write_training_set(folder, document, method_of(config).data)
