"""Training data of the kind that a method wants, as the `data` and `labels` of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelled_folders import IGNORED, write_labelled

from i2icli.methods import METHODS


def data_for(name: str, picture_root: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the sections that name tiny data for a method: 8 samples an epoch, 2 a batch.

    Args:
        name: of the method.
        picture_root: the tiny unpaired data set.
        folder: where a labelled data set may be written.
    """
    kind = METHODS[name].data
    if kind == "labelled":
        root = folder / "labelled"
        if not root.is_dir():
            write_labelled(root, count=8, size=(40, 36))
        return {
            "data": {"root": str(root), "batch_size": 2},
            "labels": {"classes": 4, "ignore": IGNORED},
        }
    if kind == "single":
        pictures = {
            f"domain_{side}": str(picture_root / f"train{side.upper()}" / "00.png") for side in "ab"
        }
        return {"data": {**pictures, "patches_per_epoch": 8, "batch_size": 2}}
    return {"data": {"root": str(picture_root), "batch_size": 2}}
