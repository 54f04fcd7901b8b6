"""Options that commands share, and the examples under each help text."""

from __future__ import annotations

from typing import Annotated

import typer

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
Processes = Annotated[
    int, typer.Option("--nproc", min=1, metavar="N", help="Processes that share out the work.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def examples(*commands: str) -> str:
    """Return the text that stands under a command's help; the mark keeps its lines apart."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])
