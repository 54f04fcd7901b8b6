"""`i2i presets`: what presets there are, what they hold, and a copy to change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2icli.cli.options import AsJson, examples
from i2icli.cli.show import Told, show
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.config.presets import Preset

presets_app = typer.Typer(
    help="List, show and copy presets.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A name from `i2i presets list`, or a TOML file.")
]


@presets_app.command("list", epilog=examples("i2i presets list", "i2i presets list --json"))
def list_presets(as_json: AsJson = False) -> None:
    """List the shipped presets with their method and published number."""
    from i2icli.config.presets import preset_names, read_preset

    rows = [_summary(read_preset(name)) for name in preset_names()]
    width = max(len(row["name"]) for row in rows)
    lines = [f"{row['name']:<{width}}  {row['method']:<8}  {row['published']}" for row in rows]
    show(Told(rows, lines), as_json=as_json)


@presets_app.command(
    "show",
    epilog=examples(
        "i2i presets show qs-attn-global",
        "i2i presets show fastcut --diff",
        "i2i presets show demo --full",
    ),
)
def show_preset(
    name: Name,
    full: Annotated[
        bool, typer.Option("--full", help="Every value with its meaning, defaults included.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="What differs from the paper's defaults.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print a preset: the file as it is, all values, or what differs from the paper."""
    if full and diff:
        raise ConfigError("give --full or --diff, not both.")
    if diff:
        _show_changes(name, as_json=as_json)
    elif full:
        _show_all(name, as_json=as_json)
    else:
        from i2icli.config.presets import read_preset

        preset = read_preset(name)
        show(Told(preset.document, [preset.text.rstrip()]), as_json=as_json)


@presets_app.command(
    "copy", epilog=examples("i2i presets copy cut", "i2i presets copy cut my-preset.toml")
)
def copy_preset(
    name: Name,
    to: Annotated[
        Path | None,
        typer.Argument(metavar="DEST", help="File or folder; none: NAME.toml right here."),
    ] = None,
) -> None:
    """Copy a preset to a file of your own, which is never overwritten."""
    from i2icli.config.presets import read_preset
    from i2icli.system.faults import advice
    from i2icli.system.files import write_whole

    preset = read_preset(name)
    target = Path(".") if to is None else to
    if target.is_dir():
        target = target / f"{preset.name}.toml"
    if os.path.lexists(target):
        raise ConfigError(f"{target} exists and is left as it is: name another file.")
    try:
        write_whole(target, preset.text)
    except OSError as error:
        said = f"{target} cannot be written: {error.strerror}. {advice(error)}"
        raise ConfigError(said) from None
    typer.echo(f"wrote {target}; train with it: i2i train --preset {target}")


def _summary(preset: Preset) -> dict[str, Any]:
    about, method = preset.document.get("about", {}), preset.document.get("method", {})
    keys = ("paper", "table", "published", "protocol")
    return {
        "name": preset.name,
        "method": method.get("name", ""),
        **{key: about.get(key, "") for key in keys},
        "deviations": about.get("deviations", []),
    }


def _show_all(name: str, *, as_json: bool) -> None:
    from i2icli.config.document import annotate, config_document
    from i2icli.config.shape import Shape
    from i2icli.methods.shared.configure import configure_run, run_schema

    document = config_document(configure_run(name))
    text = annotate(document, Shape.of(run_schema())).rstrip()
    show(Told(document, [text]), as_json=as_json)


def _show_changes(name: str, *, as_json: bool) -> None:
    from i2icli.methods.shared.configure import changes_from_paper, configure_run

    changes = changes_from_paper(configure_run(name))
    lines = [str(change) for change in changes] or ["nothing differs from the paper's defaults"]
    show(Told(changes, lines), as_json=as_json)
