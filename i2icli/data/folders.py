"""Which folders make a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from i2icli.config.sections import DataConfig, DatasetKind
from i2icli.data.domains import Domains
from i2icli.data.labelled import find_labelled
from i2icli.errors import DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.listing import folder_names, list_pictures, missing_folder, nearest_folder

_PREPARE = "build the layout with `i2i data prepare A/ B/ --out DIR`"


def find_domains(config: DataConfig, kind: DatasetKind = "unpaired") -> Domains:
    """Find the pictures that a configuration names, A and B swapped for `b2a`.

    Either `data.root` holds trainA and trainB, and where there are test pictures testA, testB,
    testA_truth and testA_mask; or `data.domain_a` and `data.domain_b` name plain folders, all of
    whose pictures are for training, and `data.test_a` and `data.test_b` others for testing.
    For labelled data see `labelled.find_labelled`.

    Args:
        config: which folders.
        kind: of the data set.

    Raises:
        DataError: when a folder is missing or holds no pictures, saying what is there instead.
        ValueError: when neither a root nor plain folders are configured.
    """
    if kind == "labelled":
        return find_labelled(config)
    if config.root is not None:
        domains = _find_in_root(Path(config.root).expanduser())
    elif config.domain_a is not None and config.domain_b is not None:
        domains = _find_plain(config, takes_files=kind == "single")
    else:
        raise ValueError("the configuration names no data; resolve the demo set first")
    if config.direction == "a2b":
        return domains
    return replace(
        domains,
        train_a=domains.train_b,
        train_b=domains.train_a,
        test_a=domains.test_b,
        test_b=domains.test_a,
        truth=None,
        masks=None,
    )


def _find_in_root(root: Path) -> Domains:
    if not root.is_dir():
        raise DataError(missing_folder(root))
    for name in ("trainA", "trainB"):
        if not (root / name).is_dir():
            raise DataError(_missing_part(root, name))
    truth, masks = root / "testA_truth", root / "testA_mask"
    return Domains(
        train_a=_some_pictures(root / "trainA"),
        train_b=_some_pictures(root / "trainB"),
        test_a=_any_pictures(root / "testA"),
        test_b=_any_pictures(root / "testB"),
        truth=truth if truth.is_dir() else None,
        masks=masks if masks.is_dir() else None,
        root=root,
    )


def _find_plain(config: DataConfig, *, takes_files: bool) -> Domains:
    def pictures(name: str | None) -> tuple[Path, ...]:
        if name is None:
            return ()
        path = Path(name).expanduser()
        return (path,) if takes_files and path.is_file() else _some_pictures(path)

    return Domains(
        train_a=pictures(config.domain_a),
        train_b=pictures(config.domain_b),
        test_a=pictures(config.test_a),
        test_b=pictures(config.test_b),
    )


def _any_pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(list_pictures(folder)) if folder.is_dir() else ()


def _some_pictures(folder: Path) -> tuple[Path, ...]:
    pictures = tuple(list_pictures(folder))
    if not pictures:
        raise DataError(
            f"no pictures in {folder} or the folders inside it: "
            f"expected files that end in {', '.join(sorted(SUFFIXES))}"
        )
    return pictures


def _missing_part(root: Path, name: str) -> str:
    folders = folder_names(root)
    found = ", ".join(folders[:8]) + (", ..." if len(folders) > 8 else "")
    near = nearest_folder(name, root)
    hint = f" (is it {near}?)" if near else ""
    return (
        f"{root} has no folder {name}{hint}: expected trainA and trainB, and testA and testB for "
        f"test pictures; found {found or 'no folders'}. Rename, or {_PREPARE}"
    )
