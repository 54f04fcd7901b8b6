"""The networks of a file that holds several, under keys or under prefixes of their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from i2icli.errors import CheckpointError
from i2icli.interop.files import Weights, without_wrappers
from i2icli.interop.network import Network
from i2icli.interop.recognise import recognise

_DEEPEST = 3  # prefixes in front of each other, such as `generators.photo.`
_AVERAGED = "_ema"
# Names whose meaning all codes share; with one letter, G_A starts from A and D_A looks at what it
# makes.
_PLAIN = re.compile(r"(?:net_?)?(?P<kind>G|D|F)(?:_?(?P<side>A|B))?")
_WAYS = re.compile(
    r"(?:net_?)?(?:G|gen|generator)_?(?P<start>[AB])_?(?:2|to)?_?(?P<end>[AB])", re.IGNORECASE
)


def networks_in(parts: Mapping[str, Weights], *, source: str) -> dict[str, Network]:
    """Return the known networks in the state dicts of a file, by the names it has for them.

    Frameworks keep the networks of a whole training in one state dict, a prefix each: Lightning
    `generator.`, mmgeneration `generators.photo.`. What belongs to no known network is left out,
    so long as there is a generator.

    Args:
        parts: as `read_weights` returns them.
        source: the file, for errors.

    Raises:
        CheckpointError: nothing in it is known.
    """
    found: dict[str, Network] = {}
    fault: CheckpointError | None = None
    for name, weights in parts.items():
        try:
            found |= _inside(weights, name, source)
        except CheckpointError as error:
            fault = fault or error
    if fault is not None and not any(net.role == "generator" for net in found.values()):
        raise fault
    return found


def _inside(weights: Weights, name: str, source: str, depth: int = 0) -> dict[str, Network]:
    try:
        return {name: recognise(weights, source=source)}
    except CheckpointError:
        found: dict[str, Network] = {}
        for head, group in _groups(weights).items() if depth < _DEEPEST else ():
            inner = f"{name}.{head}" if name else head
            with suppress(CheckpointError):
                found |= _inside(without_wrappers(group), inner, source, depth + 1)
        if depth == 0 and not any(net.role == "generator" for net in found.values()) or not found:
            raise
        return found


def _groups(weights: Weights) -> dict[str, Weights]:
    groups: dict[str, dict[str, str]] = {}
    for name in weights:
        head, dot, rest = name.partition(".")
        if dot:
            groups.setdefault(head, {})[rest] = name
    return {
        head: {rest: weights[name] for rest, name in names.items()}
        for head, names in groups.items()
    }


def plain_name(name: str) -> str:
    """Return a network's name as CycleGAN's and CUT's code has it (G, D_A, ...), else as it is."""
    last = name.rpartition(".")[2]
    if match := _PLAIN.fullmatch(last):
        return match["kind"] + (f"_{match['side']}" if match["side"] else "")
    if (match := _WAYS.fullmatch(last)) and match["start"].upper() != match["end"].upper():
        return f"G_{match['start'].upper()}"
    return name


def generators_of(networks: Mapping[str, Network], wanted: str | None, source: str) -> list[str]:
    """Return the names of the generators to take: one, or G_A's and G_B's; averaged ones first.

    Args:
        networks: of a file, as `networks_in` returns them.
        wanted: the name that the user chose, whole or its last part; None: none.
        source: the file, for errors.

    Raises:
        CheckpointError: there is no generator, or not that one, or the user has to choose.
    """
    names = [name for name, network in networks.items() if network.role == "generator"]
    if wanted is not None:
        chosen = [name for name in names if wanted == name] or [
            name for name in names if wanted in (name.rpartition(".")[2], plain_name(name))
        ]
        if len(chosen) != 1:
            have = ", ".join(name or "one without a name" for name in names) or "none"
            raise CheckpointError(
                f"{source} holds no one generator called {wanted!r}: its generators are {have}."
            )
        return chosen
    averaged = [name for name in names if f"{name}{_AVERAGED}" in names]
    names = [name for name in names if name not in averaged]
    plain = {plain_name(name): name for name in names}
    if len(names) > 1 and plain.keys() != {"G_A", "G_B"}:
        raise CheckpointError(
            f"{source} holds {len(names)} generators, {', '.join(names)}: choose one with "
            f"`i2i import {source} --network {names[0]}`."
        )
    return [plain[key] for key in sorted(plain)] if len(names) > 1 else names
