"""`i2i translate`: pictures through a checkpoint."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2icli.cli.options import AsJson, Device
from i2icli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from i2icli.inference.folder import FolderOptions, FolderReport
    from i2icli.inference.sources import Source
    from i2icli.inference.targets import Job, Plan
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
Styles = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Outputs in N random styles, of methods with styles."),
]
Seed = Annotated[
    int | None, typer.Option(min=0, metavar="S", help="With --styles: of the random styles; 0.")
]
StyleFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--style-from",
        metavar="PICTURE",
        help="An output in the style of this picture of the target domain, or of each picture of "
        "a folder; may be given several times.",
    ),
]
Masks = Annotated[
    bool, typer.Option("--masks", help="Also write the masks of methods that make some.")
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
    styles: Styles = None,
    seed: Seed = None,
    style_from: StyleFrom = None,
    masks: Masks = False,
    skip_existing: SkipExisting = False,
    as_json: AsJson = False,
) -> None:
    """Translate pictures of any size with a trained checkpoint."""
    from i2icli.inference.folder import FolderOptions
    from i2icli.inference.translator import load_translator

    _check_styles(styles, seed, style_from)
    wanted = _find(source, out, format_=format_, suffix=suffix, quality=quality)
    batch_size = _parse_batch(batch)
    translator = load_translator(checkpoint, device=device, precision=precision)
    _check_made(translator, wanted, wants_masks=masks)
    names, codes = _choose_styles(translator, styles, seed, style_from, direction=direction)
    named_masks = translator.mask_names if masks else ()
    plan = _plan(wanted, styles=names, masks=named_masks, with_grids=grid)
    options = FolderOptions(
        direction=direction,
        batch_size=batch_size,
        quality=quality or 95,
        skip_existing=skip_existing,
        styles_of=None if codes is None else lambda _job: codes,
    )
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


@dataclass(frozen=True)
class _Wanted:
    """What is read, and where it goes."""

    sources: Sequence[Source]
    out: Path
    is_file: bool
    format: str
    suffix: str


def _find(
    named: str, out: Path, *, format_: str | None, suffix: str, quality: int | None
) -> _Wanted:
    """Find what is read; refuse what contradicts itself."""
    from i2icli.inference.sources import find_sources, is_list, is_picture

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
    return _Wanted(sources, out, is_file, format_, suffix)


def _plan(
    wanted: _Wanted, *, styles: Sequence[str], masks: Sequence[str], with_grids: bool
) -> Plan:
    """Decide what is written, and make its folder."""
    from i2icli.inference.targets import plan_outputs

    plan = plan_outputs(
        wanted.sources,
        wanted.out,
        is_file=wanted.is_file,
        format=wanted.format,
        suffix=wanted.suffix,
        styles=styles,
        masks=masks,
        with_grids=with_grids,
    )
    folder = wanted.out.parent if wanted.is_file else wanted.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"the folder {folder} cannot be made: {fault.strerror}.") from None
    return plan


def _check_styles(count: int | None, seed: int | None, pictures: list[str] | None) -> None:
    """Refuse options of styles that contradict each other."""
    if count is not None and pictures:
        raise ConfigError(
            "--styles draws styles at random and --style-from takes them from pictures: "
            "leave one of them out."
        )
    if seed is not None and count is None:
        raise ConfigError(f"--seed {seed} is of random styles: add --styles N.")


def _check_made(translator: Translator, wanted: _Wanted, *, wants_masks: bool) -> None:
    """Refuse to write what the method does not make."""
    if wants_masks and not translator.mask_names:
        raise ConfigError(f"{translator.name} makes no masks: leave --masks out.")
    if translator.segments and wanted.format != "png":
        raise ConfigError(
            f"{translator.name} makes label maps, and these are written as png, which keeps the "
            f"ids: {wanted.format} is not possible."
        )


def _choose_styles(
    translator: Translator,
    count: int | None,
    seed: int | None,
    pictures: list[str] | None,
    *,
    direction: str,
) -> tuple[tuple[str, ...], Tensor | None]:
    """Return the names of the styles and their codes; none for the default style."""
    from i2icli.inference.styles import style_names, styles_of_pictures

    if count is not None:
        return style_names(count), translator.styles(count, seed or 0)
    if pictures:
        return styles_of_pictures(translator.method, pictures, direction)
    return (), None


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
        grids = write_sheets(
            plan.grids,
            shown,
            direction=options.direction,
            styles=plan.styles,
            masks=plan.masks,
        )
    return report, grids


def _as_document(report: FolderReport, grids: list[Path]) -> dict[str, Any]:
    return {
        "found": report.found,
        "written": len(report.written),
        "skipped": report.skipped,
        "failed": len(report.failures),
        "failures": [{"path": str(f.path), "error": f.error} for f in report.failures],
        "outputs": [entry for job in report.written for entry in _entries(job)],
        "grids": [str(path) for path in grids],
        "seconds": round(report.seconds, 3),
        "images_per_s": round(report.images_per_s, 3),
    }


def _entries(job: Job) -> list[dict[str, Any]]:
    """Return an entry an output, with its masks where there are some."""
    entries: list[dict[str, Any]] = [
        {"path": str(job.source), "output": str(target)} for target in job.targets
    ]
    for entry, masks in zip(entries, job.masks, strict=False):
        entry["masks"] = [str(path) for path in masks]
    return entries
