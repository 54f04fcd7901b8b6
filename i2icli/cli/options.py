"""Options that commands share, and the examples under each help text."""

from __future__ import annotations

from typing import Annotated

import typer

from i2icli.errors import ConfigError

PresetName = Annotated[
    str, typer.Option("--preset", help="A name from `i2i presets list`, or a TOML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one value, as TOML or plain text; repeatable."
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
DeviceSetting = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")
]
Direction = Annotated[str, typer.Option(help="a2b; b2a too where the method translates both ways.")]
Processes = Annotated[
    int, typer.Option("--nproc", min=1, metavar="N", help="Processes that share out the work.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def examples(*commands: str) -> str:
    """Return the text that stands under a command's help; the mark keeps its lines apart."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def setting_of(device: str | None) -> list[str]:
    """Return the override that `--device` stands for; none where it was not given."""
    return [f"runtime.device={device}"] if device is not None else []


def check_stop(steps: int | None, epochs: int | None) -> None:
    """Refuse two places to stop.

    Raises:
        ConfigError: both are given.
    """
    if steps is not None and epochs is not None:
        raise ConfigError("--steps and --epochs say both where to stop: give one of them.")
