"""`i2i doctor`: whether a run could start here, and what it would take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, DeviceSetting, Overrides, preset_for, setting_of
from i2icli.cli.show import show


def doctor(
    preset: Annotated[
        str | None,
        typer.Option(help="A name from `i2i presets list`, or a TOML file; none: by the device."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set; none: the demo set.")
    ] = None,
    device: DeviceSetting = None,
    set_: Overrides = None,
    retry_trials: Annotated[
        bool, typer.Option("--retry-trials", help="Try layouts anew, dropping what was found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for all that a run needs; exit code 0 only if it could start."""
    from i2icli.bench.doctor import Patient, examine  # imports torch; keeps --help instant
    from i2icli.system.allocator import claim_process

    claim_process()  # as the run would
    overrides = (*(set_ or []), *setting_of(device))
    preset = preset or preset_for(device)
    checkup = examine(Patient(preset, overrides, data, retries_trials=retry_trials))
    show(checkup, as_json=as_json)
    if checkup.exit_code:
        raise typer.Exit(checkup.exit_code)
