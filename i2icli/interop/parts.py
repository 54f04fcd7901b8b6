"""Files that belong together, and the networks of a method in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from i2icli.errors import CheckpointError
from i2icli.interop.files import parse_name, read_weights
from i2icli.interop.network import Network
from i2icli.interop.recognise import recognise
from i2icli.interop.several import generators_of, networks_in, plain_name

# MUNIT writes gen_00100000.pt and dis_00100000.pt, both domains in each.
_MUNIT = {"gen": "gen_", "dis": "dis_"}
_ONE = "G"
_PAIR = ("G_A", "G_B")


@dataclass(frozen=True)
class Part:
    """A network in a file, and its name there if the file holds several."""

    file: Path
    network: Network
    name: str = ""

    @property
    def label(self) -> str:
        """What the user reads."""
        return f"{self.file.name} [{self.name}]" if self.name else self.file.name


@dataclass(frozen=True)
class Generators:
    """The generators that a file stands for, by what the released code calls them.

    Attributes:
        file: what the user named.
        parts: both generators of two-way methods, if they are there; else {"G": the file's}.
        family: of the generators, by which a preset is chosen.
        inside: all networks of a file that has names for them.
    """

    file: Path
    parts: Mapping[str, Part]
    family: str
    inside: Mapping[str, Network] = field(default_factory=dict)

    @property
    def main(self) -> Part:
        """The generator of the file itself."""
        return next(part for part in self.parts.values() if part.file == self.file)

    @property
    def called(self) -> str:
        """The name of the file's own generator: G, G_A, ..., or one that tells nothing."""
        if self.main.name:
            return plain_name(self.main.name)
        known = parse_name(self.file)
        return known.network if known else ""

    def alone(self) -> Mapping[str, Part]:
        """Return the file's own generator as the one of a one-way method."""
        return {_ONE: self.main}

    def other(self, name: str) -> Part | str:
        """Return another network of the release, as `read_beside` does; first from the file."""
        for inner, network in self.inside.items():
            if plain_name(inner) == name and network.role != "generator":
                return Part(self.file, network, inner)
        return read_beside(self.file, name)


def find_generators(file: Path, *, alone: bool, network: str | None = None) -> Generators:
    """Read the generators that a file stands for; `alone`: looking at no other file.

    Args:
        file: as the user named it.
        alone: look at no other file.
        network: the generator to take of a file that holds several, by its name there.

    Raises:
        CheckpointError: if the file cannot be read, or holds no generator that is known, or
            several of which none was chosen.
    """
    networks = networks_in(read_weights(file), source=str(file))
    first = next(iter(networks.values()))
    if networks.keys() == {"a", "b"} and first.role == "generator" and network is None:
        parts = {f"gen/{part}": Part(file, inner) for part, inner in networks.items()}
        return Generators(file, parts, first.family)
    names = generators_of(networks, network, str(file))
    if not names:
        raise CheckpointError(
            f"{file} holds a {first.title}, which cannot translate: give the file of the "
            f"generator{_generator_beside(file)}."
        )
    inside = {} if networks.keys() == {""} else networks
    own = Part(file, networks[names[0]], names[0])
    if len(names) > 1:
        pair = {plain_name(name): Part(file, networks[name], name) for name in names}
        if _is_pair(*pair.values()):
            return Generators(file, pair, f"{own.network.family}, both ways", inside)
        raise CheckpointError(
            f"{file} holds {' and '.join(names)}, which are no pair: choose one with "
            f"`i2i import {file} --network {names[0]}`."
        )
    if not (alone or inside) and (pair := _pair(own) or {}):
        return Generators(file, pair, f"{own.network.family}, both ways")
    found = Generators(file, {_ONE: own}, own.network.family, inside)
    head = None if alone else found.other("F")
    is_learned = isinstance(head, Part) and head.network.role == "similarity"
    return replace(found, family=f"{found.family}, similarity head") if is_learned else found


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
    if isinstance(other, str) or not _is_pair(own, other):
        return None
    pair = {known.network: own, name: other}
    return {name: pair[name] for name in _PAIR}


def _is_pair(one: Part, other: Part) -> bool:
    have_same_settings = one.network.settings == other.network.settings
    return have_same_settings and one.network.channels == other.network.channels[::-1]


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
