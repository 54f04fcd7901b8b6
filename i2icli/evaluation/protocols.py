"""The papers' ways of measuring, by name.

They are data, in `protocols.toml`, because nothing but methods knows a method by name.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast

from i2icli.data.transforms import CropChoice, CropPlan, make_crop
from i2icli.datasets.catalogue import CATALOGUE
from i2icli.errors import ConfigError
from i2icli.metrics.inception import FeatureMode, check_mode
from i2icli.metrics.results import Fact
from i2icli.pictures.images import from_tensor, read_picture, write_picture


@dataclass(frozen=True)
class Protocol:
    """How a paper's numbers were measured.

    Attributes:
        name: as given to `--protocol`.
        paper: whose numbers.
        mode: clean-fid's way of resizing in front of Inception.
        size: side that test pictures are resized to before translation, pixels.
        filter: bicubic or bilinear.
        reals: "files" as they are, or "resized" like the inputs.
        choice: which checkpoint the published number is of, as far as its authors say.
    """

    name: str
    paper: str
    mode: FeatureMode
    size: int
    filter: str
    reals: Literal["files", "resized"]
    choice: str

    def facts(self) -> dict[str, Fact]:
        """Return the facts that a measurement says of it."""
        return {
            "protocol": self.name,
            "input_size": f"{self.size}x{self.size}, by Pillow {self.filter}",
            "reals": "resized as the inputs" if self.reals == "resized" else "files as they are",
        }


@lru_cache(maxsize=1)
def protocols() -> Mapping[str, Protocol]:
    """Return all protocols by name."""
    text = files("i2icli.evaluation").joinpath("protocols.toml").read_text(encoding="utf-8")
    return {
        name: Protocol(
            name=name,
            paper=entry["paper"],
            mode=check_mode(entry["mode"]),
            size=entry["size"],
            filter=entry["filter"],
            reals=cast(Literal["files", "resized"], entry["reals"]),
            choice=entry["choice"],
        )
        for name, entry in tomllib.loads(text).items()
    }


def find_protocol(name: str) -> Protocol:
    """Return the protocol of that name.

    Raises:
        ConfigError: no such name; the nearest is suggested.
    """
    known = protocols()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"use {', '.join(known)}."
    meant = {name: close[0]} if close else None
    raise ConfigError(f"--protocol {name!r} is not known; {hint}", meant=meant)


def write_resized(source: Path, target: Path, protocol: Protocol) -> None:
    """Write a picture as the released test code feeds it to the network: resized, 8-bit PNG.

    Raises:
        DataError: if the picture cannot be read.
    """
    plan = CropPlan(
        preprocess="resize",
        width=protocol.size,
        height=protocol.size,
        crop=protocol.size,
        interpolation=protocol.filter,
        flip=False,
    )
    pixels = read_picture(source, channels=None).pixels
    target.parent.mkdir(parents=True, exist_ok=True)
    write_picture(target, from_tensor(make_crop(pixels, plan, CropChoice())))


def unexpected_counts(data_set: str, *, inputs: str, found: Mapping[str, int]) -> tuple[str, ...]:
    """Return a sentence for each count that is not the one papers measure this data set with.

    Args:
        data_set: its name; of one that is not registered nothing is said.
        inputs: "testA" or "testB": what is translated; the other is the target.
        found: pictures of testA and of testB.
    """
    if data_set not in CATALOGUE:
        return ()
    expected = dict(zip(("testA", "testB"), CATALOGUE[data_set].counts[2:], strict=True))
    roles = {name: "translated" if name == inputs else "real" for name in expected}
    return tuple(
        f"{name} of {data_set} has {found[name]} pictures ({roles[name]}), where papers measure "
        f"with {wanted}: this number is not comparable with theirs"
        for name, wanted in expected.items()
        if wanted is not None and name in found and found[name] != wanted
    )
