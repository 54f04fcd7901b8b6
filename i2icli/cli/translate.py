"""`i2i translate`: pictures through a checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2icli.cli.options import AsJson, Device
from i2icli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from i2icli.inference.folder import FolderOptions, FolderReport
    from i2icli.inference.targets import Plan
    from i2icli.inference.translator import Translator

_LOSSLESS = ("png", "bmp", "tif", "tiff")


Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A checkpoint, or a run folder: its last.pt.")
]
In = Annotated[
    str,
    typer.Argument(
        metavar="IN",
        help="A picture, a folder, a quoted pattern ('in/**/*.jpg'), a .txt file with one path a "
        "line, or - for such lines on standard input.",
    ),
]
Out = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="A folder, which mirrors IN; for one picture also a file name such as out.png.",
    ),
]
Direction = Annotated[str, typer.Option(help="a2b; b2a too where the method translates both ways.")]
Precision = Annotated[
    str, typer.Option(help="auto (as the run was trained), float32, bfloat16 or float16.")
]
BatchSize = Annotated[
    str, typer.Option(metavar="auto|N", help="Pictures of one size translated at once.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="png (default), jpg, webp, bmp, tiff; keep: as the input."),
]
Quality = Annotated[int | None, typer.Option(min=1, max=100, help="Of jpg and webp. Default: 95.")]
Suffix = Annotated[str, typer.Option(help="Added to every output's name, for example _zebra.")]
Grid = Annotated[
    bool, typer.Option("--grid", help="Also write contact sheets, source beside translation.")
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave outputs that are already there.")
]


def translate(
    checkpoint: Checkpoint,
    source: In,
    out: Out,
    direction: Direction = "a2b",
    device: Device = "auto",
    precision: Precision = "auto",
    batch: BatchSize = "auto",
    format_: Format = None,
    quality: Quality = None,
    suffix: Suffix = "",
    grid: Grid = False,
    skip_existing: SkipExisting = False,
    as_json: AsJson = False,
) -> None:
    """Translate pictures of any size with a trained checkpoint."""
    from i2icli.inference.folder import FolderOptions

    plan = _plan(source, out, format_=format_, suffix=suffix, quality=quality, with_grids=grid)
    options = FolderOptions(
        direction=direction,
        batch_size=_parse_batch(batch),
        quality=quality or 95,
        skip_existing=skip_existing,
    )
    from i2icli.inference.translator import load_translator

    translator = load_translator(checkpoint, device=device, precision=precision)
    report, grids = _run(translator, plan, options)
    if as_json:
        typer.echo(json.dumps(_as_document(report, grids), indent=2))
    typer.echo(
        f"found {report.found}, written {len(report.written)}, skipped {report.skipped}, "
        f"failed {len(report.failures)}",
        err=True,
    )
    if report.failures:
        raise typer.Exit(DataError.exit_code)


def _plan(
    named: str,
    out: Path,
    *,
    format_: str | None,
    suffix: str,
    quality: int | None,
    with_grids: bool,
) -> Plan:
    """Decide what is read and written; refuse what contradicts itself."""
    from i2icli.inference.sources import find_sources, is_list, is_picture
    from i2icli.inference.targets import plan_outputs

    path = Path(named).expanduser()
    is_one = named != "-" and path.is_file() and not is_list(path)
    is_file = is_one and is_picture(out) and not out.is_dir()
    if is_file and (suffix or (format_ and f".{format_}" != out.suffix.lower())):
        raise ConfigError(
            f"OUT names the file {out}, which leaves nothing to --format and --suffix: "
            "leave them out, or give a folder."
        )
    format_ = out.suffix[1:].lower() if is_file else format_ or "png"
    if quality is not None and format_ in _LOSSLESS:
        raise ConfigError(
            f"--quality {quality} means nothing to {format_}: use it with jpg or webp."
        )
    if path.is_dir() and out.is_dir() and out.samefile(path):
        raise ConfigError(f"OUT is IN ({out}): give another folder, such as {out / 'translated'}.")
    lines = sys.stdin.read().splitlines() if named == "-" else ()
    sources = find_sources(named, lines=lines, out=None if is_file else out)
    plan = plan_outputs(
        sources, out, is_file=is_file, format=format_, suffix=suffix, with_grids=with_grids
    )
    folder = out.parent if is_file else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"the folder {folder} cannot be made: {fault.strerror}.") from None
    return plan


def _parse_batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--batch {text!r} is no batch size: use auto, 1, 2, ...")
    return int(text)


def _run(
    translator: Translator, plan: Plan, options: FolderOptions
) -> tuple[FolderReport, list[Path]]:
    """Translate and draw; name on stderr what failed, show progress where that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from i2icli.inference.folder import translate_jobs
    from i2icli.inference.sheets import write_sheets
    from i2icli.inference.targets import Job

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:

        def say(message: str) -> None:
            progress.console.print(message, markup=False, highlight=False, soft_wrap=True)

        def note(job: Job, error: str | None) -> None:
            progress.advance(task)
            if error is not None:
                say(
                    f"failed: {error}"
                    if str(job.source) in error
                    else f"failed: {job.source}: {error}"
                )

        task = progress.add_task("translating", total=len(plan.jobs))
        report = translate_jobs(translator, plan.jobs, options, on_done=note, warn=say)
        failed = {failure.path for failure in report.failures}
        shown = [job for job in plan.jobs if job.source not in failed]
        grids = write_sheets(plan.grids, shown, direction=options.direction)
    return report, grids


def _as_document(report: FolderReport, grids: list[Path]) -> dict[str, Any]:
    return {
        "found": report.found,
        "written": len(report.written),
        "skipped": report.skipped,
        "failed": len(report.failures),
        "failures": [{"path": str(f.path), "error": f.error} for f in report.failures],
        "outputs": [{"path": str(j.source), "output": str(j.target)} for j in report.written],
        "grids": [str(path) for path in grids],
        "seconds": round(report.seconds, 3),
        "images_per_s": round(report.images_per_s, 3),
    }
