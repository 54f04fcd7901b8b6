"""Metrics of `i2i compare`: all pictures of a folder through each checkpoint, then measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from i2icli.errors import ConfigError, DataError
from i2icli.evaluation.compare import Measure
from i2icli.metrics.perceptual import load_lpips, lpips_content
from i2icli.metrics.realism import Reading, measure_distances
from i2icli.metrics.results import Measurement
from i2icli.pretrained.weights import find_weights
from i2icli.translation.folder import FolderOptions, translate_jobs
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
    distances = [name for name in wanted if name in ("fid", "kid")]
    against = _find_real(source, real) if distances else None
    # Asked for before the first translation, so that nobody waits for a refusal.
    for name in ["inception"] * bool(distances) + ["alexnet"] * ("lpips" in wanted):
        find_weights(name)

    def measure(name: str, translator: Translator) -> list[Measurement]:
        fakes = out / name.replace("/", "-")
        _translate_all(translator, source, fakes, direction=direction, skipped=out)
        found: list[Measurement] = []
        if against is not None:
            reading = Reading(device=translator.device)
            found += measure_distances(against, fakes, distances, reading).values()
        if "lpips" in wanted:
            found.append(_content(source, fakes, device=translator.device))
        return found

    return measure


def _find_real(source: Path, real: Path | None) -> Path:
    if real is not None:
        if not real.expanduser().is_dir():
            raise DataError(f"--real {real} is no folder: give one with pictures of the target.")
        return real.expanduser()
    name = source.resolve().name
    other = {"A": "B", "B": "A"}.get(name[-1:])
    beside = source.resolve().with_name(name[:-1] + other) if other else None
    if beside is None or not beside.is_dir():
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
    report = translate_jobs(translator, plan.jobs, FolderOptions(direction=direction))
    if report.failures:
        first = report.failures[0]
        raise DataError(
            f"{len(report.failures)} of {report.found} pictures in {source} were not translated, "
            f"the first of them {first.path} ({first.error}): mend or remove them, so that all "
            "checkpoints are measured on the same pictures."
        )


def _content(source: Path, fakes: Path, *, device: torch.device) -> Measurement:
    return lpips_content(source, fakes, lpips=load_lpips("alex", device=device))
