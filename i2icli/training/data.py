"""The training pictures of a run: resolved, counted, recognised on resume, and their scale."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from i2icli.pictures.listing import evenly_spaced
from i2icli.translation.scale import shown_size

log = logging.getLogger(__package__)


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
    """Return what a run that goes on knows its training pictures by: counts, names, sizes in bytes.

    The pictures may be moved together; their contents are not read. Sizes are left out where one
    is not there. Beside these, for translation, the median of some pictures' shorter sides,
    pixels; nothing where none can be read.
    """
    found: dict[str, Any] = {}
    for domain, paths in (("a", domains.train_a), ("b", domains.train_b)):
        named = sorted(zip(_names_of(paths), paths, strict=True))
        # File names may hold bytes that are not UTF-8.
        names = "\0".join(name for name, _ in named).encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(names).hexdigest() if paths else ""
        found[domain] = {"count": len(paths), "names": digest}
        with suppress(OSError):
            lengths = " ".join(str(os.stat(path).st_size) for _, path in named)
            found[domain]["bytes"] = hashlib.sha256(lengths.encode()).hexdigest()
        if sizes := _some_sizes(paths):
            found[domain]["side"] = median(min(size) for size in sizes)
    return found


def check_same_data(
    saved: Mapping[str, Any], now: Mapping[str, Any], *, where: str, is_moved: bool, again: str
) -> None:
    """Refuse to go on with other pictures than those the run began with.

    Pictures that were edited where they lie are the user's own doing, and a note is logged.

    Args:
        saved: the fingerprint from when the run began.
        now: the one of today.
        where: the folder of the pictures.
        is_moved: it is another one than when the run began.
        again: the command that begins a run with other pictures.

    Raises:
        DataError: saying what changed.
    """
    for domain in ("a", "b"):
        before, after = saved[domain], now[domain]
        if before["count"] != after["count"]:
            change = f"had {before['count']} pictures and now has {after['count']}"
        elif before["names"] != after["names"]:
            change = f"has {after['count']} pictures as before, but under other names"
        # Runs of earlier versions began without the sizes.
        elif before.get("bytes", "") == after.get("bytes", "") or "bytes" not in before:
            continue
        elif is_moved:
            change = f"has {after['count']} pictures of the same names, but of other sizes in bytes"
        else:
            log.warning(
                f"note: pictures of domain {domain.upper()} were edited since this run began "
                f"(in {where}): their names are the same, their sizes in bytes are not"
            )
            continue
        raise DataError(
            f"the training pictures changed since this run began: domain {domain.upper()} {change} "
            f"(in {where}). Put them back, or start a new run from these weights with `{again}`."
        )


def _names_of(paths: Sequence[Path]) -> list[str]:
    """Return the paths as texts below the deepest folder that holds them all."""
    texts = [str(path) for path in paths]
    base = os.path.commonpath({os.path.dirname(text) for text in texts}) if texts else ""
    return _names_below(base, texts)


def _names_below(base: str, texts: Sequence[str]) -> list[str]:
    start = os.path.join(base, "") if base else ""
    if all(text.startswith(start) and ".." not in text for text in texts):
        # `os.path.relpath` says the same, but would take seconds for 100,000 names.
        names = [text[len(start) :] for text in texts]
        return names if os.sep == "/" else [name.replace(os.sep, "/") for name in names]
    return [Path(os.path.relpath(text, base or os.curdir)).as_posix() for text in texts]


_LOOKED_AT = 32


def scale_note(data: DataConfig, pictures: Sequence[Path]) -> str | None:
    """Return a sentence where training sees pictures much larger or smaller than they are.

    Then `i2i translate` does too, unless it is told not to. Some of the training pictures are
    looked at.
    """
    sizes = _some_sizes(pictures)
    for is_decaying in (False, True):
        shown = shown_size(data, is_decaying=is_decaying)
        if shown is None or not sizes:
            return None
        side = median(shown.measure(size) for size in sizes)
        if shown.differs_by(side) > shown.tolerated:
            when = " while the learning rate decays" if is_decaying else ""
            return (
                f"training shows pictures at {shown.pixels / side:.2g} of their size "
                f"({shown.pixels:.0f} of {side:.0f} pixels){when}. `i2i translate`, samples and "
                "measurements work at that size too, and bring results back to the picture's own: "
                "for finer changes set data.resize to the pictures' size (and, for crops much "
                "smaller than that, data.jitter_in_decay=true)."
            )
    return None


def _some_sizes(pictures: Sequence[Path]) -> list[tuple[int, int]]:
    """Return height and width of some of the pictures, those that can be read."""
    sizes = []
    for path in evenly_spaced(pictures, count=_LOOKED_AT):
        with suppress(DataError):
            width, height = read_size(path)
            sizes.append((height, width))
    return sizes
