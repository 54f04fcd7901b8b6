"""Folders of tiny labelled pictures for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

IGNORED = 9


def picture_of(ids: np.ndarray) -> np.ndarray:
    """Return the picture whose grey level says the id: 20 times it."""
    return np.repeat((20 * ids)[..., None], 3, axis=2).astype(np.uint8)


def write_labelled(root: Path, *, count: int = 5, size: tuple[int, int] = (20, 14)) -> Path:
    """Write train, trainannot, val and valannot: halves of the classes 0 and one of 1 to 3.

    The first row of every label map is ignored (id 9).
    """
    for part in ("train", "val"):
        for number in range(count):
            ids = np.zeros((size[1], size[0]), np.uint8)
            ids[:, size[0] // 2 :] = 1 + number % 3
            for folder, pixels in ((part, picture_of(ids)), (f"{part}annot", ids)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                kept = pixels.copy()
                if folder.endswith("annot"):
                    kept[0] = IGNORED
                Image.fromarray(kept).save(root / folder / f"{part}_{number}.png")
    return root
