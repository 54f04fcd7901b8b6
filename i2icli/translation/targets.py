"""The target of every translation, decided before the first one is written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import ConfigError
from i2icli.pictures.encode import UNWRITABLE, WRITABLE
from i2icli.translation.sources import Source, identity_of, is_picture

GRID_ROWS = 8


@dataclass(frozen=True)
class Job:
    """One picture to translate."""

    source: Path  # the file to read
    targets: tuple[Path, ...]  # the files to write, one a style; one where there are no styles
    name: str  # what captions and messages call it
    masks: tuple[tuple[Path, ...], ...] = ()  # for each target the files of its masks

    @property
    def target(self) -> Path:
        """The first file to write."""
        return self.targets[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is written."""
        return (*self.targets, *(path for paths in self.masks for path in paths))

    def is_there(self) -> bool:
        """Say whether all of it is written already."""
        return all(path.is_file() for path in self.files)


@dataclass(frozen=True)
class _Naming:
    styles: tuple[str, ...]
    masks: tuple[str, ...]

    def targets(self, base: Path) -> tuple[Path, ...]:
        if not self.styles:
            return (base,)
        return tuple(_extended(base, f"_{style}") for style in self.styles)

    def mask_files(self, base: Path) -> tuple[tuple[Path, ...], ...]:
        if not self.masks:
            return ()
        return tuple(
            tuple(_extended(target, f"_{mask}", ending=".png") for mask in self.masks)
            for target in self.targets(base)
        )

    def keys(self, base: Path) -> set[str]:
        masks = (path for paths in self.mask_files(base) for path in paths)
        return {_key(path) for path in (*self.targets(base), *masks)}

    def job(self, source: Source, base: Path) -> Job:
        name = source.relative.as_posix()
        return Job(source.path, self.targets(base), name, self.mask_files(base))


@dataclass(frozen=True)
class Plan:
    """The files that a translation reads and writes."""

    jobs: tuple[Job, ...]  # one for every picture, in order
    grids: tuple[Path, ...] = ()  # contact sheets, one for every `GRID_ROWS` jobs
    styles: tuple[str, ...] = ()  # names of each job's targets; none: one target
    masks: tuple[str, ...] = ()  # names of the masks beside each target


def plan_outputs(
    sources: Sequence[Source],
    out: Path,
    *,
    is_file: bool = False,
    format: str = "png",
    suffix: str = "",
    styles: Sequence[str] = (),
    masks: Sequence[str] = (),
    with_grids: bool = False,
) -> Plan:
    """Give every source outputs of its own.

    Two sources whose outputs would have one name (a.tif and a.png, both to a.png) keep their own
    suffix in it (a.tif.png), except one that already ends as its output does. Names that
    differ only in case or in Unicode form count as one, since some file systems take them for one.

    Args:
        sources: what is read.
        out: the folder that mirrors them, or the one output file; of styles and masks it gives
            stem and format.
        is_file: `out` is that file.
        format: "keep", or a suffix without the dot; masks are PNG.
        suffix: text between stem and suffix of an output, for example "_zebra".
        styles: names of the styles, each with an output of its own; none: one output.
        masks: names of the masks to write beside each output.
        with_grids: plan contact sheets too.

    Raises:
        ConfigError: if an output would replace a source, two outputs of a picture would have one
            name, or a format or suffix is unusable.
    """
    naming = _Naming(tuple(styles), tuple(masks))
    count = -(-len(sources) // GRID_ROWS) if with_grids else 0
    prefix = f"{out.stem}-" if is_file else ""
    folder = out.parent if is_file else out
    grids = tuple(folder / f"{prefix}grid-{i + 1:03d}.png" for i in range(count))
    _check_naming(out.suffix[1:].lower() if is_file else format, suffix)
    if is_file:
        names = [Path(out.name)]
    else:
        wanted = [_name(s.relative, format=format, suffix=suffix) for s in sources]
        names = _distinct(sources, wanted, naming, taken={_key(Path(grid.name)) for grid in grids})
    jobs = [naming.job(source, folder / name) for source, name in zip(sources, names, strict=True)]
    plan = Plan(tuple(jobs), grids, naming.styles, naming.masks)
    _check_names_differ(plan)
    _check_no_source_is_replaced(plan)
    return plan


def check_folder_name(out: Path) -> None:
    """Refuse a folder to be made that is named like a picture of a kind that is not written.

    Raises:
        ConfigError: with the kinds that are.
    """
    if out.suffix.lower() in UNWRITABLE and not out.is_dir():
        raise ConfigError(
            f"{out} would become a folder, for i2i does not write such files: name a folder, or a "
            f"picture as {', '.join(_formats())}."
        )


def _formats() -> list[str]:
    return sorted(known.removeprefix(".") for known in WRITABLE)


def _check_naming(format: str, suffix: str) -> None:
    formats = _formats()
    if format != "keep" and format not in formats:
        raise ConfigError(
            f"pictures are not written as {format!r}: use keep, {', '.join(formats)}."
        )
    if set(suffix) & set("/\\\0"):
        raise ConfigError(f"--suffix {suffix!r} must not hold a path separator.")


def _name(relative: Path, *, format: str, suffix: str) -> Path:
    # A listed file may have any suffix, since its content decides how it is read; nor is every
    # format written that is read.
    keeps = format == "keep" and relative.suffix.lower() in WRITABLE
    ending = relative.suffix if keeps else f".{'png' if format == 'keep' else format}"
    stem = relative.stem if is_picture(relative) else relative.name
    return relative.with_name(f"{stem}{suffix}{ending}")


def _distinct(
    sources: Sequence[Source], wanted: Sequence[Path], naming: _Naming, *, taken: set[str]
) -> list[Path]:
    keys = [naming.keys(name) for name in wanted]
    uses = Counter(key for some in keys for key in some)
    names: list[Path | None] = [None] * len(wanted)
    taken = set(taken)
    for i, name in enumerate(wanted):
        owns = sources[i].relative.suffix.lower() == name.suffix.lower()
        is_sole = all(uses[key] == 1 for key in keys[i])
        if (is_sole or owns) and not keys[i] & taken:
            names[i] = name
            taken |= keys[i]
    return [
        name or _free_name(sources[i], wanted[i], naming, taken) for i, name in enumerate(names)
    ]


def _free_name(source: Source, wanted: Path, naming: _Naming, taken: set[str]) -> Path:
    # The source's own suffix tells it apart.
    own = source.relative.suffix
    candidate = _extended(wanted, own)
    number = 2
    while naming.keys(candidate) & taken:
        candidate = _extended(wanted, f"{own}-{number}")
        number += 1
    taken |= naming.keys(candidate)
    return candidate


def _extended(path: Path, text: str, *, ending: str | None = None) -> Path:
    """Return a path with text between its stem and its suffix, or with `ending` for a suffix."""
    stem = path.name.removesuffix(path.suffix)
    return path.with_name(f"{stem}{text}{path.suffix if ending is None else ending}")


def _key(name: Path) -> str:
    """Return a form in which names are equal that any file system takes for one."""
    return unicodedata.normalize("NFC", name.as_posix()).casefold()


def _check_names_differ(plan: Plan) -> None:
    # Two pictures of --style-from may have one stem, or a style be called like another's mask.
    for job in plan.jobs[:1]:  # of one picture as of all
        names = Counter(_key(path) for path in job.files)
        for path in job.files:
            if names[_key(path)] > 1:
                raise ConfigError(
                    f"two outputs of {job.name} would be called {path.name}: rename a picture of "
                    "--style-from."
                )


def _check_no_source_is_replaced(plan: Plan) -> None:
    sources = {identity_of(job.source): job.source for job in plan.jobs}
    for target in (*(path for job in plan.jobs for path in job.files), *plan.grids):
        identity = identity_of(target)
        if identity is not None and (source := sources.get(identity)):
            raise ConfigError(
                f"{target} would replace the input {source}: choose another OUT, or add --suffix."
            )
