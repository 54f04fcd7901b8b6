"""`i2i cache`: what I2I_HOME holds, and room made in it."""

from __future__ import annotations

from typing import Annotated

import typer

from i2icli.cli.options import AsJson, examples
from i2icli.cli.show import Told, show
from i2icli.home import home

cache_app = typer.Typer(
    help="Show what i2i keeps in I2I_HOME, and free it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Names from `i2i cache list`; without any, all that comes back by itself.",
        show_default=False,
    ),
]


@cache_app.command("list", epilog=examples("i2i cache list", "i2i cache list --json"))
def list_holdings(as_json: AsJson = False) -> None:
    """Say what lies in I2I_HOME, how large it is, and how it comes back once it is removed."""
    from i2icli.system.holdings import HOLDINGS

    rows = [holding.as_document() for holding in HOLDINGS]
    lines = [
        f"{row['name']:10}{_megabytes(row['bytes']):>12}  {row['purpose']}"
        f" (comes back {row['again'] or 'by itself'})"
        for row in rows
        if row["files"]
    ]
    total = sum(row["bytes"] for row in rows)
    lines.append(f"{'all':10}{_megabytes(total):>12}  in {home()}")
    show(Told({"folder": home(), "bytes": total, "holdings": rows}, lines), as_json=as_json)


@cache_app.command(
    "clean",
    epilog=examples("i2i cache clean", "i2i cache clean features", "i2i cache clean weights"),
)
def clean(names: Names = None, as_json: AsJson = False) -> None:
    """Remove what comes back by itself, or what is named; runs and their checkpoints stay."""
    from i2icli.system.holdings import free

    freed, left = free(names or [])
    lines = [f"{_megabytes(freed)} freed in {home()}"]
    lines += [f"left: {path}, which a process may be writing" for path in left]
    show(Told({"folder": home(), "freed": freed, "left": left}, lines), as_json=as_json)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
