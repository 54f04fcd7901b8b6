"""`i2i import`: a checkpoint of i2i from files that a paper's released code wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, Overrides
from i2icli.cli.show import show_document
from i2icli.errors import ConfigError

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A released generator: latest_net_G.pth, latest_net_G_A.pth, gen_00100000.pt, "
        "or such as .safetensors. Others of the release are found beside it.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Argument(
        metavar="[OUT]", help="The checkpoint to write; none: FILE's name with .i2i.pt."
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="What it was trained as, such as fastcut or qs-attn-global; none: the usual one of "
        "its architecture. Translations are the same.",
    ),
]
Direction = Annotated[
    str | None,
    typer.Option(help="data.direction of the data set it was trained on: a2b, or b2a."),
]
Alone = Annotated[
    bool, typer.Option("--alone", help="Take FILE only, and nothing that lies beside it.")
]
Network = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Of a FILE that holds several generators, the one to take: netG_A."
    ),
]


def import_checkpoint(
    file: File,
    out: Out = None,
    preset: Preset = None,
    direction: Direction = None,
    set_: Overrides = None,
    alone: Alone = False,
    network: Network = None,
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint of a generator that a paper's released code saved."""
    if direction not in (None, "a2b", "b2a"):
        raise ConfigError(f"--direction {direction!r} is none: use a2b or b2a.")
    from i2icli.interop.importing import import_released

    file = file.expanduser()
    imported = import_released(
        file,
        (out or file.with_suffix(".i2i.pt")).expanduser(),
        preset=preset,
        direction=direction,
        overrides=set_ or [],
        alone=alone,
        network=network,
    )
    if as_json:
        show_document(imported.as_document())
    typer.echo("\n".join(imported.lines()), err=True)
