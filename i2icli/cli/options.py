"""Options that commands share, and the examples under each help text."""

from __future__ import annotations

from typing import Annotated

import typer

from i2icli.config.words import parse_duration
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
Steps = Annotated[int | None, typer.Option(min=1, help="Stop after this step.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Stop after this epoch.")]
Budget = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Stop after so long, resumes included: 90m, 2h, 1d, 1h30m."),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that are there and that i2i did not make."),
]
NoMark = Annotated[
    bool,
    typer.Option("--no-mark", help="Leave out the mark that names i2i and tells of the network."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def examples(*commands: str) -> str:
    """Return the text that stands under a command's help; the mark keeps its lines apart."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


def setting_of(device: str | None) -> list[str]:
    """Return the override that `--device` stands for; none where it was not given."""
    return [f"runtime.device={device}"] if device is not None else []


def preset_for(device: str | None) -> str:
    """Return the preset to name where the user named none, by what `--device` would come to."""
    from i2icli.config.presets import default_preset
    from i2icli.system.device import resolve_device  # imports torch; keeps --help instant

    return default_preset(resolve_device(device or "auto").type)


def stop_settings(
    *, steps: int | None, epochs: int | None, budget: str | None
) -> dict[str, str | int | None]:
    """Return the values of `train` that say where to stop; none where no option was given.

    Raises:
        ConfigError: several are given, or the budget is no time.
    """
    options = {"steps": steps, "epochs": epochs, "budget": budget}
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if len(given) > 1:
        both = "both" if len(given) == 2 else "all"
        raise ConfigError(f"{' and '.join(given)} say {both} where to stop: give one of them.")
    try:
        parse_duration(budget or "1s")
    except ValueError as fault:
        raise ConfigError(f"--budget {fault}.") from None
    return options if given else {}
