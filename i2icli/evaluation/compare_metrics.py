"""Metrics of `i2i compare`: all pictures of a folder through each checkpoint, then measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from i2icli.data.held_out import folders_beside
from i2icli.errors import ConfigError, DataError
from i2icli.evaluation.compare import Measure
from i2icli.evaluation.translated import translate_plan
from i2icli.metrics.choose import Settings, Subject, choose_metrics, measure_all
from i2icli.metrics.realism import Reading
from i2icli.metrics.results import Measurement
from i2icli.translation.folder import FolderOptions
from i2icli.translation.sources import find_sources
from i2icli.translation.targets import plan_outputs
from i2icli.translation.translator import Translator


def plan_measuring(
    wanted: Sequence[str], source: Path, *, real: Path | None, out: Path, direction: str
) -> Measure | None:
    """Return what measures a checkpoint; None where nothing is wanted.

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
        _translate_all(translator, source, fakes, direction=direction, skipped=out)
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


def _translate_all(
    translator: Translator, source: Path, fakes: Path, *, direction: str, skipped: Path
) -> None:
    """Translate the folder; a picture that fails would make the numbers unlike, so it is fatal."""
    fakes.mkdir(parents=True, exist_ok=True)
    plan = plan_outputs(find_sources(str(source), out=skipped), fakes)
    wanted = {job.target for job in plan.jobs}
    if left := [path for path in sorted(fakes.rglob("*.png")) if path not in wanted]:
        raise ConfigError(
            f"{fakes} holds {left[0].name}, which is no translation of {source}: "
            "choose another --out."
        )
    translate_plan(translator, plan, FolderOptions(direction=direction))
