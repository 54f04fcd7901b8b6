"""`i2i report`: a run as one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, Overwrite
from i2icli.cli.show import Told, show
from i2icli.errors import ConfigError


def report(
    run_dir: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="The folder of the run; none: the newest in runs/."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: RUN/report.html.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write all that a run folder tells into one HTML file, to read anywhere and to send."""
    from i2icli.pictures.mark import refuse_foreign
    from i2icli.reports.build import report_run  # imports torch
    from i2icli.reports.page import render_report
    from i2icli.runs.paths import find_run, newest_run
    from i2icli.system.faults import advice
    from i2icli.system.files import write_whole
    from i2icli.translation.targets import check_folder_name

    folder = find_run(run_dir or newest_run()).path
    target = out.expanduser() if out is not None else folder / "report.html"
    if target.is_dir():
        raise ConfigError(f"--out {target} is a folder: name a file, such as {target}/report.html.")
    check_folder_name(target)  # nor is a page named like a picture
    if not overwrite:
        refuse_foreign([target])
    found = report_run(folder)
    text = render_report(found)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text)
    except OSError as fault:
        raise ConfigError(
            f"{target} cannot be written: {fault.strerror}. "
            + advice(fault, instead="Name another file with --out.")
        ) from None
    for line in found.missing:
        typer.echo(f"not in the report: {line}", err=True)
    document = {
        "run": folder,
        "report": target,
        "bytes": len(text.encode("utf-8")),
        "status": found.status.word.lower(),
        "missing": found.missing,
    }
    show(Told(document, [str(target)]), as_json=as_json)
