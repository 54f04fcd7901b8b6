"""Preset files: finding, listing and reading them. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from i2icli.config.document import Document, parse_toml, read_text
from i2icli.config.words import nearest
from i2icli.errors import ConfigError

_FOR_CPU = "laptop"  # made to be trained without a GPU
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Preset:
    """A preset as it stands in its file.

    Attributes:
        name: as `--preset` takes it; the stem of the file.
        text: the file's content.
        document: its values.
    """

    name: str
    path: Path
    text: str
    document: Document

    @property
    def label(self) -> str:
        """What error messages call it."""
        return f"preset {self.name!r}"


def preset_folder() -> Path:
    """Return the folder of the shipped presets, whatever the working directory.

    A wheel has it inside the package; an editable install, where the package stands in the
    repository, has it beside the package.

    Raises:
        ConfigError: if neither is there.
    """
    for folder in (_PACKAGE / "presets", _PACKAGE.parent / "presets"):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"the shipped presets are missing from {_PACKAGE}: install i2icli again, or name a TOML "
        "file with --preset FILE.toml."
    )


def preset_names() -> list[str]:
    """Return the names of the shipped presets, sorted."""
    return sorted(path.stem for path in preset_folder().glob("*.toml"))


def default_preset(device: str) -> str:
    """Return the preset to name where the user named none.

    Args:
        device: kind of the device that a run would take, "cpu", "cuda" or "mps".
    """
    return _FOR_CPU if device == "cpu" and _FOR_CPU in preset_names() else "demo"


def read_preset(name_or_path: str) -> Preset:
    """Read a preset by its name, or a TOML file by its path.

    Raises:
        ConfigError: if there is none, with the nearest name, or if the file is not TOML.
    """
    path = _find(name_or_path)
    text = read_text(path)
    return Preset(path.stem, path, text, parse_toml(text, source=str(path)))


def _find(name_or_path: str) -> Path:
    if name_or_path in preset_names():
        return preset_folder() / f"{name_or_path}.toml"
    path = Path(name_or_path).expanduser()
    if path.suffix == ".toml" or len(path.parts) > 1:
        if path.is_file():
            return path
        raise ConfigError(
            f"there is no preset file {name_or_path}; `i2i presets list` shows the shipped ones."
        )
    meant = nearest(name_or_path, preset_names())
    hint = f"; did you mean {meant!r}?" if meant else "."
    raise ConfigError(
        f"no preset is called {name_or_path!r}{hint} `i2i presets list` shows them all.",
        meant={name_or_path: meant} if meant else None,
    )
