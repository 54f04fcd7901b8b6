"""The caches that a run takes its training pictures from, where there are any that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from i2icli.config.sections import DataConfig
from i2icli.data.folders import Domains
from i2icli.data.pixel_cache import FOLDER, FirstStep, PixelCache, UnusableCacheError
from i2icli.data.transforms import CropPlan, plan_crop


def crop_plans(config: DataConfig) -> list[CropPlan]:
    """Return the plans of a run: with jitter, and without where its decay half has none."""
    return [plan_crop(config, jitter=jitter) for jitter in _jitters(config)]


def channels_of(side: str, config: DataConfig) -> int:
    """Return the channels of domain "a" or "b"."""
    return config.channels_a if side == "a" else config.channels_b


def training_folder(side: str, config: DataConfig) -> str:
    """Return the folder of domain "a" or "b", which `data.direction` may swap."""
    return "trainA" if (side == "a") == (config.direction == "a2b") else "trainB"


def open_kept(
    domains: Domains, config: DataConfig, files: dict[str, Sequence[str]]
) -> tuple[dict[tuple[str, bool], PixelCache], tuple[str, ...]]:
    """Open the caches of a run's root that fit its configuration.

    Returns:
        The caches by domain and by whether crops have jitter, and sentences for the user. What
        is missing is read from files.
    """
    root = domains.root
    if root is None or not (root / FOLDER).is_dir():
        return {}, ()
    caches: dict[tuple[str, bool], PixelCache] = {}
    reasons: dict[str, None] = {}
    for side, names in files.items():
        pictures = root / training_folder(side, config)
        opened: dict[FirstStep, PixelCache] = {}
        for jitter in _jitters(config):
            step = FirstStep.of(plan_crop(config, jitter=jitter), channels_of(side, config))
            if step is None:
                continue
            try:
                if step not in opened:
                    opened[step] = PixelCache(step.folder(pictures), names, pictures, step)
                caches[side, jitter] = opened[step]
            except UnusableCacheError as fault:
                reasons[str(fault)] = None
    return caches, tuple(_notes(root, caches, list(reasons), files))


def _jitters(config: DataConfig) -> list[bool]:
    return [True] if config.jitter_in_decay else [True, False]


def _notes(
    root: Path,
    caches: dict[tuple[str, bool], PixelCache],
    reasons: list[str],
    files: dict[str, Sequence[str]],
) -> list[str]:
    notes = []
    again = "`i2i data cache` with the run's preset and settings makes it"
    if caches:
        notes.append(f"training pictures come from the cache in {root / FOLDER}")
    if reasons:
        notes.append(
            f"the cache in {root / FOLDER} does not have all that this run needs: "
            f"{'; '.join(reasons)}. Those pictures are read from their files; {again}"
        )
    for (side, _), cache in {id(cache): (key, cache) for key, cache in caches.items()}.values():
        missing = cache.missing()
        changed, looked_at = cache.changed(files[side])
        if missing:
            notes.append(f"{missing} pictures are not in {cache.folder}: read from files; {again}")
        if changed:
            notes.append(
                f"{changed} of {looked_at} pictures changed since {cache.folder} was made and are "
                f"read from their files; {again} anew"
            )
    return notes
