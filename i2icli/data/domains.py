"""The pictures of a data set, by domain and by split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
