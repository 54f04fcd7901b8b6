"""Tar shards through a translator: a shard out for each shard in, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import torch

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.methods.shared.base import Translation
from i2icli.pictures.encode import WRITABLE, encode_labels, encode_picture
from i2icli.pictures.images import Picture, read_picture
from i2icli.pictures.tar_shards import Sample, ShardWriter, read_samples
from i2icli.system.manifest import Entry, Manifest
from i2icli.system.processes.work_queue import Emit, Executor, InProcess
from i2icli.translation.pictures import (
    check_direction,
    mask_pixels,
    source_channels,
    to_translated_picture,
)
from i2icli.translation.pipeline import FolderOptions, Pipeline, raise_if_hopeless, words_of
from i2icli.translation.translator import Translator

Files = dict[str, bytes]


@dataclass(frozen=True)
class ShardOptions:
    """The way in which tar shards are translated and written."""

    flow: FolderOptions = field(default_factory=FolderOptions)  # finished shards are always skipped
    format: str = "png"  # "keep", or a suffix without the dot; masks are PNG
    styles: tuple[str, ...] = ()  # names, each with an output of its own; none: one output
    with_masks: bool = False  # also write the method's masks


@dataclass(frozen=True)
class ShardFailure:
    """The samples of a tar shard, one or more, without a translation, and the reason."""

    name: str
    error: str


@dataclass(frozen=True)
class ShardReport:
    """The fate of the samples of a run over tar shards."""

    written: int  # samples that were written now
    skipped: int  # samples of tar shards that were finished before
    failures: tuple[ShardFailure, ...]  # also of shards that were finished before
    shards: int  # how many tar shards were finished now
    skipped_shards: int  # how many were finished before
    seconds: float  # time from the first read to the last write

    @property
    def images_per_s(self) -> float:
        """Samples written a second."""
        return self.written / self.seconds if self.seconds > 0 else 0.0


def translate_shards(
    translator: Translator,
    shards: Sequence[Path],
    out: Path,
    options: ShardOptions,
    manifest: Manifest,
    *,
    on_shard: Callable[[Path], None] = lambda _shard: None,
    on_failure: Callable[[str, str], None] = lambda _name, _error: None,
    executor: Executor | None = None,
) -> ShardReport:
    """Translate each tar shard to one of its name in `out`; what fails stops nothing else.

    A shard that the manifest calls finished, whose source has not changed since and whose result
    is there, is skipped. Files that are no pictures are copied; a sample one of whose pictures
    fails is left out. `on_failure` is told a name and a reason, also of shards that were finished
    before; `executor` does a shard at a time, None: in this process.

    Raises:
        ConfigError: if the translator does not offer the direction, or `out` holds shards that
            were made by other weights or options.
        I2IError: if the disk is full, or memory does not suffice for one picture.
    """
    started = time.perf_counter()
    made_by = fingerprint(translator, options)
    known = manifest.read()
    _check_makers(known, shards, out, made_by)
    check_direction(translator.method, options.flow.direction)
    entries = {shard: known[shard.name] for shard in shards if _is_finished(known, shard, out)}
    for shard, entry in entries.items():
        for failure in entry["failures"]:
            on_failure(failure["name"], failure["error"])
        on_shard(shard)
    due = [shard for shard in shards if shard not in entries]
    work = ShardWork(translator, options, out)
    for number, entry in (executor or InProcess()).run(work, due, lambda event: on_failure(*event)):
        manifest.append({**entry, "made_by": made_by})
        entries[due[number]] = entry
        on_shard(due[number])
    ordered = {shard: entries[shard] for shard in shards}
    return _report(ordered, set(due), time.perf_counter() - started)


def _report(entries: Mapping[Path, Entry], due: Set[Path], seconds: float) -> ShardReport:
    """Return what the entries of all shards come to, those of `due` being made now."""
    failures = [failure for entry in entries.values() for failure in entry["failures"]]
    return ShardReport(
        written=sum(int(entries[shard]["samples"]) for shard in due),
        skipped=sum(int(entry["samples"]) for shard, entry in entries.items() if shard not in due),
        failures=tuple(ShardFailure(failure["name"], failure["error"]) for failure in failures),
        shards=sum("source" in entries[shard] for shard in due),
        skipped_shards=len(entries) - len(due),
        seconds=seconds,
    )


@dataclass(frozen=True)
class ShardWork:
    """Translates shards into a folder, one at a time; failures and warnings are events."""

    translator: Translator
    options: ShardOptions
    out: Path

    def setup(self) -> Callable[[Path, Emit], Entry]:
        """Return what translates a shard and returns its entry of the manifest."""
        return self._translate

    def describe(self, piece: Path) -> str:
        """Return the path of a shard."""
        return str(piece)

    def _translate(self, shard: Path, emit: Emit) -> Entry:
        target = self.out / shard.name
        run = _ShardRun(self.translator, self.options, shard, target, lambda *names: emit(names))
        return run.run()


def fingerprint(translator: Translator, options: ShardOptions) -> str:
    """Return 16 hexadecimal digits that differ for other weights or options."""
    digest = hashlib.sha256()
    for name, tensor in sorted(translator.method.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    flow = options.flow
    styles = None if flow.styles_of is None else flow.styles_of(None).tolist()
    told = (
        type(translator.method).__name__,
        str(translator.precision),
        flow.direction,
        flow.quality,
    )
    tiles = flow.tiles.tiles == "fast"  # the other ways give the same
    chosen = [options.format, options.styles, styles, options.with_masks, tiles]
    scale = translator.scale_for(flow.scale)
    if scale.may_rescale:
        chosen.append(scale.words())
    if not flow.is_marked:  # shards of before there were marks are taken for marked ones
        chosen.append("no mark")
    digest.update(json.dumps([told, chosen]).encode())
    return digest.hexdigest()[:16]


def _check_makers(
    known: Mapping[str, Entry], shards: Sequence[Path], out: Path, made_by: str
) -> None:
    for shard in shards:
        entry = known.get(shard.name)
        if entry and entry.get("made_by") != made_by and (out / shard.name).is_file():
            raise ConfigError(
                f"{out} holds {shard.name}, made by another checkpoint or with other options: "
                f"give another OUT, or delete {out / 'manifest.jsonl'} to make all anew."
            )


def _is_finished(known: Mapping[str, Entry], shard: Path, out: Path) -> bool:
    try:
        entry, result = known[shard.name], (out / shard.name).stat()
        return bool(_source_of(shard) == entry["source"] and result.st_size == entry["bytes"])
    except (OSError, KeyError):
        return False


def _source_of(shard: Path) -> dict[str, int]:
    status = shard.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


@dataclass
class _Sample:
    source: Sample
    names: dict[str, tuple[str, ...]]  # for each picture its outputs without suffix, one a style
    left: int
    made: Files = field(default_factory=dict)
    has_failed: bool = False


@dataclass(frozen=True)
class _Item:
    sample: _Sample
    name: str


class _ShardRun:
    # All but decoding and encoding happens in the calling thread.
    def __init__(
        self,
        translator: Translator,
        options: ShardOptions,
        shard: Path,
        target: Path,
        on_failure: Callable[[str, str], None],
    ) -> None:
        self.failures: list[ShardFailure] = []
        self._method = translator.method
        self._options = options
        self._shard = shard
        self._target = target
        self._on_failure = on_failure
        self._channels = source_channels(translator.method, options.flow.direction)
        self._masks = translator.mask_names if options.with_masks else ()
        self._pipeline = Pipeline(translator, options.flow, self)
        self._count = 0

    def run(self) -> Entry:
        # Without a source where the tar shard cannot be read.
        started = time.perf_counter()
        try:
            source = _source_of(self._shard)
            with ShardWriter(self._target) as self._writer:
                self._pipeline.run(self._items())
                result = self._writer.finish()
        except (DataError, OSError) as fault:
            raise_if_hopeless(fault, self._target)
            self._note("", words_of(fault))
            return {"shard": self._shard.name, "samples": 0, "failures": self._failed()}
        return {
            "shard": self._shard.name,
            "samples": self._count,
            "failures": self._failed(),
            "bytes": result.size,
            "sha256": result.sha256,
            "source": source,
            "seconds": round(time.perf_counter() - started, 3),
        }

    def _items(self) -> Iterator[_Item]:
        options = self._options
        for source in read_samples(self._shard, self._note):
            pictures = source.pictures
            if not pictures:
                self._note(source.key, "the sample holds no picture")
                continue
            names = _output_names(source, options.styles, self._masks, options.format)
            sample = _Sample(source, names, left=len(pictures) * max(1, len(options.styles)))
            yield from (_Item(sample, name) for name in pictures)

    def outputs(self, item: _Item) -> int:  # noqa: ARG002 - of one picture as of all
        return max(1, len(self._options.styles))

    def read(self, item: _Item) -> Picture:
        content = item.sample.source.files[item.name]
        path = self._shard / item.name  # a name for messages; nothing is there
        return read_picture(path, channels=self._channels, content=content)

    def write(self, item: _Item, picture: Picture, style: int, translation: Translation) -> Files:
        made = to_translated_picture(translation, picture)
        flow = self._options.flow
        stem = item.sample.names[item.name][style]
        if made.labels is None:
            suffix = _suffix(item.name, self._options.format)
            content = encode_picture(
                made.pixels,
                suffix=suffix,
                alpha=picture.alpha,
                quality=flow.quality,
                is_marked=flow.is_marked,
            )
        else:
            suffix = ".png"
            colours = self._method.task.colours
            name = self._shard / item.name
            content = encode_labels(made.labels, colours, name=name, is_marked=flow.is_marked)
        files = {f"{stem}{suffix}": content}
        for mask in self._masks:
            pixels = mask_pixels(made.masks[mask])
            files[f"{stem}.{mask}.png"] = encode_picture(
                pixels, suffix=".png", is_marked=flow.is_marked
            )
        return files

    def written(self, item: _Item, result: Files) -> None:
        sample = item.sample
        sample.made |= result
        sample.left -= 1
        if sample.left or sample.has_failed:
            return
        pictures = set(sample.names)
        others = {n: c for n, c in sample.source.files.items() if n not in pictures}
        self._writer.add(sample.made | others)
        self._count += 1

    def failed(self, item: _Item, fault: I2IError | OSError) -> None:
        raise_if_hopeless(fault, self._target)
        if not item.sample.has_failed:
            item.sample.has_failed = True
            self._note(item.name, words_of(fault))

    def _failed(self) -> list[dict[str, str]]:
        return [{"name": failure.name, "error": failure.error} for failure in self.failures]

    def _note(self, name: str, error: str) -> None:
        where = f"{self._shard.name}/{name}" if name else self._shard.name
        self.failures.append(ShardFailure(where, error))
        self._on_failure(where, error)


def _suffix(name: str, format: str) -> str:
    own = os.path.splitext(name)[1].lower()
    if format == "keep":
        return own if own in WRITABLE else ".png"
    return f".{format}"


def _output_names(
    sample: Sample, styles: Sequence[str], masks: Sequence[str], format: str
) -> dict[str, tuple[str, ...]]:
    # Styles and masks follow behind a dot (`0001.style1.png`). Where two outputs would have one
    # name, those of the later picture keep its own suffix (`0001.jpg.png`).
    taken: set[str] = set()
    names = {}
    for picture in sample.pictures:
        stem, own = os.path.splitext(picture)
        base, number = stem, 1
        while True:
            made = [f"{base}.{style}" for style in styles] or [base]
            claimed = {f"{name}{_suffix(picture, format)}" for name in made}
            claimed |= {f"{name}.{mask}.png" for name in made for mask in masks}
            if not claimed & taken:
                break
            base = f"{stem}{own}" if number == 1 else f"{stem}{own}-{number}"
            number += 1
        taken |= claimed
        names[picture] = tuple(made)
    return names
