"""Label maps from files: ids in one channel, or colours of a palette."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import open_picture

Labels = NDArray[np.int64]
Palette = NDArray[np.uint8]

# Colours of the 19 classes that Cityscapes scores, in the order of their training ids, and black.
_CITYSCAPES = (
    (128, 64, 128),  # road
    (244, 35, 232),  # sidewalk
    (70, 70, 70),  # building
    (102, 102, 156),  # wall
    (190, 153, 153),  # fence
    (153, 153, 153),  # pole
    (250, 170, 30),  # traffic light
    (220, 220, 0),  # traffic sign
    (107, 142, 35),  # vegetation
    (152, 251, 152),  # terrain
    (70, 130, 180),  # sky
    (220, 20, 60),  # person
    (255, 0, 0),  # rider
    (0, 0, 142),  # car
    (0, 0, 70),  # truck
    (0, 60, 100),  # bus
    (0, 80, 100),  # train
    (0, 0, 230),  # motorcycle
    (119, 11, 32),  # bicycle
    (0, 0, 0),  # not scored
)
PALETTES: dict[str, Palette] = {"cityscapes": np.array(_CITYSCAPES, dtype=np.uint8)}

_ID_MODES = ("1", "L", "P", "I;16", "I;16L", "I;16B", "I;16N", "I")
_COLOUR_MODES = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LA", "PA")
_CHUNK = 1 << 16


@dataclass(frozen=True)
class LabelScheme:
    """The contents of label maps.

    Raises:
        ConfigError: `classes` is below 1, or the palette has fewer colours.
    """

    classes: int  # ids run from 0
    ignore: int = 255  # id of pixels that are not scored; may be that of a class
    palette: Palette | None = None  # (K, 3), for colour maps; from `classes` on they mean `ignore`
    names: tuple[str, ...] = ()  # of the classes, as far as they have one

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ConfigError(
                f"--classes is {self.classes}: give the number of classes, 1 or more."
            )
        if self.palette is not None and len(self.palette) < self.classes:
            raise ConfigError(
                f"the palette has {len(self.palette)} colours for --classes {self.classes}: give "
                "a colour a class, or fewer classes."
            )

    def name_of(self, label: int) -> str:
        """Return the name of a class."""
        return self.names[label] if label < len(self.names) else f"class {label}"

    def palette_facts(self) -> str:
        """Return the number of colours of the palette and the beginning of their SHA-256."""
        assert self.palette is not None, "only colour maps are read by a palette"
        digest = hashlib.sha256(self.palette.tobytes()).hexdigest()
        return f"{len(self.palette)} colours, SHA-256 {digest[:12]}"


def load_palette(name: str) -> Palette:
    """Return a palette, (K, 3) uint8 in RGB: a known one by its name, else from a text file.

    Or the colours themselves: `#rrggbb` for each, with spaces between.

    The file has a line a class in the order of the ids, `R G B` with anything behind; lines that
    are empty or start with `#` are left out. Colours after the last class mean: not scored.

    Raises:
        ConfigError: neither a known name nor such a file.
    """
    if name in PALETTES:
        return PALETTES[name]
    if name.startswith("#"):
        return _written_colours(name)
    path = Path(name).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"--palette {name} is neither a known palette ({', '.join(PALETTES)}) nor a readable "
            "text file with a line `R G B` a class."
        ) from None
    rows = [
        _colour_of(line, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        raise ConfigError(f"{path} holds no colours: give a line `R G B` a class, ids from 0 on.")
    return np.array(rows, dtype=np.uint8)


def palette_text(name: str) -> str:
    """Return a palette in words that need no file: a known name, or `#rrggbb` a colour.

    Raises:
        ConfigError: neither a known name nor colours nor such a file.
    """
    palette = load_palette(name)
    return name if name in PALETTES else " ".join("#" + bytes(row).hex() for row in palette)


def scored_colours(name: str) -> Palette:
    """Return the colours of a palette that are classes: of Cityscapes all but black.

    Raises:
        ConfigError: neither a known name nor colours nor such a file.
    """
    palette = load_palette(name)
    return palette[:-1] if name == "cityscapes" else palette


def class_colours(palette: str, classes: int) -> tuple[tuple[int, int, int], ...]:
    """Return a colour (R, G, B), 0 to 255, a class, to draw label maps with.

    "auto" has as many distinct colours as there are classes; see `load_palette`.

    Raises:
        ConfigError: neither a known name nor such a file, or too few colours.
    """
    if palette == "auto":
        return tuple(_distinct_colour(label) for label in range(classes))
    colours = load_palette(palette)
    if len(colours) < classes:
        raise ConfigError(
            f"the palette {palette} has {len(colours)} colours for {classes} classes: give a "
            "colour a class."
        )
    return tuple((int(r), int(g), int(b)) for r, g, b in colours[:classes])


def _distinct_colour(label: int) -> tuple[int, int, int]:
    # PASCAL VOC's scheme: the bits of `label + 1`, dealt to the channels, highest first.
    rest, channels = label + 1, [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= (rest >> channel & 1) << bit
        rest >>= 3
    return channels[0], channels[1], channels[2]


def read_labels(path: Path) -> Labels | Palette:
    """Read a label map as it is stored.

    Returns:
        Of one channel: ids, (H, W) int64, in a palette file its indices. Of colours: (H, W, 3)
            uint8
        in RGB, for `colours_to_ids`.

    Raises:
        DataError: naming the file, when it cannot be read or cannot hold ids.
    """
    with open_picture(path) as image:
        image.load()
        if image.mode in _ID_MODES and image.format == "JPEG":
            raise DataError(
                f"{path} is a grey JPEG, whose compression changes ids: store label maps as PNG."
            )
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _ID_MODES:
            return np.asarray(upright).astype(np.int64)
        if upright.mode in _COLOUR_MODES:
            return np.array(upright.convert("RGB"))
        raise DataError(
            f"{path} has pixels of mode {upright.mode}, which hold no ids: store label maps as "
            "8-bit PNG."
        )


def colours_to_ids(colours: Palette, scheme: LabelScheme) -> Labels:
    """Give every pixel, (H, W, 3), the id of the nearest colour of the palette (L1, first tie)."""
    assert scheme.palette is not None, "colours are read by a palette"
    # A label map has few colours, so each is looked up once.
    packed = colours.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    unique, positions = np.unique(packed.reshape(-1), return_inverse=True)
    known = np.concatenate(
        [_nearest(unique[at : at + _CHUNK], scheme.palette) for at in range(0, unique.size, _CHUNK)]
    )
    known[known >= scheme.classes] = scheme.ignore
    ids: Labels = known[positions].reshape(colours.shape[:2])
    return ids


def _nearest(packed: NDArray[np.uint32], palette: Palette) -> Labels:
    colours = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1)
    distances = np.abs(colours.astype(np.int64)[:, None] - palette.astype(np.int64)).sum(axis=2)
    nearest: Labels = distances.argmin(axis=1)
    return nearest


def _written_colours(text: str) -> Palette:
    words = text.split()
    for word in words:
        if re.fullmatch(r"#[0-9a-fA-F]{6}", word) is None:
            raise ConfigError(
                f"the palette has {word!r}, which is no colour: write `#rrggbb` a class, with "
                "spaces between."
            )
    return np.array([list(bytes.fromhex(word[1:])) for word in words], dtype=np.uint8)


def _colour_of(line: str, where: str) -> tuple[int, int, int]:
    words = line.replace(",", " ").split()[:3]
    if len(words) < 3 or not all(word.isdecimal() and int(word) < 256 for word in words):
        raise ConfigError(
            f"{where} is {line.strip()!r}: expected three numbers from 0 to 255, as `128 64 128`."
        )
    red, green, blue = map(int, words)
    return red, green, blue
