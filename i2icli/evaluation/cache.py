"""Features on disk, found by the contents of the pictures they were computed from.

The name of a file is a hash of everything that decides its numbers: the contents of all pictures
in their order, the mode, the weights, the kind of device, the libraries that decode and resize.
So an entry can be missing, but never out of date.
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2icli.evaluation.inception import FEATURES
from i2icli.home import home

_FORMAT = 2  # raised when this project reads or prepares pictures in another way
Rows = NDArray[np.float32]


def features_key(content: str, *, mode: str, weights: str, device: str) -> str:
    """Return the name under which features are kept.

    Args:
        content: digest of the pictures, see `picture_sets.SetFacts`.
        mode: of resizing.
        weights: SHA-256 of the file of weights.
        device: its kind; a GPU rounds otherwise.
    """
    libraries = [f"{name} {version(name)}" for name in ("pillow", "clean-fid", "torch")]
    facts = [str(_FORMAT), content, mode, weights, device, *libraries]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def load_features(key: str, count: int) -> Rows | None:
    """Return the kept features, (count, 2048); None where there are none or they are damaged."""
    try:
        # Reading checks the CRC. The file is opened here, because NumPy leaves a bad one open.
        with _path(key).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            features: Rows = archive["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    is_whole = features.shape == (count, FEATURES) and features.dtype == np.float32
    return features if is_whole else None


def store_features(key: str, features: Rows) -> None:
    """Keep features; two processes may do so at once. A full or read-only disk is no fault."""
    path = _path(key)
    partial = path.with_name(f".{key}.{uuid.uuid4().hex[:8]}.partial")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                np.savez(file, features=features)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _path(key: str) -> Path:
    return home() / "features" / f"{key}.npz"
