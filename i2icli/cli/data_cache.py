"""`i2i data cache`: training pictures decoded and resized once, for a faster loader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.options import AsJson, Overrides, PresetName, Processes
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import Told, show
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.config.sections import DataConfig
    from i2icli.datasets.pixel_cache import Built


def cache(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with trainA and trainB.")],
    preset: PresetName = "qs-attn-global",
    overrides: Overrides = None,
    nproc: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Keep the training pictures of DIR decoded and resized, as a preset's loader needs them."""
    from i2icli.config.sections import data_overrides
    from i2icli.methods import method_of
    from i2icli.methods.shared.configure import configure_run

    config = configure_run(preset, [*(overrides or []), *data_overrides(root)])
    kind = method_of(config).data
    if kind != "unpaired":
        raise ConfigError(
            f"method {config.method.name!r} trains on {kind} data, whose pictures are read from "
            "their files: there is no cache for it."
        )
    built = build_with_bar(config.data, nproc)
    report_failed(built)
    show(Told(built, cache_lines(built)), as_json=as_json)
    if any(one.failed for one in built):
        raise typer.Exit(3)


def build_with_bar(config: DataConfig, count: int = 1) -> list[Built]:
    """Make the caches in `count` processes, showing how far it is."""
    from i2icli.datasets.pixel_cache import build_caches
    from i2icli.system.processes.work_queue import executor

    with executor(count) as own, progress_bar("caching") as report:
        return build_caches(config, progress=report, executor=own)


def report_failed(built: list[Built]) -> None:
    """Name the pictures that could not be read."""
    for sentence in dict.fromkeys(fault for one in built for fault in one.failed):
        typer.echo(f"left out: {sentence}", err=True)


def cache_lines(built: list[Built]) -> list[str]:
    """Describe caches."""
    lines = []
    for one in built:
        state = "up to date" if one.was_there else "written"
        lines.append(
            f"{one.folder}: {one.pictures} pictures, {one.step}, {one.bytes / 1e6:.0f} MB, {state}"
        )
    return [*lines, "Training on this folder uses it by itself where the settings agree."]
