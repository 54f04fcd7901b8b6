"""`i2i train`: a translator from a preset and two folders of pictures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.options import (
    AsJson,
    Budget,
    DeviceSetting,
    Epochs,
    Overrides,
    Steps,
    preset_for,
    setting_of,
    stop_settings,
)
from i2icli.cli.shared_run import Processes, share_work
from i2icli.cli.show import show
from i2icli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from i2icli.methods.shared.configure import AnyRunConfig

InitFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="CKPT",
        help="Begin with the weights of this checkpoint, run or zoo:NAME, and without --preset "
        "with its configuration too.",
    ),
]


def train(
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="A name from `i2i presets list`, or a TOML file."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with trainA, trainB, testA, testB; none: the demo set."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The run's own folder; none: the next in runs/.")
    ] = None,
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all randomness.")] = None,
    device: DeviceSetting = None,
    set_: Overrides = None,
    init_from: InitFrom = None,
    nproc: Processes = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a translator; with no --data, on the built-in demo set."""
    if preset is None and init_from is None:
        raise _missing_preset(device)
    stops = stop_settings(steps=steps, epochs=epochs, budget=budget)
    overrides = [
        *(set_ or []),
        *_data_overrides(data),
        *(f"train.{name}={value or 'null'}" for name, value in stops.items()),
        *([f"train.seed={seed}"] if seed is not None else []),
        *setting_of(device),
    ]
    if dry_run:
        _show_plan(_configure(preset, init_from, overrides), preset, as_json=as_json)
        return
    share_work(nproc)

    from i2icli.cli.training import open_view, show_result  # imports torch; keeps --help instant
    from i2icli.training.run import start_run

    result = start_run(
        _configure(preset, init_from, overrides),
        run_dir=run_dir,
        init_from=init_from,
        command=["i2i", *sys.argv[1:]],
        reporter=open_view(),
        on_loaded=lambda loaded: typer.echo("\n".join(loaded.lines()), err=True),
    )
    show_result(result, as_json=as_json)


def _data_overrides(data: Path | None) -> list[str]:
    if data is None:
        return []
    if not data.expanduser().is_dir():
        raise DataError(f"--data {data} is no folder: give one with trainA and trainB in it.")
    from i2icli.config.sections import data_overrides

    return data_overrides(data)


def _configure(preset: str | None, init_from: Path | None, overrides: list[str]) -> AnyRunConfig:
    """Return the preset's configuration, without one that of the checkpoint to begin with."""
    from i2icli.methods import configure_run
    from i2icli.training.initial import configure_as

    if preset is not None or init_from is None:
        return configure_run(preset or "", overrides)
    return configure_as(init_from, overrides)


def _show_plan(config: AnyRunConfig, preset: str | None, *, as_json: bool) -> None:
    from i2icli.bench.plan import plan_run

    words = [word for word in sys.argv[1:] if word not in ("--dry-run", "--json")]
    command = shlex.join(["i2i", *words])
    show(plan_run(config, preset=preset, command=command), as_json=as_json)


def _missing_preset(device: str | None) -> ConfigError:
    advised, made = preset_for(device), ""
    if advised != "demo":
        made = f"`i2i train --preset {advised} --data DIR` is made for a machine without a GPU; "
    return ConfigError(
        f"--preset is missing: `i2i presets list` shows all of them; {made}"
        "`i2i train --preset demo` is the smallest."
    )
