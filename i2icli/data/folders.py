"""Which pictures a folder holds, and which folders make a data set."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from i2icli.config.sections import DataConfig, DatasetKind
from i2icli.errors import DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.listing import list_names

_PREPARE = "build the layout with `i2i data prepare A/ B/ --out DIR`"


@dataclass(frozen=True)
class Domains:
    """The pictures of a data set, each list sorted by its path inside its folder.

    Attributes:
        train_a: training pictures of domain A.
        train_b: training pictures of domain B.
        test_a: test pictures of A; none where no split was given.
        test_b: test pictures of B.
        truth: folder with the true translation of every picture of `test_a`, same file names.
        masks: folder with the object mask of every picture of `test_a`, same file names.
        root: the folder that holds the four; None for plain folders.
    """

    train_a: tuple[Path, ...]
    train_b: tuple[Path, ...]
    test_a: tuple[Path, ...] = ()
    test_b: tuple[Path, ...] = ()
    truth: Path | None = None
    masks: Path | None = None
    root: Path | None = None


def list_pictures(folder: Path) -> list[Path]:
    """List the pictures in a folder and the folders inside it, sorted.

    A picture is known by its suffix. Hidden files and folders are left out. Links are followed,
    but each folder is entered once, so links may loop. Links to nowhere are listed: whoever
    reads them says so.

    Returns:
        Paths that start with `folder`, in the order of their text below it.

    Raises:
        DataError: when the folder is missing, no folder or not readable.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(_missing_folder(folder))
    return [folder / name for name in list_names(folder)]


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
        from i2icli.data.labelled import find_labelled  # which lists pictures as this file does

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
        raise DataError(_missing_folder(root))
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


def _missing_folder(folder: Path) -> str:
    if folder.exists():
        return f"{folder} is a file, not a folder"
    parent = folder.parent
    near = _nearest(folder.name, parent) if parent.is_dir() else None
    hint = f"; did you mean {parent / near}?" if near else ""
    return f"the folder {folder} does not exist{hint}"


def _missing_part(root: Path, name: str) -> str:
    folders = _folder_names(root)
    found = ", ".join(folders[:8]) + (", ..." if len(folders) > 8 else "")
    near = _nearest(name, root)
    hint = f" (is it {near}?)" if near else ""
    return (
        f"{root} has no folder {name}{hint}: expected trainA and trainB, and testA and testB for "
        f"test pictures; found {found or 'no folders'}. Rename, or {_PREPARE}"
    )


def _nearest(name: str, parent: Path) -> str | None:
    """Return the folder in `parent` whose name is most like `name`, other parts left out."""
    taken = {"trainA", "trainB", "testA", "testB"}
    names = {found.lower(): found for found in _folder_names(parent) if found not in taken}
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return names[close[0]] if close else None


def _folder_names(parent: Path) -> list[str]:
    return sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))
