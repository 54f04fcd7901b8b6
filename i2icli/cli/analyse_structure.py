"""`i2i analyse-structure`: which losses tell aligned pictures from others."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, Device
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import results_folder, show

Data = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA",
        help="A folder of pairs side by side; or one with A and B, or testA and testA_truth; "
        "or two folders with equal file names.",
    ),
]
NAME = "structure-analysis"
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Gets analysis.png and analysis.json, which it does not hold yet; none: the next of "
        f"{NAME}/{NAME}-001, ...",
    ),
]
Count = Annotated[
    int | None, typer.Option(min=2, help="The most pairs compared, evenly spaced; none: all.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of who meets whom, places and intervals.")]


def analyse_structure(
    data: Data,
    out: Out = None,
    count: Count = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show on paired pictures which losses go by structure, and which by appearance."""
    from i2icli.evaluation.analyse import analyse_structure as analyse
    from i2icli.evaluation.analyse import find_pairs
    from i2icli.pictures.mark import SOFTWARE
    from i2icli.system.allocator import claim_process
    from i2icli.system.files import write_whole

    claim_process()
    pairs = find_pairs([path.expanduser() for path in data])
    with results_folder(out.expanduser() if out else None, NAME, stem="analysis") as (
        fresh,
        folder,
    ):
        with progress_bar("comparing") as report:
            found = analyse(pairs, count=count, seed=seed, device=device, progress=report)
        figure = BytesIO()
        found.figure.savefig(figure, format="png", metadata={"Software": SOFTWARE})
        write_whole(fresh / "analysis.png", figure.getvalue())
        write_whole(fresh / "analysis.json", json.dumps(found.as_document(), indent=2) + "\n")
    show(found, as_json=as_json)
    typer.echo(f"figure: {folder / 'analysis.png'}", err=True)
