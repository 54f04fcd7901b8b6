"""`i2i schema`: the JSON schema of a run's configuration, for editors and tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import Overwrite
from i2icli.cli.show import show_document
from i2icli.errors import ConfigError


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write here instead of to the screen.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the JSON schema of a run's configuration."""
    from i2icli.methods.shared.configure import run_schema
    from i2icli.pictures.mark import COMMENT, refuse_foreign
    from i2icli.system.faults import advice
    from i2icli.system.files import write_whole

    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": COMMENT.decode(),
        **run_schema().model_json_schema(),
        "title": "i2i run",
    }
    if out is None:
        show_document(document)
        return
    if not overwrite:
        refuse_foreign([out])
    try:
        write_whole(out, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        said = f"--out {out} cannot be written: {error.strerror}. {advice(error)}"
        raise ConfigError(said) from None
    typer.echo(f"wrote {out}", err=True)
