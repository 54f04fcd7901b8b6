"""`i2i viz-attention`: a method's workings, as pictures, arrays and an interactive page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i2icli.cli.options import AsJson, Device, Direction, NoMark, Overwrite
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import Told, show
from i2icli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from i2icli.runs.paths import StepFile
    from i2icli.translation.targets import Job
    from i2icli.viz.exhibit import ExhibitOptions, ExhibitReport

Checkpoint = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CKPT]",
        help="A checkpoint, a run folder: its last.pt, or zoo:NAME; none: the newest run in runs/.",
    ),
]
Images = Annotated[
    str | None,
    typer.Argument(
        metavar="[IMAGES]",
        help="A picture, a folder, a quoted pattern or a .txt list; none: the run's samples.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Argument(metavar="[OUT]", help="A folder; none: attention/ in the run folder."),
]
Html = Annotated[
    bool, typer.Option("--html", help="Also write attention.html, an interactive page.")
]
Layers = Annotated[
    str | None,
    typer.Option(metavar="N,N", help="Layers to show, by number or name; none: all."),
]
Queries = Annotated[
    int, typer.Option(min=0, max=32, help="Places whose attention or similarity is drawn.")
]
Query = Annotated[
    list[str] | None,
    typer.Option(
        "--query", metavar="X,Y", help="A pixel whose place is drawn instead; repeatable."
    ),
]
AllCheckpoints = Annotated[
    bool,
    typer.Option("--all-checkpoints", help="Also draw strips and films over the run's training."),
]
InvertMask = Annotated[
    bool, typer.Option("--invert-mask", help="Show masks the other way round, legend and all.")
]
MaxSide = Annotated[
    int, typer.Option(min=16, metavar="PIXELS", help="Larger pictures are scaled down to this.")
]


def viz_attention(
    checkpoint: Checkpoint = None,
    images: Images = None,
    out: Out = None,
    html: Html = False,
    layers: Layers = None,
    queries: Queries = 4,
    query: Query = None,
    all_checkpoints: AllCheckpoints = False,
    invert_mask: InvertMask = False,
    direction: Direction = "a2b",
    max_side: MaxSide = 512,
    device: Device = "auto",
    no_mark: NoMark = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw what a method attends to, its masks, or what places of a picture are alike."""
    names, points = _parse_layers(layers), tuple(_parse_point(text) for text in query or ())
    from i2icli.runs.paths import default_output, home_of
    from i2icli.system.allocator import claim_process
    from i2icli.translation.targets import check_folder_name
    from i2icli.viz.exhibit import ExhibitOptions

    claim_process()
    if out is not None:
        check_folder_name(out)
    files = _find_files(checkpoint, every=all_checkpoints)
    newest = files[-1].path
    out = (out or default_output(newest, "attention")).expanduser()
    options = ExhibitOptions(
        layers=names,
        queries=queries,
        points=points,
        max_side=max_side,
        with_page=html,
        title=home_of(newest).resolve().name,
        direction=direction,
        invert_mask=invert_mask,
        device=device,
        is_marked=not no_mark,
        may_replace=overwrite,
    )
    report = _run(files, _plan(files[-1], images, out, direction), out, options)
    written = [*(path for one in report.exhibits for path in one.files), report.page]
    lines = [str(path) for path in written if path is not None]
    show(Told(_as_document(report, files), lines), as_json=as_json)
    if report.page is not None and not as_json:
        _tell_of_page(report)
    failed = [exhibit for exhibit in report.exhibits if exhibit.error]
    for exhibit in failed:
        typer.echo(f"failed: {exhibit.error}", err=True)
    if failed:
        raise typer.Exit(DataError.exit_code)


def _parse_layers(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise ConfigError(f"--layers {text!r} names nothing: give such as --layers 12,16.")
    return parts


def _parse_point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--query {text!r} is no pixel: give X,Y such as --query 40,64."
        ) from None
    return x, y


def _find_files(named: Path | None, *, every: bool) -> list[StepFile]:
    from i2icli.runs.checkpoint import load_checkpoint
    from i2icli.runs.paths import StepFile, checkpoints_of, find_checkpoint, newest_run

    if named is None:
        named = newest_run()
        typer.echo(f"the newest run: {named}", err=True)
    if every:
        return checkpoints_of(named)
    file = find_checkpoint(named)
    return [StepFile(load_checkpoint(file).step, file)]


def _plan(newest: StepFile, named: str | None, out: Path, direction: str) -> tuple[Job, ...]:
    from i2icli.translation.sources import Source, find_sources
    from i2icli.translation.targets import plan_outputs

    if named == "":  # an unset variable of the shell; Path("") would be the working folder
        raise ConfigError("IMAGES is empty: give a picture or a folder, or leave it out.")
    if named is not None:
        sources = find_sources(named, out=out)
    else:
        pictures = _own_pictures(newest.path, direction)
        sources = [Source(path, Path(path.name)) for path in pictures]
    return plan_outputs(sources, out).jobs


def _own_pictures(checkpoint: Path, direction: str) -> tuple[Path, ...]:
    """Return the sample pictures of the run; where its data set is gone, those of the demo set.

    Of an entry of the zoo, the sources of its samples.
    """
    from i2icli.data.folders import find_domains
    from i2icli.datasets.demo.demo_set import demo_folder
    from i2icli.methods import method_of, restore_config
    from i2icli.pictures.listing import evenly_spaced, list_pictures
    from i2icli.runs.checkpoint import load_checkpoint
    from i2icli.runs.zoo import is_model, sample_sources

    if is_model(checkpoint) and direction == "a2b":
        return sample_sources(checkpoint.parent)
    config = restore_config(load_checkpoint(checkpoint).config)
    count = config.samples.count
    try:
        kind = method_of(config).data
        domains = find_domains(config.data, kind)
        if direction == "b2a":
            return evenly_spaced(domains.test_b or domains.train_b, count=count)
        return evenly_spaced(domains.test_a or domains.train_a, count=count)
    except (DataError, ValueError):
        typer.echo("the run's data set is not there: pictures of the demo set instead", err=True)
        folder = demo_folder() / ("testB" if direction == "b2a" else "testA")
        return evenly_spaced(list_pictures(folder), count=count)


def _run(
    files: list[StepFile], jobs: tuple[Job, ...], out: Path, options: ExhibitOptions
) -> ExhibitReport:
    from i2icli.viz.exhibit import write_exhibits

    with progress_bar("looking") as show:
        return write_exhibits(files, jobs, out, options, on_done=show or (lambda _d, _t: None))


def _tell_of_page(report: ExhibitReport) -> None:
    facts = report.page_facts
    typer.echo(
        f"the page: {facts['bytes'] / 1e6:.1f} MB, {facts['pictures']} of "
        f"{sum(e.error is None for e in report.exhibits)} pictures, {len(facts['steps'])} of "
        f"{len(report.steps)} checkpoints, weights within {facts['largest_error']:.1g}",
        err=True,
    )


def _as_document(report: ExhibitReport, files: list[StepFile]) -> dict[str, Any]:
    return {
        "checkpoint": str(files[-1].path),
        "steps": report.steps,
        "pictures": [
            {
                "path": str(exhibit.job.source),
                "error": exhibit.error,
                "files": [str(path) for path in exhibit.files],
                "layers": exhibit.layers,
            }
            for exhibit in report.exhibits
        ],
        "page": None if report.page is None else {"path": str(report.page), **report.page_facts},
    }
