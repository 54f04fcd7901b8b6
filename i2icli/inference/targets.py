"""Decide where every translation goes, before the first one is written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.data.encode import WRITABLE
from i2icli.errors import ConfigError
from i2icli.inference.sources import Source, identity_of, is_picture

GRID_ROWS = 8


@dataclass(frozen=True)
class Job:
    """One picture to translate.

    Attributes:
        source: the file to read.
        target: the file to write.
        name: what captions and messages call it.
    """

    source: Path
    target: Path
    name: str


@dataclass(frozen=True)
class Plan:
    """What a translation reads and writes.

    Attributes:
        jobs: one for every picture, in order.
        grids: contact sheets, one for every `GRID_ROWS` jobs; empty where none are wanted.
    """

    jobs: tuple[Job, ...]
    grids: tuple[Path, ...] = ()


def plan_outputs(
    sources: Sequence[Source],
    out: Path,
    *,
    is_file: bool = False,
    format: str = "png",
    suffix: str = "",
    with_grids: bool = False,
) -> Plan:
    """Give every source an output of its own.

    Two sources whose outputs would have one name (a.tif and a.png, both to a.png) keep their own
    suffix in it (a.tif.png), except one that already ends as its output does. Names that
    differ only in case or in Unicode form count as one, since some file systems take them for one.

    Args:
        sources: what is read.
        out: the folder that mirrors them, or the one output file.
        is_file: `out` is that file.
        format: "keep", or a suffix without the dot.
        suffix: text between stem and suffix of an output, for example "_zebra".
        with_grids: plan contact sheets too.

    Raises:
        ConfigError: if an output would replace a source, or a format or suffix is unusable.
    """
    count = -(-len(sources) // GRID_ROWS) if with_grids else 0
    prefix = f"{out.stem}-" if is_file else ""
    folder = out.parent if is_file else out
    grids = tuple(folder / f"{prefix}grid-{i + 1:03d}.png" for i in range(count))
    if is_file:
        _check_naming(out.suffix[1:].lower(), suffix)
        names = [Path(out.name)]
    else:
        _check_naming(format, suffix)
        wanted = [_name(s.relative, format=format, suffix=suffix) for s in sources]
        names = _distinct(sources, wanted, taken={_key(Path(grid.name)) for grid in grids})
    plan = Plan(
        tuple(
            Job(source.path, folder / name, source.relative.as_posix())
            for source, name in zip(sources, names, strict=True)
        ),
        grids,
    )
    _check_no_source_is_replaced(plan)
    return plan


def _check_naming(format: str, suffix: str) -> None:
    formats = sorted(known.removeprefix(".") for known in WRITABLE)
    if format != "keep" and format not in formats:
        raise ConfigError(
            f"pictures are not written as {format!r}: use keep, {', '.join(formats)}."
        )
    if set(suffix) & set("/\\\0"):
        raise ConfigError(f"--suffix {suffix!r} must not hold a path separator.")


def _name(relative: Path, *, format: str, suffix: str) -> Path:
    """Return the output's name where nothing collides."""
    # A listed file may have any suffix, since its content decides how it is read; nor is every
    # format written that is read.
    keeps = format == "keep" and relative.suffix.lower() in WRITABLE
    ending = relative.suffix if keeps else f".{'png' if format == 'keep' else format}"
    stem = relative.stem if is_picture(relative) else relative.name
    return relative.with_name(f"{stem}{suffix}{ending}")


def _distinct(sources: Sequence[Source], wanted: Sequence[Path], *, taken: set[str]) -> list[Path]:
    """Return `wanted` with colliding names told apart."""
    uses = Counter(_key(name) for name in wanted)
    names: list[Path | None] = [None] * len(wanted)
    taken = set(taken)
    for i, name in enumerate(wanted):
        owns = sources[i].relative.suffix.lower() == name.suffix.lower()
        if (uses[_key(name)] == 1 or owns) and _key(name) not in taken:
            names[i] = name
            taken.add(_key(name))
    return [name or _free_name(sources[i], wanted[i], taken) for i, name in enumerate(names)]


def _free_name(source: Source, wanted: Path, taken: set[str]) -> Path:
    """Return a name with the source's own suffix in it, and claim it."""
    own = source.relative.suffix
    stem = wanted.name.removesuffix(wanted.suffix)
    candidate = wanted.with_name(f"{stem}{own}{wanted.suffix}")
    number = 2
    while _key(candidate) in taken:
        candidate = wanted.with_name(f"{stem}{own}-{number}{wanted.suffix}")
        number += 1
    taken.add(_key(candidate))
    return candidate


def _key(name: Path) -> str:
    """Return a form in which names are equal that any file system takes for one."""
    return unicodedata.normalize("NFC", name.as_posix()).casefold()


def _check_no_source_is_replaced(plan: Plan) -> None:
    sources = {identity_of(job.source): job.source for job in plan.jobs}
    for target in (*(job.target for job in plan.jobs), *plan.grids):
        identity = identity_of(target)
        if identity is not None and (source := sources.get(identity)):
            raise ConfigError(
                f"{target} would replace the input {source}: choose another OUT, or add --suffix."
            )
