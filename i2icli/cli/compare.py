"""`i2i compare`: the same pictures through several checkpoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.options import AsJson, Device
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import Told, results_folder, show

if TYPE_CHECKING:
    from i2icli.evaluation.compare import Comparison
    from i2icli.metrics.results import Measurement
    from i2icli.metrics.truth import TruthScore


Checkpoints = Annotated[
    list[Path],
    typer.Argument(metavar="CKPT", help="Checkpoints, run folders: their last.pt, or zoo:NAME."),
]
In = Annotated[
    str,
    typer.Argument(metavar="IN", help="A picture, a folder, or a quoted pattern ('in/**/*.jpg')."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Gets compare.png and compare.json, which it does not hold yet; none: the next of "
        "compare/compare-001, ...",
    ),
]
Count = Annotated[int, typer.Option(min=1, help="Pictures of IN, evenly spaced.")]
Direction = Annotated[str, typer.Option(help="a2b; b2a too where the methods translate both ways.")]
Fid = Annotated[bool, typer.Option("--fid", help="Also FID, over all pictures of IN (a folder).")]
Kid = Annotated[bool, typer.Option("--kid", help="Also KID, over all pictures of IN (a folder).")]
Lpips = Annotated[
    bool, typer.Option("--lpips", help="Also LPIPS between every input and its translation.")
]
Real = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Real pictures for --fid and --kid; none: testB beside IN testA."
    ),
]


def compare(
    checkpoints: Checkpoints,
    source: In,
    out: Out = None,
    count: Count = 8,
    direction: Direction = "a2b",
    fid: Fid = False,
    kid: Kid = False,
    lpips: Lpips = False,
    real: Real = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show the same pictures translated by several checkpoints, and their figures in a table."""
    import numpy as np

    from i2icli.evaluation.compare import compare as compare_all
    from i2icli.evaluation.compare import find_contenders, plan_measuring
    from i2icli.pictures.encode import write_picture
    from i2icli.system.allocator import claim_process
    from i2icli.system.files import write_whole
    from i2icli.translation.sources import find_sources

    claim_process()
    contenders = find_contenders(checkpoints)
    sources = find_sources(source, out=out or Path("compare"))
    wanted = [name for name, is_on in (("fid", fid), ("kid", kid), ("lpips", lpips)) if is_on]
    with results_folder(out, "compare", stem="compare") as (fresh, folder):
        measure = plan_measuring(
            wanted, Path(source).expanduser(), real=real, out=fresh, direction=direction
        )
        with progress_bar("translating") as report:
            found = compare_all(
                contenders,
                sources,
                count=count,
                direction=direction,
                device=device,
                measure=measure,
                progress=report or (lambda _done, _total: None),
            )
        sheet = folder / "compare.png"
        document = {"direction": direction, "sheet": str(sheet), **found.as_document()}
        write_picture(fresh / sheet.name, np.asarray(found.sheet), is_marked=True)
        text = json.dumps(document, indent=2) + "\n"
        write_whole(fresh / "compare.json", text)
    for path, why in found.skipped.items():
        typer.echo(f"skipped: {why if path in why else f'{path}: {why}'}", err=True)
    show(Told(document, _lines(found)), as_json=as_json)
    typer.echo(f"sheet: {sheet}", err=True)


def _lines(found: Comparison) -> list[str]:
    names = [one.name for one in found.outcomes[0].measurements]
    header = ["name", "method", "step", "parameters", "s/picture"]
    header += ["error", "inside", "outside"] if found.identity else []
    rows = [
        [
            one.contender.name,
            one.method,
            f"{one.step:,}",
            f"{one.parameters:,}",
            "-" if one.seconds is None else f"{one.seconds:.3g}",
            *(_errors(one.truth) if found.identity else []),
            *map(_with_interval, one.measurements),
        ]
        for one in found.outcomes
    ]
    if found.identity:
        blank = ["-"] * (len(header) - 4)
        rows.append(["source itself", *blank, *_errors(found.identity), *("-" for _ in names)])
    lines = _aligned([[*header, *names], *rows])
    device = found.outcomes[0].device
    lines.append(f"{len(found.pictures)} pictures; s/picture: median on {device}, reading left out")
    if found.identity:
        lines.append("error: mean absolute, against the true translations, pixels in [0, 1]")
    for measured in found.outcomes[0].measurements:
        interval = measured.interval
        if interval is not None:
            lines.append(f"{measured.name}: [low, high]: {interval.level:.0%}, {interval.method}")
        facts = {**{f"N {key}": n for key, n in measured.counts.items()}, **measured.protocol}
        lines.append(f"{measured.name}: " + ", ".join(f"{key} {v}" for key, v in facts.items()))
        lines += [f"{measured.name}: {warning}" for warning in measured.warnings]
    return lines


def _with_interval(measured: Measurement) -> str:
    found = measured.interval
    return f"{measured.value:.4g}" + (f" [{found.low:.4g}, {found.high:.4g}]" if found else "")


def _errors(score: TruthScore | None) -> list[str]:
    parts = (score.total, score.inside, score.outside) if score else (None, None, None)
    return ["-" if part is None else f"{part:.4f}" for part in parts]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
