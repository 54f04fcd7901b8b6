"""The options of `i2i translate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A checkpoint, or a run folder: its last.pt.")
]
In = Annotated[
    str,
    typer.Argument(
        metavar="IN",
        help="A picture, a folder, a quoted pattern ('in/**/*.jpg'), a .txt file with one path a "
        "line, or - for such lines on standard input; also .tar shards: one, a folder of them, "
        "or 'set-{000..099}.tar'.",
    ),
]
Out = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="A folder, which mirrors IN; for one picture also a file name such as out.png; for "
        "shards a folder of shards.",
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
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Most memory to take, such as 4G. Default: most of what is free."
    ),
]
TilesChoice = Annotated[
    str,
    typer.Option(
        "--tiles",
        metavar="auto|exact|fast|off",
        help="Large pictures in tiles: auto: exactly, where the whole does not fit.",
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the generator first, for many pictures of few sizes on a GPU.",
    ),
]
