"""The test pictures of a data set, and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2icli.config.sections import DataConfig, DatasetKind, data_at
from i2icli.errors import ConfigError, DataError

_NAMES, _LABELLED = ("testA", "testB"), ("val", "valannot")


@dataclass(frozen=True)
class HeldOut:
    """Folders of test pictures, none of which a run was trained on."""

    inputs: Path  # pictures that are translated or segmented; the folder need not be there
    reals: Path | None = None  # pictures of the target, or the label maps; None where there is none
    truth: Path | None = None  # true translations of `inputs`, under their names
    masks: Path | None = None  # object masks of `inputs`, under their names
    root: Path | None = None  # the data set that holds them; None for plain folders


def held_out_folders(
    data: DataConfig, kind: DatasetKind = "unpaired", *, direction: str = "a2b"
) -> HeldOut | None:
    """Return the folders of a configuration's test pictures, whether or not they are there.

    Either `data.root` holds testA, testB, testA_truth and testA_mask, or val and valannot for
    labelled data; or `data.test_a` and `data.test_b` name plain folders. None where plain folders
    are named for training and none for tests. Of two directions that differ, the translator's and
    `data.direction`, A and B are swapped.
    """
    is_swapped = data.direction != direction
    if data.root is None:
        names = (data.test_b, data.test_a) if is_swapped else (data.test_a, data.test_b)
        inputs, reals = (Path(name).expanduser() if name else None for name in names)
        return None if inputs is None else HeldOut(inputs, reals)
    root = Path(data.root).expanduser()
    first, second = _LABELLED if kind == "labelled" else _NAMES
    if is_swapped:
        first, second = second, first
    found = folders_beside(root / first)
    return HeldOut(found.inputs, _there(root / second), found.truth, found.masks, root)


def find_held_out(
    data: DataConfig,
    kind: DatasetKind = "unpaired",
    *,
    root: Path | None = None,
    direction: str = "a2b",
) -> HeldOut:
    """Find the test pictures of a run, or those of another data set at `root`.

    Raises:
        ConfigError: the direction is neither a2b nor b2a.
        DataError: there are none, or of labelled data no label maps.
    """
    if direction not in ("a2b", "b2a"):
        raise ConfigError(f"--direction {direction!r} is no direction: use a2b or b2a.")
    own = data if root is None else data.model_copy(update=data_at(root))
    found = held_out_folders(own, kind, direction=direction)
    if found is not None and found.root is not None and not found.root.is_dir():
        whose = "" if root else ", where this run found its pictures,"
        raise DataError(f"the folder {found.root}{whose} does not exist: name it with --data DIR.")
    if kind == "labelled":
        if found is None or found.reals is None or not found.inputs.is_dir():
            where = "this run's data set" if found is None else found.root or found.inputs
            raise DataError(
                f"{where} has no labelled test pictures: put some into val/ and their label maps "
                "into valannot/ (for plain folders data.test_a and data.test_b), or name another "
                "data set with --data DIR."
            )
        return found
    if found is None:
        raise DataError(
            "this run was trained on plain folders without test pictures (data.test_a, "
            "data.test_b): name a data set that has testA and testB with --data DIR."
        )
    if found.root is not None and not found.inputs.is_dir():
        raise DataError(
            f"{found.root} has no folder {found.inputs.name}, so there is nothing to translate: "
            "name a data set that has testA and testB with --data DIR, or measure two plain "
            "folders: i2i eval --fid --real DIR --fake DIR"
        )
    return found


def folders_beside(inputs: Path) -> HeldOut:
    """Return the folders beside one of test pictures, under names that belong to its own.

    For testA these are testB, testA_truth and testA_mask; for B likewise.
    """
    other = {"A": "B", "B": "A"}.get(inputs.name[-1:])
    reals = _there(inputs.with_name(inputs.name[:-1] + other)) if other else None
    truth, masks = (_there(inputs.with_name(inputs.name + end)) for end in ("_truth", "_mask"))
    return HeldOut(inputs, reals, truth, masks)


def _there(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None
