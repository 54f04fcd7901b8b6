"""`i2i compare`: the same pictures through several checkpoints, side by side."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from i2icli.data.held_out import folders_beside
from i2icli.errors import ConfigError, DataError
from i2icli.evaluation.translated import translate_plan
from i2icli.metrics.choose import Settings, Subject, choose_metrics, measure_all
from i2icli.metrics.realism import Reading
from i2icli.metrics.results import Measurement
from i2icli.metrics.truth import TruthScore, mean_score, score_file
from i2icli.pictures.images import Picture, Pixels, read_picture, read_size
from i2icli.pictures.listing import evenly_spaced
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.paths import find_checkpoint, home_of
from i2icli.runs.zoo import is_model
from i2icli.translation.folder import FolderOptions
from i2icli.translation.pictures import source_channels, translate_pictures
from i2icli.translation.sources import Source, find_sources
from i2icli.translation.targets import plan_outputs
from i2icli.translation.translator import Translator, load_translator
from i2icli.viz.grid import draw_grid, shrink

SIDE = 256  # pixels; a sheet of larger pictures would be too wide to look at
Measure = Callable[[str, Translator], Sequence[Measurement]]


@dataclass(frozen=True)
class Contender:
    """A checkpoint to compare.

    Attributes:
        name: what captions call it, distinct from the others'.
        path: the file.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """What a checkpoint did.

    Attributes:
        contender: which.
        method: name of its method.
        preset: name of its preset.
        step: steps it was trained for.
        parameters: weights of its translating networks.
        seconds: for one picture, the median, a first one not counted; None with one picture.
        device: where that was.
        truth: mean errors against the true translations; None where there are none.
        measurements: what was asked for besides.
    """

    contender: Contender
    method: str
    preset: str
    step: int
    parameters: int
    seconds: float | None
    device: str
    truth: TruthScore | None
    measurements: tuple[Measurement, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "name": self.contender.name,
            "path": str(self.contender.path),
            "method": self.method,
            "preset": self.preset,
            "step": self.step,
            "parameters": self.parameters,
            "seconds_per_picture": self.seconds,
            "device": self.device,
            "truth": _truth_document(self.truth),
            "metrics": {found.name: found.as_document() for found in self.measurements},
        }


@dataclass(frozen=True)
class Comparison:
    """Several checkpoints on the same pictures.

    Attributes:
        pictures: names of those shown.
        outcomes: one a checkpoint.
        identity: error of the untranslated pictures; None where there is no truth.
        skipped: pictures that could not be read, each with the reason.
        sheet: source, translations and, where there is one, truth of every picture.
    """

    pictures: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    identity: TruthScore | None
    skipped: Mapping[str, str]
    sheet: Image.Image

    def as_document(self) -> dict[str, Any]:
        """Return all but the sheet for JSON."""
        return {
            "pictures": list(self.pictures),
            "skipped": dict(self.skipped),
            "identity": _truth_document(self.identity),
            "checkpoints": [outcome.as_document() for outcome in self.outcomes],
        }


def find_contenders(paths: Sequence[Path]) -> list[Contender]:
    """Return the checkpoint files that paths stand for, each under a name of its own.

    A run folder stands for its `checkpoints/last.pt` and gives its name.

    Raises:
        CheckpointError: if there is none.
        ConfigError: if one is named twice.
    """
    files = [find_checkpoint(path) for path in paths]
    for index, file in enumerate(files):
        if file.resolve() in [other.resolve() for other in files[:index]]:
            raise ConfigError(f"{file} is named twice: name each checkpoint once.")
    names = [_name_of(file) for file in files]
    if len(set(names)) < len(names):
        homes = [home_of(file.resolve()) for file in files]
        names = [f"{home.parent.name}/{name}" for home, name in zip(homes, names, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{index + 1} {name}" for index, name in enumerate(names)]
    return [Contender(name, file) for name, file in zip(names, files, strict=True)]


def compare(
    contenders: Sequence[Contender],
    sources: Sequence[Source],
    *,
    count: int = 8,
    direction: str = "a2b",
    device: str = "auto",
    measure: Measure | None = None,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Comparison:
    """Translate the same few pictures with every checkpoint.

    Args:
        contenders: the checkpoints.
        sources: the pictures.
        count: of these so many, evenly spaced.
        direction: one that all checkpoints offer.
        device: auto, cpu, cuda, cuda:N or mps.
        measure: takes the name of a contender and its translator, and returns further numbers.
        progress: is told of translations done and in all.

    Raises:
        ConfigError: if a checkpoint does not translate in that direction, or two numbers of one
            metric were not measured alike.
        CheckpointError: if a checkpoint cannot be read.
        DataError: if no picture can be read.
    """
    shown, skipped = _readable(spaced_sources(sources, count=count))
    truths = [
        _partner(folders_beside(source.path.absolute().parent).truth, source.path)
        if direction == "a2b"
        else None
        for source in shown
    ]
    rows = _Rows(shown, truths)
    outcomes: list[Outcome] = []
    total, counter = len(contenders) * len(shown), itertools.count(1)

    def tell() -> None:
        progress(next(counter), total)

    for contender in contenders:
        translator = load_translator(contender.path, device=device)
        translations, seconds = _translate(translator, shown, direction, tell)
        rows.add(contender.name, translations)
        found = tuple(measure(contender.name, translator)) if measure else ()
        if outcomes:
            for one, other in zip(outcomes[0].measurements, found, strict=True):
                one.comparable_with(other)
        outcomes.append(_outcome(contender, translator, seconds, rows.score(translations), found))
    identity = rows.score([read_picture(source.path).pixels for source in shown])
    return Comparison(
        tuple(source.relative.as_posix() for source in shown),
        tuple(outcomes),
        identity,
        skipped,
        rows.draw(),
    )


def spaced_sources(sources: Sequence[Source], *, count: int) -> list[Source]:
    """Return so many of the sources, evenly spaced."""
    by_path = {source.path: source for source in sources}
    return [by_path[path] for path in evenly_spaced(list(by_path), count=count)]


@dataclass
class _Rows:
    """The sheet as it grows, a column a checkpoint; pictures are kept at the sheet's size."""

    shown: Sequence[Source]
    truths: Sequence[Path | None]
    columns: dict[str, list[Pixels]] = field(default_factory=dict)

    def add(self, title: str, pictures: Sequence[Pixels]) -> None:
        self.columns[title] = [shrink(pixels, side=SIDE) for pixels in pictures]

    def score(self, pictures: Sequence[Pixels]) -> TruthScore | None:
        """Return the mean error over the pictures that have a truth of their size."""
        scores = []
        for pixels, source, truth in zip(pictures, self.shown, self.truths, strict=True):
            if truth is not None and read_size(truth) == (pixels.shape[1], pixels.shape[0]):
                mask = _partner(folders_beside(source.path.absolute().parent).masks, source.path)
                scores.append(score_file(pixels, truth, mask))
        return mean_score(scores) if scores else None

    def draw(self) -> Image.Image:
        columns = {"source": [_small(source.path) for source in self.shown], **self.columns}
        known = [truth for truth in self.truths if truth is not None]
        if len(known) == len(self.shown):
            columns["truth"] = [_small(truth) for truth in known]
        return draw_grid(
            list(zip(*columns.values(), strict=True)),
            column_titles=list(columns),
            row_titles=[source.relative.as_posix() for source in self.shown],
        )


def _name_of(file: Path) -> str:
    if is_model(file):
        return file.resolve().parent.name
    if file.absolute().parent.name != "checkpoints":
        return file.stem
    run = home_of(file.resolve()).name
    return run if file.stem == "last" else f"{run} {file.stem}"


def _readable(sources: Sequence[Source]) -> tuple[list[Source], dict[str, str]]:
    readable, skipped = [], {}
    for source in sources:
        try:
            read_picture(source.path)
            readable.append(source)
        except DataError as fault:
            skipped[str(source.path)] = str(fault)
    if not readable:
        raise DataError(
            f"none of the {len(sources)} pictures can be read: {next(iter(skipped.values()))}"
        )
    return readable, skipped


def _translate(
    translator: Translator,
    shown: Sequence[Source],
    direction: str,
    tell: Callable[[], None],
) -> tuple[list[Pixels], float | None]:
    """Return the translations and the median seconds of one; reading is not counted."""
    channels = source_channels(translator.method, direction)
    translations: list[Pixels] = []
    seconds: list[float] = []
    for source in shown:
        picture = read_picture(source.path, channels=channels)
        start = time.perf_counter()
        (made,) = translate_pictures(
            translator.method,
            [Picture(picture.pixels)],
            direction,
            precision=translator.precision,
            scale=translator.scale,
        )
        translations.append(made.pixels)
        seconds.append(time.perf_counter() - start)
        tell()
    return translations, median(seconds[1:]) if len(seconds) > 1 else None


def _outcome(
    contender: Contender,
    translator: Translator,
    seconds: float | None,
    truth: TruthScore | None,
    measurements: tuple[Measurement, ...],
) -> Outcome:
    modules = translator.method.translators.values()
    return Outcome(
        contender=contender,
        method=translator.name,
        preset=translator.config.preset,
        step=load_checkpoint(contender.path).step,
        parameters=sum(p.numel() for module in modules for p in module.parameters()),
        seconds=seconds,
        device=str(translator.device),
        truth=truth,
        measurements=measurements,
    )


def _partner(folder: Path | None, path: Path) -> Path | None:
    partner = None if folder is None else folder / path.name
    return partner if partner is not None and partner.is_file() else None


def _small(path: Path) -> Pixels:
    return shrink(read_picture(path).pixels, side=SIDE)


def _truth_document(score: TruthScore | None) -> dict[str, float | None] | None:
    if score is None:
        return None
    return {"total": score.total, "inside": score.inside, "outside": score.outside}


def plan_measuring(
    wanted: Sequence[str], source: Path, *, real: Path | None, out: Path, direction: str
) -> Measure | None:
    """Return the function that measures a checkpoint; None where nothing is wanted.

    Args:
        wanted: of "fid", "kid" and "lpips".
        source: the folder that is translated, all of it.
        real: real pictures of the target domain; None: the folder of the other domain beside
            `source`, testB beside testA.
        out: gets a folder of translations a checkpoint.
        direction: in which.

    Raises:
        ConfigError: if a metric is wanted and `source` is no folder, or `real` says nothing.
        DataError: if there are no real pictures to compare with.
        WeightsError: if the networks that a metric needs are missing.
    """
    if not wanted:
        if real is not None:
            raise ConfigError(f"--real {real} means nothing without --fid or --kid: add one.")
        return None
    flags = " ".join(f"--{name}" for name in wanted)
    if not source.is_dir():
        raise ConfigError(f"{flags} measure a whole folder, and {source} is none: give a folder.")
    has_distance = not {"fid", "kid"}.isdisjoint(wanted)
    subject = Subject(inputs=source, reals=_find_real(source, real) if has_distance else None)
    # Asked for before the first translation, so that nobody waits for a refusal.
    choose_metrics(wanted, subject, Settings())

    def measure(name: str, translator: Translator) -> list[Measurement]:
        fakes = out / name.replace("/", "-")
        fakes.mkdir(parents=True, exist_ok=True)
        plan = plan_outputs(find_sources(str(source), out=out), fakes)
        targets = {job.target for job in plan.jobs}
        if left := [path for path in sorted(fakes.rglob("*.png")) if path not in targets]:
            raise ConfigError(
                f"{fakes} holds {left[0].name}, which is no translation of {source}: "
                "choose another --out."
            )
        # A picture that fails would make the numbers unlike, so it is fatal.
        translate_plan(translator, plan, FolderOptions(direction=direction))
        settings = Settings(Reading(device=translator.device))
        return list(measure_all(wanted, replace(subject, outputs=fakes), settings).values())

    return measure


def _find_real(source: Path, real: Path | None) -> Path:
    if real is not None:
        if not real.expanduser().is_dir():
            raise DataError(f"--real {real} is no folder: give one with pictures of the target.")
        return real.expanduser()
    beside = folders_beside(source.resolve()).reals
    if beside is None:
        raise DataError(
            f"--fid and --kid compare with real pictures, and there is no folder of them beside "
            f"{source}: name it with --real DIR."
        )
    return beside
