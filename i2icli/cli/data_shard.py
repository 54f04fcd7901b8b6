"""`i2i data shard`: a folder of pictures as tar shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, Processes
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import Told, show
from i2icli.errors import DataError

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="A folder of pictures, in any depth of folders.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")]
Size = Annotated[int, typer.Option(min=1, metavar="N", help="Pictures a shard.")]


def shard(
    source: Source, out: Out, size: Size = 1000, nproc: Processes = 1, as_json: AsJson = False
) -> None:
    """Pack a folder of pictures, as they are, into tar shards as WebDataset has them."""
    from i2icli.datasets.prepare import check_out
    from i2icli.pictures.listing import list_pictures
    from i2icli.pictures.tar_shards import pack_folder
    from i2icli.system.files import whole_folder
    from i2icli.system.processes.work_queue import executor

    check_out(out, (source,))
    pictures = list_pictures(source)
    if not pictures:
        raise DataError(f"no pictures in {source}.")
    with executor(nproc) as own, progress_bar("packing") as report, whole_folder(out) as fresh:
        shards = pack_folder(pictures, source, fresh, size=size, progress=report, executor=own)
    counts = {"folder": out, "pictures": len(pictures), "shards": dict(shards)}
    lines = [
        f"{out}: {len(pictures)} pictures in {len(shards)} shards",
        f"Next: i2i translate CKPT {out} TRANSLATED",
    ]
    show(Told(counts, lines), as_json=as_json)
