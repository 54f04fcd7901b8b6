"""`i2i analyse-structure`: which losses tell aligned pictures from others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, Device
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import show, writing_to

Data = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA",
        help="A folder of pairs side by side; or one with A and B, or testA and testA_truth; "
        "or two folders with equal file names.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Gets analysis.png and analysis.json.")]
Count = Annotated[
    int | None, typer.Option(min=2, help="The most pairs compared, evenly spaced; none: all.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of who meets whom, places and intervals.")]


def analyse_structure(
    data: Data,
    out: Out = Path("structure-analysis"),
    count: Count = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show on paired pictures which losses go by structure, and which by appearance."""
    from i2icli.evaluation.analyse import analyse_structure as analyse
    from i2icli.evaluation.analyse import find_pairs
    from i2icli.system.allocator import claim_process

    claim_process()
    pairs = find_pairs([path.expanduser() for path in data])
    with progress_bar("comparing") as report:
        found = analyse(pairs, count=count, seed=seed, device=device, progress=report)
    folder = out.expanduser()
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        found.figure.savefig(folder / "analysis.png")
        text = json.dumps(found.as_document(), indent=2) + "\n"
        (folder / "analysis.json").write_text(text, encoding="utf-8")
    show(found, as_json=as_json)
    typer.echo(f"figure: {out / 'analysis.png'}", err=True)
