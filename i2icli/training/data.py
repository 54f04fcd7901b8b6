"""The training pictures of a run: resolved, counted, recognised on resume, and their scale."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from i2icli.config.document import config_document
from i2icli.config.sections import DataConfig, data_at
from i2icli.data.folders import LAYOUT, Domains, find_domains
from i2icli.data.labelled import resolve_labels
from i2icli.errors import ConfigError, DataError
from i2icli.methods import method_of
from i2icli.methods.shared.configure import AnyRunConfig, restore_config
from i2icli.pictures.images import read_size


def resolve_data(config: AnyRunConfig) -> tuple[AnyRunConfig, bool]:
    """Return the configuration with absolute folders, and whether they are the demo set's.

    Without any folder, the demo set is taken; it is made on first use. Of labelled data the
    classes are counted, and a palette's file replaced by its colours.

    Raises:
        ConfigError: for a method that needs labelled data and has none, or a palette that is
            not there.
        DataError: for label maps that are missing or cannot be read.
    """
    kind = method_of(config).data
    document = config_document(config)
    data = document["data"]
    is_demo = config.data.root is None and config.data.domain_a is None
    if is_demo and kind == "labelled":
        raise ConfigError(
            f"method {config.method.name!r} learns from labelled pictures, which the demo set does "
            f"not have: name a folder of them with --data DIR, {LAYOUT}."
        )
    if is_demo:
        from i2icli.datasets.demo.demo_set import demo_folder

        data |= data_at(demo_folder())
    for key in ("root", "domain_a", "domain_b", "test_a", "test_b"):
        if data.get(key) is not None:
            data[key] = os.path.abspath(Path(data[key]).expanduser())
    if kind == "labelled":
        maps = find_domains(restore_config(document).data, kind).train_b
        document["labels"] = resolve_labels(config.labels, maps).model_dump(mode="json")
    return restore_config(document), is_demo


def fingerprint(domains: Domains) -> dict[str, Any]:
    """Return counts and names of the training pictures, by which a run that goes on knows them.

    The pictures may be moved together; their contents are not read.
    """
    return {
        "a": {"count": len(domains.train_a), "names": _hash_names(domains.train_a)},
        "b": {"count": len(domains.train_b), "names": _hash_names(domains.train_b)},
    }


def check_same_data(saved: Mapping[str, Any], now: Mapping[str, Any], *, where: str) -> None:
    """Refuse to go on with other pictures than those the run began with.

    Raises:
        DataError: saying what changed.
    """
    for domain in ("a", "b"):
        before, after = saved[domain], now[domain]
        if before["count"] != after["count"]:
            change = f"had {before['count']} pictures and now has {after['count']}"
        elif before["names"] != after["names"]:
            change = f"has {after['count']} pictures as before, but under other names"
        else:
            continue
        raise DataError(
            f"the training pictures changed since this run began: domain {domain.upper()} {change} "
            f"(in {where}). Put them back, or start a new run from these weights with "
            "`i2i train --init-from RUN`."
        )


def _hash_names(paths: Sequence[Path]) -> str:
    if not paths:
        return ""
    texts = [str(path) for path in paths]
    base = os.path.commonpath({os.path.dirname(text) for text in texts})
    names = sorted(_names_below(base, texts))
    # File names may hold bytes that are not UTF-8.
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _names_below(base: str, texts: Sequence[str]) -> list[str]:
    start = os.path.join(base, "") if base else ""
    if all(text.startswith(start) and ".." not in text for text in texts):
        # `os.path.relpath` says the same, but would take seconds for 100,000 names.
        names = [text[len(start) :] for text in texts]
        return names if os.sep == "/" else [name.replace(os.sep, "/") for name in names]
    return [Path(os.path.relpath(text, base or os.curdir)).as_posix() for text in texts]


_LOOKED_AT = 16
_TOLERATED = 1.35


def scale_note(data: DataConfig, pictures: Sequence[Path]) -> str | None:
    """Return a sentence where training sees another scale than `i2i translate`; None else.

    Released code squashes test pictures to the training size, so that the scales agree by force;
    translate keeps sizes, and a network trained on small copies sees objects of a size it never
    saw. Some of the training pictures are looked at.
    """
    if data.preprocess in ("crop", "none", "zoom-and-patch"):
        return None
    looked_at = pictures[:: max(1, len(pictures) // _LOOKED_AT)]
    sides = list(_sides(looked_at, shorter=data.preprocess == "scale-shorter-and-crop"))
    if not sides:
        return None
    side = median(sides)
    in_decay = data.resize if data.jitter_in_decay or data.preprocess == "resize" else data.crop
    worst = max(data.resize, in_decay, key=lambda shown: max(shown / side, side / shown))
    # Random scales from half to twice reach so far anyway.
    tolerated = 2.0 if data.preprocess == "random-scale-and-crop" else _TOLERATED
    if max(worst / side, side / worst) <= tolerated:
        return None
    return (
        f"training shows pictures at {worst / side:.2g} of their size ({worst} of {side:g} "
        "pixels), but `i2i translate` keeps sizes: set data.resize to what will be translated "
        "(and, for crops much smaller than that, data.jitter_in_decay=true), or scale those too."
    )


def _sides(pictures: Sequence[Path], *, shorter: bool) -> list[int]:
    sides = []
    for path in pictures:
        try:
            size = read_size(path)
            sides.append(min(size) if shorter else size[0])
        except DataError:
            continue
    return sides
