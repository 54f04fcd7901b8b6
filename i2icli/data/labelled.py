"""Labelled data: which label map belongs to which picture, and what the maps hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.domains import Domains
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.label_maps import (
    Labels,
    LabelScheme,
    Palette,
    colours_to_ids,
    load_palette,
    palette_text,
    read_labels,
    scored_colours,
)
from i2icli.pictures.listing import list_pictures

LAYOUT = "train with the pictures, trainannot with their label maps, and val and valannot for tests"
MAX_CLASSES = 1000
_SHOWN = 3


def find_labelled(config: DataConfig) -> Domains:
    """Find pictures and their label maps, matched by name without suffix; subfolders count.

    Either `data.root` holds train, trainannot, and for tests val, valannot; or `data.domain_a`
    and `data.domain_b` name the folders for training, `data.test_a` and `data.test_b` for tests.

    Returns:
        Pictures as domain A, their label maps as domain B, in the same order.

    Raises:
        DataError: a folder is missing or empty, or a picture or map has no partner.
        ConfigError: `data.direction` is b2a.
        ValueError: when neither a root nor plain folders are configured.
    """
    if config.direction != "a2b":
        raise ConfigError(
            "data.direction=b2a makes pictures of label maps, which is translation: labelled "
            "data go from pictures (A) to label maps (B)."
        )
    if config.root is not None:
        root = Path(config.root).expanduser()
        _check_layout(root)
        train = (root / "train", root / "trainannot")
        tests = (root / "val", root / "valannot") if (root / "val").is_dir() else None
    elif config.domain_a is not None and config.domain_b is not None:
        root = None
        train = (Path(config.domain_a).expanduser(), Path(config.domain_b).expanduser())
        tests = _plain_tests(config)
    else:
        raise ValueError("the configuration names no labelled data")
    train_a, train_b = match_maps(*train)
    test_a, test_b = match_maps(*tests) if tests else ((), ())
    return Domains(train_a, train_b, test_a, test_b, root=root)


def match_maps(pictures: Path, maps: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the pictures of a folder and, in the same order, their label maps from another.

    Raises:
        DataError: a folder is missing or empty, or one of them has no partner, naming it.
    """
    ours, theirs = _by_stem(pictures), _by_stem(maps)
    for here, there, kind, folder in (
        (ours, theirs, "label map", maps),
        (theirs, ours, "picture", pictures),
    ):
        alone = [path for stem, path in here.items() if stem not in there]
        if alone:
            shown = ", ".join(str(path) for path in alone[:_SHOWN])
            more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
            raise DataError(
                f"no {kind} of the same name in {folder} for {shown}{more}: every picture needs "
                "its label map, under the same name without suffix; take out what has no partner."
            )
    return tuple(ours.values()), tuple(theirs[stem] for stem in ours)


def settle_labels(labels: LabelsConfig, maps: Sequence[Path]) -> LabelsConfig:
    """Return the section as a run keeps it: classes counted, colours instead of their file.

    Args:
        labels: the section; `classes` of 0 is counted in the maps.
        maps: all label maps of training.

    Raises:
        ConfigError: for a palette that is not there.
        DataError: for a map that cannot be read, holds colours without a palette, or more
            classes than there can be.
    """
    palette = labels.palette if labels.palette == "auto" else palette_text(labels.palette)
    settled = labels.model_copy(update={"palette": palette})
    if labels.classes:
        return settled
    return settled.model_copy(update={"classes": _count_classes(settled, maps)})


def label_scheme(labels: LabelsConfig) -> LabelScheme:
    """Return what the label maps of a configuration hold; its classes are settled.

    Raises:
        ConfigError: for a palette that is not there or too small.
    """
    palette = None if labels.palette == "auto" else load_palette(labels.palette)
    return LabelScheme(labels.classes, labels.ignore, palette, labels.names)


def read_ids(path: Path, scheme: LabelScheme) -> Labels:
    """Read a label map of a run, (H, W).

    Raises:
        DataError: it cannot be read, holds colours without a palette, or an id out of range.
    """
    return to_ids(read_labels(path), path, scheme)


def to_ids(stored: Labels | Palette, path: Path, scheme: LabelScheme) -> Labels:
    """Return what `read_labels` read of a file as ids, (H, W).

    Raises:
        DataError: they are colours without a palette, or an id is out of range.
    """
    ids = _ids_of(stored, path, scheme)
    wrong = ids[((ids < 0) | (ids >= scheme.classes)) & (ids != scheme.ignore)]
    if wrong.size:
        raise DataError(
            f"{path} has the id {int(wrong[0])} at {wrong.size} pixels, but labels.classes "
            f"{scheme.classes} allows 0 to {scheme.classes - 1} and labels.ignore is "
            f"{scheme.ignore}: correct one of the two, or the map."
        )
    return ids


def _ids_of(stored: Labels | Palette, path: Path, scheme: LabelScheme) -> Labels:
    if stored.ndim == 2:
        ids: Labels = stored.astype(np.int64)
        return ids
    if scheme.palette is None:
        raise DataError(
            f"{path} holds colours, not ids: say what they mean with "
            "`--set labels.palette=cityscapes`, or a file with a line `R G B` a class."
        )
    return colours_to_ids(stored.astype(np.uint8), scheme)


def _count_classes(labels: LabelsConfig, maps: Sequence[Path]) -> int:
    """Return the highest id of the maps plus one; ignored pixels left out."""
    palette = None if labels.palette == "auto" else load_palette(labels.palette)
    known = MAX_CLASSES if palette is None else len(scored_colours(labels.palette))
    scheme = LabelScheme(known, labels.ignore, palette)
    highest, where = -1, None
    for path, found in _highest_ids(maps, scheme):
        if found > highest:
            highest, where = found, path
    if where is None:
        raise DataError(
            f"every pixel of the {len(maps)} label maps is {labels.ignore}, which labels.ignore "
            "leaves out: nothing is left to learn."
        )
    if highest >= MAX_CLASSES:
        raise DataError(
            f"{where} has the id {highest}, and at most {MAX_CLASSES} classes are possible: are "
            "these label maps? If that id means nothing, "
            f"`--set labels.ignore={highest}`."
        )
    return highest + 1


def _highest_ids(maps: Sequence[Path], scheme: LabelScheme) -> Iterator[tuple[Path, int]]:
    """Yield the highest id of each map, -1 where all is ignored."""

    def highest(path: Path) -> int:
        ids = _ids_of(read_labels(path), path, scheme)
        return int(ids[ids != scheme.ignore].max(initial=-1))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from zip(maps, pool.map(highest, maps), strict=True)


def _by_stem(folder: Path) -> dict[str, Path]:
    """Map names below the folder, without suffix, to the pictures, sorted."""
    found: dict[str, Path] = {}
    for path in list_pictures(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError(
                f"{folder} holds both {found[stem].name} and {path.name}: pictures and label maps "
                "are matched by their names without suffix, so keep one of them."
            )
        found[stem] = path
    if not found:
        raise DataError(
            f"no pictures in {folder} or the folders inside it: expected files that end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return found


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist: it should hold {LAYOUT}.")
    wanted = ["train", "trainannot"]
    if (root / "val").is_dir() or (root / "valannot").is_dir():
        wanted += ["val", "valannot"]
    missing = [name for name in wanted if not (root / name).is_dir()]
    if missing:
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
        found = ", ".join(names[:8]) or "no folders"
        raise DataError(
            f"{root} has no folder {missing[0]}: labelled data lie in {LAYOUT}; found {found}. "
            "Folders of other names: `--set data.domain_a=PICTURES --set data.domain_b=MAPS`."
        )


def _plain_tests(config: DataConfig) -> tuple[Path, Path] | None:
    if config.test_a is None and config.test_b is None:
        return None
    if config.test_a is None or config.test_b is None:
        raise ConfigError(
            "data.test_a (pictures) and data.test_b (their label maps) are given together or not "
            "at all."
        )
    return Path(config.test_a).expanduser(), Path(config.test_b).expanduser()
