"""The pictures of a data set, by domain and by split, and the folders that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2icli.config.sections import DataConfig, DatasetKind
from i2icli.data.held_out import held_out_folders
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import SUFFIXES
from i2icli.pictures.listing import (
    folder_names,
    list_by_stem,
    list_pictures,
    missing_folder,
    nearest_folder,
)


@dataclass(frozen=True)
class Domains:
    """The pictures of a data set, each list sorted by its path inside its folder."""

    train_a: tuple[Path, ...]  # training pictures of domain A
    train_b: tuple[Path, ...]  # training pictures of domain B
    test_a: tuple[Path, ...] = ()  # test pictures of A; none where no split was given
    test_b: tuple[Path, ...] = ()  # test pictures of B
    root: Path | None = None  # the folder that holds them; None for plain folders


LAYOUT = "train with the pictures, trainannot with their label maps, and val and valannot for tests"
_SHOWN = 3
_PREPARE = "build the layout with `i2i data prepare A/ B/ --out DIR`"


def find_domains(config: DataConfig, kind: DatasetKind = "unpaired") -> Domains:
    """Find the pictures that a configuration names, A and B swapped for `b2a`.

    Either `data.root` holds trainA and trainB, or `data.domain_a` and `data.domain_b` name plain
    folders, all of whose pictures are for training; where there are pictures for tests, see
    `held_out_folders`. For labelled data see `find_labelled`.

    Raises:
        DataError: when a folder is missing or holds no pictures, saying what is there instead.
        ValueError: when neither a root nor plain folders are configured.
    """
    if kind == "labelled":
        return find_labelled(config)
    if config.root is not None:
        root = Path(config.root).expanduser()
        _check_two_way_layout(root)
        train = [root / "trainA", root / "trainB"]
    elif config.domain_a is not None and config.domain_b is not None:
        root = None
        train = [Path(name).expanduser() for name in (config.domain_a, config.domain_b)]
    else:
        raise ValueError("the configuration names no data; resolve the demo set first")
    takes_files = kind == "single" and root is None
    train_a, train_b = (_pictures(folder, takes_files=takes_files) for folder in train)
    if config.direction == "b2a":
        train_a, train_b = train_b, train_a
    tests = [held_out_folders(config, kind, direction=start) for start in ("a2b", "b2a")]
    test_a, test_b = (
        ()
        if test is None or (test.root is not None and not test.inputs.is_dir())
        else _pictures(test.inputs, takes_files=takes_files, may_be_empty=test.root is not None)
        for test in tests
    )
    return Domains(train_a, train_b, test_a, test_b, root=root)


def find_labelled(config: DataConfig) -> Domains:
    """Find pictures (as domain A) and their label maps (as B, in the same order).

    They are matched by name without suffix; subfolders count. Either `data.root` holds train and
    trainannot, or `data.domain_a` and `data.domain_b` name the folders for training; for tests see
    `held_out_folders`.

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
        _check_labelled_layout(root)
        train = (root / "train", root / "trainannot")
    elif config.domain_a is not None and config.domain_b is not None:
        root = None
        train = (Path(config.domain_a).expanduser(), Path(config.domain_b).expanduser())
        if (config.test_a is None) != (config.test_b is None):
            raise ConfigError(
                "data.test_a (pictures) and data.test_b (their label maps) are given together or "
                "not at all."
            )
    else:
        raise ValueError("the configuration names no labelled data")
    train_a, train_b = match_maps(*train)
    tests = held_out_folders(config, "labelled")
    if tests is None or tests.reals is None:
        return Domains(train_a, train_b, root=root)
    return Domains(train_a, train_b, *match_maps(tests.inputs, tests.reals), root=root)


def match_maps(pictures: Path, maps: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the pictures of a folder and, in the same order, their label maps from another.

    Raises:
        DataError: a folder is missing or empty, or one of them has no partner, naming it.
    """
    ours, theirs = (
        list_by_stem(folder, matched="pictures and label maps") for folder in (pictures, maps)
    )
    for folder, found in ((pictures, ours), (maps, theirs)):
        if not found:
            raise _no_pictures(folder)
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


def _check_two_way_layout(root: Path) -> None:
    if not root.is_dir():
        raise missing_folder(root)
    for name in ("trainA", "trainB"):
        if not (root / name).is_dir():
            folders = folder_names(root)
            present = ", ".join(folders[:8]) + (", ..." if len(folders) > 8 else "")
            near = nearest_folder(name, root)
            hint = f" (is it {near}?)" if near else ""
            raise DataError(
                f"{root} has no folder {name}{hint}: expected trainA and trainB, and testA and "
                f"testB for test pictures; found {present or 'no folders'}. Rename, or {_PREPARE}"
            )


def _pictures(folder: Path, *, takes_files: bool, may_be_empty: bool = False) -> tuple[Path, ...]:
    if takes_files and folder.is_file():
        return (folder,)
    pictures = tuple(list_pictures(folder))
    if not pictures and not may_be_empty:
        raise _no_pictures(folder)
    return pictures


def _no_pictures(folder: Path) -> DataError:
    return DataError(
        f"no pictures in {folder} or the folders inside it: "
        f"expected files that end in {', '.join(sorted(SUFFIXES))}"
    )


def _check_labelled_layout(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist: it should hold {LAYOUT}.")
    wanted = ["train", "trainannot"]
    if (root / "val").is_dir() or (root / "valannot").is_dir():
        wanted += ["val", "valannot"]
    missing = [name for name in wanted if not (root / name).is_dir()]
    if missing:
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
        present = ", ".join(names[:8]) or "no folders"
        raise DataError(
            f"{root} has no folder {missing[0]}: labelled data lie in {LAYOUT}; found {present}. "
            "Folders of other names: `--set data.domain_a=PICTURES --set data.domain_b=MAPS`."
        )
