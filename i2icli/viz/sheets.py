"""Contact sheets: every source beside its translations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from i2icli.pictures.images import Pixels, read_picture, write_picture
from i2icli.translation.targets import GRID_ROWS, Job
from i2icli.viz.grid import draw_grid, shrink

SHEET_SIDE = 512  # pixels; a sheet of larger pictures would be too large to look at


def write_sheets(
    grids: Sequence[Path],
    jobs: Sequence[Job],
    *,
    direction: str,
    styles: Sequence[str] = (),
    masks: Sequence[str] = (),
) -> list[Path]:
    """Write contact sheets of finished jobs, `GRID_ROWS` pictures each.

    Pictures are shown pixel for pixel, or scaled down to `SHEET_SIDE` where they are larger.

    Args:
        grids: files to write, enough for the jobs.
        jobs: jobs whose targets are there.
        direction: for the caption.
        styles: names of the targets; none: one target.
        masks: names of the masks beside each target.

    Returns:
        The files written.
    """
    titles = [
        title for made in styles or (f"translation ({direction})",) for title in (made, *masks)
    ]
    written = []
    for number, grid in enumerate(grids):
        rows = jobs[number * GRID_ROWS : (number + 1) * GRID_ROWS]
        if not rows:
            break
        sheet = draw_grid(
            [[_thumbnail(path) for path in (job.source, *_made(job))] for job in rows],
            column_titles=("source", *titles),
            row_titles=[job.name for job in rows],
        )
        write_picture(grid, np.asarray(sheet))
        written.append(grid)
    return written


def _made(job: Job) -> list[Path]:
    """Return the targets of a job, each before its masks."""
    masks = job.masks or ((),) * len(job.targets)
    return [path for pair in zip(job.targets, masks, strict=True) for path in (pair[0], *pair[1])]


def _thumbnail(path: Path) -> Pixels:
    return shrink(read_picture(path, channels=3).pixels, side=SHEET_SIDE)
