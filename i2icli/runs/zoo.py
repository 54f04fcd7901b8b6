"""The zoo: trained translators without their runs, which come with i2i or lie where a user likes.

An entry is a folder of `model.safetensors`, the weights of the translating networks alone;
`config.json`, which says what they are of and holds the model's SHA-256; `README.md`, the card;
and `samples/`. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2icli.config.words import nearest
from i2icli.errors import CheckpointError
from i2icli.home import home

FORMAT = 1
KIND = "i2i zoo entry"
PREFIX = "zoo:"
MODEL, FACTS, CARD = "model.safetensors", "config.json", "README.md"
_PACKAGE = Path(__file__).resolve().parents[1]
# What i2i reads of the facts, and the types it reads it as.
_NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "preset": str,
    "translates": str,
    "step": int,
    "epoch": int,
    "hours": (int, float),
    "metrics": dict,
    "data": dict,
    "model": dict,
    "configuration": dict,
}


@dataclass(frozen=True)
class ZooEntry:
    """A trained translator, as its folder holds it.

    Attributes:
        folder: where it lies.
        facts: the content of its config.json.
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name that stands after `zoo:`."""
        return self.folder.resolve().name

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def read_model(self) -> bytes:
        """Return the content of the model's file.

        Raises:
            CheckpointError: if it cannot be read, or is not the one that config.json speaks of.
        """
        file = self.folder / MODEL
        try:
            content = file.read_bytes()
        except OSError as fault:
            raise CheckpointError(f"{file} cannot be read: {fault.strerror or fault}.") from None
        found, wanted = hashlib.sha256(content).hexdigest(), self.facts["model"].get("sha256")
        if found != wanted:
            raise CheckpointError(
                f"{file} ({len(content)} bytes) is damaged or was changed: its SHA-256 is {found}, "
                f"and {FACTS} beside it says {wanted}. Copy the folder, or install i2i, again."
            )
        return content


def is_entry(folder: Path) -> bool:
    """Say whether a folder has the files of an entry."""
    return is_model(folder / MODEL)


def is_model(file: Path) -> bool:
    """Say whether a file is the model of an entry, which lies beside what is known of it."""
    return file.name == MODEL and file.is_file() and file.with_name(FACTS).is_file()


def read_entry(folder: Path) -> ZooEntry:
    """Read what an entry says of its model; the model itself is not looked at.

    Raises:
        CheckpointError: if its config.json is not of that form, or a newer i2i wrote it.
    """
    file = folder / FACTS
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise CheckpointError(f"{file} cannot be read: {fault.strerror or fault}.") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{file} is damaged: it is no JSON. Copy the folder again.") from None
    if not isinstance(facts, dict) or facts.get("kind") != KIND:
        raise CheckpointError(
            f"{folder} holds {MODEL}, but not of i2i. What a paper's own code saved becomes a "
            f"checkpoint by `i2i import {folder / MODEL}`."
        )
    if not isinstance(facts.get("format"), int) or facts["format"] > FORMAT:
        raise CheckpointError(
            f"{file} has format {facts.get('format')}, and this i2i reads up to {FORMAT}: update "
            "it with `pip install --upgrade i2icli`."
        )
    wrong = [key for key, kind in _NEEDED.items() if not isinstance(facts.get(key), kind)]
    if not wrong and not all(isinstance(n, int | float) for n in facts["metrics"].values()):
        wrong = ["metrics"]
    if wrong:
        raise CheckpointError(f"{file} is damaged: {wrong[0]} is {facts.get(wrong[0])!r}.")
    return ZooEntry(folder, facts)


def entry_folders() -> dict[str, Path]:
    """Return the folders that `zoo:NAME` names, by name.

    A wheel has them inside the package; an editable install, where the package stands in the
    repository, beside it. A user's own lie in `zoo` of the folder that `I2I_HOME` names.
    """
    inside, beside = _PACKAGE / "zoo", _PACKAGE.parent / "zoo"
    zoos = (home() / "zoo", inside if inside.is_dir() else beside)  # of one name the last
    found = {file.parent.name: file.parent for zoo in zoos for file in zoo.glob(f"*/{FACTS}")}
    return dict(sorted(found.items()))


def find_entry_folder(name: str) -> Path:
    """Return the folder of the entry called `name`, which may begin with `zoo:`.

    Raises:
        CheckpointError: if there is none, with the nearest name.
    """
    typed, name, folders = name, name.removeprefix(PREFIX), entry_folders()
    if name in folders:
        return folders[name]
    meant = nearest(name, list(folders))
    hint = f"; did you mean {PREFIX}{meant}?" if meant else "."
    raise CheckpointError(
        f"the zoo has no entry {name!r}{hint} `i2i zoo list` shows them all.",
        meant={typed: f"{PREFIX}{meant}"} if meant else None,
    )


def sample_sources(folder: Path) -> tuple[Path, ...]:
    """Return the pictures of an entry's samples before translation, in order."""
    return tuple(sorted(folder.glob("samples/*-source.*")))
