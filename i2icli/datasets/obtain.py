"""Brings a registered data set here: from its address, or from an archive that is at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from i2icli.config.words import as_plain
from i2icli.datasets.catalogue import DataSet
from i2icli.errors import ConfigError, DataError, WeightsError
from i2icli.home import home
from i2icli.pictures.listing import list_pictures
from i2icli.system.archives import unpack
from i2icli.system.download import Patience, Progress, Source, download
from i2icli.system.files import whole_folder

PARTS = ("trainA", "trainB", "testA", "testB")
MARKER = "data-set.json"


@dataclass(frozen=True)
class Obtained:
    """A data set that is here."""

    name: str  # its registered name
    folder: Path
    was_there: bool  # it was here before, so nothing was done
    counts: Mapping[str, int]  # pictures of each part
    expected: Mapping[str, int | None]  # registered counts; None where not known
    differences: tuple[str, ...]  # parts whose count is not the registered one, in words

    as_document = as_plain

    def lines(self) -> list[str]:
        """Return where it is, and the next command."""
        counts = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        state = "was here already" if self.was_there else "is here"
        return [
            f"{self.name} {state}: {self.folder} ({counts})",
            f"Next: i2i data check {self.folder}",
        ]


def obtain(
    data_set: DataSet,
    *,
    folder: Path | None = None,
    archive: Path | None = None,
    is_offline: bool = False,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Obtained:
    """Bring a data set to `folder`, else to `I2I_HOME/datasets/NAME`, unless it is there.

    It comes from the archive at hand, else from the network, unless `is_offline`.

    Raises:
        ConfigError: `folder` holds something else.
        DataError: the archive is unsafe, damaged, or not this data set.
        WeightsError: the set is not here and cannot be downloaded.
    """
    folder = folder or home() / "datasets" / data_set.name
    if _is_there(data_set, folder):
        return _describe(data_set, folder, was_there=True)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is not empty and nothing is overwritten; give --out a new folder, or train "
            f"on what is there: i2i train --data {folder}"
        )
    if archive is None:
        fetched = _fetch(data_set, is_offline=is_offline, progress=progress, patience=patience)
        _install(data_set, fetched, folder)
        fetched.unlink(missing_ok=True)
    else:
        _install(data_set, archive, folder)
    return _describe(data_set, folder, was_there=False)


def _fetch(
    data_set: DataSet, *, is_offline: bool, progress: Progress | None, patience: Patience | None
) -> Path:
    by_hand = (
        f"Get the archive by other means and give it: i2i data get {data_set.name} --from FILE.zip"
    )
    if not data_set.urls:
        raise WeightsError(f"{data_set.name} must be got by hand. {data_set.instructions}")
    if is_offline:
        raise WeightsError(
            f"{data_set.name} is not here and --offline forbids the network. {by_hand} "
            f"(from {data_set.urls[0]})"
        )
    source = Source(data_set.urls, data_set.size, data_set.sha256, by_hand)
    target = home() / "downloads" / f"{data_set.name}.zip"
    return download(source, target, progress=progress, patience=patience)


def _install(data_set: DataSet, archive: Path, folder: Path) -> None:
    with whole_folder(folder) as fresh:
        unpack(archive, fresh)
        for part, source in data_set.folders.items():
            if (fresh / source).is_dir() and not (fresh / part).exists():
                (fresh / source).rename(fresh / part)
        for part in PARTS[:2]:
            if not (fresh / part).is_dir() or not list_pictures(fresh / part):
                present = ", ".join(sorted(entry.name for entry in fresh.iterdir())[:8])
                raise DataError(
                    f"{archive} is not {data_set.name}: it has no pictures in {part} "
                    f"(at its top: {present or 'nothing'})."
                )
        (fresh / MARKER).write_text(json.dumps({"name": data_set.name}) + "\n", encoding="ascii")


def _is_there(data_set: DataSet, folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("name") == data_set.name


def _describe(data_set: DataSet, folder: Path, *, was_there: bool) -> Obtained:
    counts = {
        part: len(list_pictures(folder / part)) if (folder / part).is_dir() else 0 for part in PARTS
    }
    expected = dict(zip(PARTS, data_set.counts, strict=True))
    differences = tuple(
        f"{part} holds {counts[part]} pictures, {wanted} are registered"
        for part, wanted in expected.items()
        if wanted is not None and counts[part] != wanted
    )
    return Obtained(data_set.name, folder, was_there, counts, expected, differences)
