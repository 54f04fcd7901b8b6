"""Inception features of sets of pictures: clean-fid's network and resizing, kept on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from i2icli.errors import DataError, I2IError
from i2icli.metrics.cache import KeptFeatures, Places, Rows, features_folder, features_key
from i2icli.metrics.feature_pass import FeaturePass, Progress, Put
from i2icli.metrics.inception import FEATURES, FeatureMode, build_network, find_inception
from i2icli.metrics.picture_sets import AnyPicture, broken_pictures, describe_set
from i2icli.system.shares import ALONE, Shard


def extract_features(
    pictures: Sequence[AnyPicture],
    *,
    mode: FeatureMode,
    device: torch.device,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    work: Path | None = None,
    content: str | None = None,
    shard: Shard = ALONE,
) -> Rows:
    """Return the Inception features of pictures, kept by content under `I2I_HOME/features`.

    What is computed is on disk after each batch, and a later call with the same pictures, in as
    many processes as it likes, goes on from there.

    Args:
        pictures: files or pictures inside shards, at least one.
        mode: clean-fid's way of resizing.
        device: where the network computes.
        batch_size: pictures through the network at once; None: as the device likes.
        workers: threads that decode; None: one a CPU core.
        progress: called with the pictures done and their total; not when they were kept.
        cache: whether to look for kept features and to keep new ones.
        work: keep them in this folder, which all processes see, in place of `I2I_HOME/features`.
        content: digest of the pictures, where it is known; see `picture_sets.SetFacts`.
        shard: this process' part in the work; each computes its own share, all get all.

    Returns:
        (N, 2048) float32, in the order of `pictures`; as they lie on disk where they are kept, and
        then none in a process that does not see them there, which the first always does.

    Raises:
        DataError: naming every picture that cannot be read; or if some changed meanwhile.
        WeightsError: the weights are not here.
        I2IError: memory or disk does not suffice.
    """
    weights = find_inception(mode)
    kept = None
    if cache or work is not None:
        content = content or shard.agree(describe_set(pictures).digest if shard.is_first else "")
        kept = find_kept(content, len(pictures), mode=mode, device=device, work=work)
        if (rows := _load(kept, shard)) is not None:
            return rows
    network = build_network(mode, device, weights)
    passing = FeaturePass(mode, device, network, batch_size, progress)
    task = _Task(pictures, workers or min(16, os.cpu_count() or 1), passing, shard)
    if kept is not None and _can_keep_parts(kept, work, shard):
        return _extract_in_parts(task, kept, content)
    rows = _extract_in_memory(task)
    # A picture that changed meanwhile must not be kept under its old content.
    if kept is not None and shard.is_first and describe_set(pictures).digest == content:
        kept.store(rows)
    return rows


def find_kept(
    content: str, count: int, *, mode: FeatureMode, device: torch.device, work: Path | None = None
) -> KeptFeatures:
    """Return where `extract_features` keeps the features of a set.

    Args:
        content: digest of the pictures.
        count: how many they are.
        mode: as there.
        device: as there.
        work: as there.

    Raises:
        WeightsError: the weights are not here.
    """
    weights = find_inception(mode)
    key = features_key(content, mode=mode, weights=weights.sha256, device=device.type)
    return KeptFeatures(work or features_folder(), key, count)


@dataclass(frozen=True)
class _Task:
    """Pictures to extract from, and who does what."""

    pictures: Sequence[AnyPicture]
    workers: int
    passing: FeaturePass
    shard: Shard


def _load(kept: KeptFeatures, shard: Shard) -> Rows | None:
    """Return features that the first process finds; none in one that does not see them."""
    found = kept.load() if shard.is_first else None
    if not shard.agree(found is not None):
        return None
    rows = found if found is not None else kept.load()
    return np.zeros((0, FEATURES), dtype=np.float32) if rows is None else rows


def _can_keep_parts(kept: KeptFeatures, work: Path | None, shard: Shard) -> bool:
    """Say whether all processes can put rows into one folder.

    Raises:
        I2IError: not into the one that the user named.
    """
    mark = shard.agree(kept.open_parts() if shard.is_first else None)
    is_seen = mark is not None and all(shard.collect(kept.sees(mark)))
    if is_seen or work is None:
        return is_seen
    raise I2IError(
        f"features cannot be kept in {work}: it cannot be written, has no room, or not every "
        "process sees it. Name another folder with --work."
    )


def _extract_in_parts(task: _Task, kept: KeptFeatures, content: str | None) -> Rows:
    """Compute what is not on disk yet, append it there, and return all."""
    shard = task.shard
    missing = shard.agree(kept.missing() if shard.is_first else None)
    assert missing is not None, "the first process always says"
    part = kept.part(shard.rank, shard.count)
    try:
        _extract(task, missing, part.append)
        if shard.is_first:
            _finish(task.pictures, kept, content)
    except DataError:
        if shard.is_first:
            kept.remove()  # once it is repaired, the content is another
        raise
    except OSError as fault:
        raise I2IError(
            f"features cannot be written ({fault.strerror or fault}): make room, or name another "
            "folder with --work. The same command goes on from there."
        ) from fault
    rows = _load(kept, shard)
    if rows is None:
        raise I2IError("the features that were just written are gone: run the command again.")
    return rows


def _finish(pictures: Sequence[AnyPicture], kept: KeptFeatures, content: str | None) -> None:
    if describe_set(pictures).digest != content:
        raise DataError("some pictures changed while they were looked at: measure again.")
    kept.assemble()


def _extract_in_memory(task: _Task) -> Rows:
    shard, count = task.shard, len(task.pictures)
    rows = np.zeros((len(shard.share(range(count))), FEATURES), dtype=np.float32)

    def put(places: list[int], found: Rows) -> None:
        rows[[place // shard.count for place in places]] = found

    _extract(task, np.arange(count), put)
    return shard.gather(rows, count)


def _extract(task: _Task, places: Places, put: Put) -> None:
    """Compute this process' share of the pictures at `places`.

    Raises:
        DataError: naming every picture that cannot be read, in all processes.
    """
    shard, total = task.shard, len(task.pictures)
    own = [int(place) for place in shard.share(places.tolist())]
    already = total - len(places) if shard.count == 1 else 0
    faults = task.passing.run(task.pictures, own, put, workers=task.workers, already=already)
    texts = [text for part in shard.collect([str(fault) for fault in faults]) for text in part]
    if texts:
        raise broken_pictures([DataError(text) for text in texts], total)
