"""`i2i import`: a checkpoint of i2i from files that a paper's released code wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2icli.cli.options import AsJson, Overrides
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.interop.importing import Imported

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


def import_checkpoint(
    file: File,
    out: Out = None,
    preset: Preset = None,
    direction: Direction = None,
    set_: Overrides = None,
    alone: Alone = False,
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
    )
    if as_json:
        typer.echo(json.dumps(_as_document(imported), indent=2))
    typer.echo("\n".join(_lines(imported)), err=True)


def _lines(imported: Imported) -> list[str]:
    """Return what is said of an import."""
    names = [*imported.taken, *imported.fresh]
    width = max(len(name) for name in names)
    lines = [f"wrote {imported.path}"]
    for name, part in imported.taken.items():
        filled = part.filled
        constants = f", {len(filled.verified)} constants verified" if filled.verified else ""
        lines += [
            f"  {name:{width}}  {part.file.name}: {part.network.title}",
            f"  {'':{width}}  {len(filled.used)} tensors used{constants}",
        ]
        for reason, unused in _by_reason(filled.unused).items():
            lines.append(f"  {'':{width}}  {len(unused)} left out: {reason} ({_some(unused)})")
    lines += [f"  {name:{width}}  fresh: {why}" for name, why in imported.fresh.items()]
    lines += [f"note: {note}" for note in imported.notes]
    if not imported.is_told:
        lines.append(
            f"taken for preset {imported.config.preset}: a file does not say what it was trained "
            "as, and translations are the same. For further training name it with --preset."
        )
    return [*lines, f"translate: i2i translate {imported.path} IN OUT"]


def _as_document(imported: Imported) -> dict[str, Any]:
    """Return an import as plain values."""
    return {
        "checkpoint": str(imported.path),
        "preset": imported.config.preset,
        "preset_was_given": imported.is_told,
        "method": imported.config.method.name,
        "channels": [imported.config.data.channels_a, imported.config.data.channels_b],
        "networks": {
            name: {
                "file": str(part.file),
                "title": part.network.title,
                "used": len(part.filled.used),
                "verified": list(part.filled.verified),
                "unused": dict(part.filled.unused),
            }
            for name, part in imported.taken.items()
        },
        "fresh": dict(imported.fresh),
        "notes": list(imported.notes),
    }


def _by_reason(unused: Mapping[str, str]) -> dict[str, list[str]]:
    """Return names by the reason they were left out."""
    groups: dict[str, list[str]] = {}
    for name, reason in unused.items():
        groups.setdefault(reason, []).append(name)
    return groups


def _some(names: list[str]) -> str:
    """Return the first few names."""
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
