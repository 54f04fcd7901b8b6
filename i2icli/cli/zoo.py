"""`i2i zoo`: the trained translators that come with i2i."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2icli.cli.options import AsJson, examples
from i2icli.cli.show import Told, show

if TYPE_CHECKING:
    from i2icli.runs.zoo import ZooEntry

zoo_app = typer.Typer(
    help="List and show the trained translators that come with i2i.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A name from `i2i zoo list`, or the folder of an entry."),
]


@zoo_app.command("list", epilog=examples("i2i zoo list", "i2i zoo list --json"))
def list_entries(as_json: AsJson = False) -> None:
    """List the trained translators: what they do, FID and KID, hours of training, size."""
    from i2icli.runs.zoo import entry_folders, read_entry

    rows = [_summary(read_entry(folder)) for folder in entry_folders().values()]
    columns = [[_in_words(row)[column] for row in rows] for column in range(5)]
    widths = [max(map(len, column), default=0) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in zip(*columns, strict=True)
    ]
    show(Told(rows, lines), as_json=as_json)
    if rows and not as_json:
        typer.echo(f"use one: i2i translate zoo:{rows[0]['name']} IN OUT", err=True)
    if not rows and not as_json:
        typer.echo("there is none in this version of i2i", err=True)


@zoo_app.command(
    "show", epilog=examples("i2i zoo show horse2zebra", "i2i zoo show horse2zebra --json")
)
def show_entry(name: Name, as_json: AsJson = False) -> None:
    """Print the card of a trained translator: its data, numbers, licence and limits."""
    from i2icli.config.document import read_text
    from i2icli.runs.zoo import CARD, find_entry_folder, is_entry, read_entry

    path = Path(name).expanduser()
    entry = read_entry(path if is_entry(path) else find_entry_folder(name))
    document = {**_summary(entry), **entry.facts, "card": entry.folder / CARD}
    text = read_text(entry.folder / CARD)
    body = text.partition("\n---\n")[2] or text  # the head says the same to programs
    show(Told(document, [body.strip()]), as_json=as_json)


def _summary(entry: ZooEntry) -> dict[str, Any]:
    facts = entry.facts
    return {
        "name": entry.name,
        "translates": facts["translates"],
        **{name: facts["metrics"].get(name) for name in ("fid", "kid")},
        "hours": facts["hours"],
        "bytes": entry.size,
        "folder": str(entry.folder),
    }


def _in_words(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = [
        f"{name.upper()} {row[name]:.4g}" for name in ("fid", "kid") if row[name] is not None
    ]
    return (
        row["name"],
        row["translates"],
        ", ".join(numbers) or "not measured",
        f"{row['hours']:.3g} hours",
        f"{row['bytes'] / 1e6:.1f} MB",
    )
