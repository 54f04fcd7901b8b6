"""Files that belong together, and the networks of a method in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import CheckpointError
from i2icli.interop.files import parse_name, read_weights
from i2icli.interop.network import Network
from i2icli.interop.recognise import recognise

# MUNIT writes gen_00100000.pt and dis_00100000.pt, both domains in each.
_MUNIT = {"gen": "gen_", "dis": "dis_"}
_ONE = "G"
_PAIR = ("G_A", "G_B")


@dataclass(frozen=True)
class Part:
    """A network in a file."""

    file: Path
    network: Network


@dataclass(frozen=True)
class Generators:
    """The generators that a file stands for, by what the released code calls them.

    Attributes:
        file: what the user named.
        parts: both generators of two-way methods, if they are there; else {"G": the file's}.
        family: of the generators, by which a preset is chosen.
    """

    file: Path
    parts: Mapping[str, Part]
    family: str

    @property
    def main(self) -> Part:
        """The generator of the file itself."""
        return next(part for part in self.parts.values() if part.file == self.file)

    def alone(self) -> Mapping[str, Part]:
        """Return the file's own generator as the one of a one-way method."""
        return {_ONE: self.main}


def find_generators(file: Path, *, alone: bool) -> Generators:
    """Read the generators that a file stands for; `alone`: looking at no other file.

    Raises:
        CheckpointError: if the file cannot be read, or holds no generator that is known.
    """
    networks = {
        part: recognise(weights, source=str(file)) for part, weights in read_weights(file).items()
    }
    first = next(iter(networks.values()))
    if first.role != "generator":
        raise CheckpointError(
            f"{file} holds a {first.title}, which cannot translate: give the file of the "
            f"generator{_generator_beside(file)}."
        )
    if "" not in networks:
        parts = {f"gen/{part}": Part(file, network) for part, network in networks.items()}
        return Generators(file, parts, first.family)
    own = Part(file, first)
    if not alone and (pair := _pair(own)):
        return Generators(file, pair, f"{first.family}, both ways")
    head = None if alone else read_beside(file, "F")
    is_learned = isinstance(head, Part) and head.network.role == "similarity"
    family = f"{first.family}, similarity head" if is_learned else first.family
    return Generators(file, {_ONE: own}, family)


def read_beside(file: Path, name: str) -> Part | str:
    """Read another network of a generator's release, or say why there is none.

    `name` is that of the released code: D, F, D_A, or dis/a of MUNIT.
    """
    kind, _, part = name.partition("/")
    if part:
        path = file.with_name(file.name.replace(_MUNIT["gen"], _MUNIT[kind], 1))
        is_named = file.name.startswith(_MUNIT["gen"])
    else:
        known = parse_name(file)
        is_named = known is not None
        path = known.sibling(name) if known else file
    if not is_named:
        return f"the name {file.name} does not tell the files beside it"
    if not path.is_file():
        return f"there is no {path.name} beside it"
    try:
        weights = read_weights(path)
        if part not in weights:
            return f"{path.name} has no part {part!r}"
        return Part(path, recognise(weights[part], source=path.name))
    except CheckpointError as fault:
        return str(fault).rstrip(".")


def _pair(own: Part) -> dict[str, Part] | None:
    # both generators of CycleGAN, if the other one is beside
    known = parse_name(own.file)
    if known is None or known.network not in _PAIR:
        return None
    name = _PAIR[1 - _PAIR.index(known.network)]
    other = read_beside(own.file, name)
    if isinstance(other, str) or other.network.settings != own.network.settings:
        return None
    if other.network.channels != own.network.channels[::-1]:
        return None
    pair = {known.network: own, name: other}
    return {name: pair[name] for name in _PAIR}


def _generator_beside(file: Path) -> str:
    """Return the generator's file to give instead, if it is there."""
    known = parse_name(file)
    names = (_ONE, *_PAIR) if known else ()
    for path in (known.sibling(name) for name in names if known):
        if path.is_file():
            return f", {path}"
    if file.name.startswith(_MUNIT["dis"]):
        return f", {file.with_name(file.name.replace(_MUNIT['dis'], _MUNIT['gen'], 1))}"
    return ", such as latest_net_G.pth"
