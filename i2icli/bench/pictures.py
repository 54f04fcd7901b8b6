"""Made-up pictures of the kind that a method trains on, for measurements without a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from i2icli.config.document import Document
from i2icli.config.sections import DataConfig, DatasetKind, data_at

_CLASSES = 19  # as Cityscapes has, where the configuration does not say how many
_QUALITY = 95


def write_training_set(
    root: Path, document: Document, kind: DatasetKind, *, count: int = 8
) -> Document:
    """Write a small data set, and return the configuration that names it.

    Args:
        root: the folder to fill.
        document: the configuration; its sizes decide those of the pictures.
        kind: of the data set; one that trains on one picture gets one of each domain.
        count: pictures of each domain; a batch has that many at the most.

    Returns:
        A copy with `data.root` set, and plain folders and colours of classes dropped.
    """
    data, labels = {**document["data"], **data_at(root)}, dict(document["labels"])
    side = _training_side(DataConfig.model_validate(data))
    if kind == "labelled":
        labels["classes"] = labels["classes"] or _CLASSES
        labels["palette"] = "auto"
        _write_labelled(root, count=count, side=side, classes=labels["classes"])
    else:
        number = 1 if kind == "single" else count
        for seed, part in enumerate(("trainA", "trainB")):
            write_pictures(root / part, count=number, side=side, seed=seed)
    return {**document, "data": data, "labels": labels}


def write_pictures(folder: Path, *, count: int, side: int, seed: int) -> list[Path]:
    """Write square JPEG pictures with detail of all sizes, and return their files in order.

    Noise alone would make them slower to read and write than photographs are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = [folder / f"{number:03d}.jpg" for number in range(count)]
    for path in paths:
        Image.fromarray(_picture(random, side)).save(path, quality=_QUALITY)
    return paths


def _training_side(data: DataConfig) -> int:
    """Return the side of a picture that a training crop can be cut from."""
    if data.preprocess in ("crop", "none"):
        return data.crop
    if data.preprocess == "zoom-and-patch":
        return int(np.ceil(data.crop / data.zoom_min))
    return max(data.resize, data.resize_height or 0)


def _picture(random: np.random.Generator, side: int) -> np.ndarray:
    """Return coarse colour, finer structure and a little noise, (side, side, 3) uint8."""
    layers = np.zeros((side, side, 3), np.float32)
    for cells, weight in ((4, 0.6), (32, 0.3)):
        coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        scaled = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        layers += weight * np.asarray(scaled, np.float32)
    layers += random.normal(0.0, 4.0, layers.shape).astype(np.float32)
    pixels: np.ndarray = np.clip(layers + 12.0, 0, 255).astype(np.uint8)
    return pixels


def _write_labelled(root: Path, *, count: int, side: int, classes: int) -> None:
    """Write train and trainannot; a label map is a coarse mosaic of class ids."""
    write_pictures(root / "train", count=count, side=side, seed=0)
    (root / "trainannot").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    for number in range(count):
        coarse = random.integers(0, min(classes, 255), (8, 8), dtype=np.uint8)
        ids = Image.fromarray(coarse).resize((side, side), Image.Resampling.NEAREST)
        ids.save(root / "trainannot" / f"{number:03d}.png")
