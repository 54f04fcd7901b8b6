"""`i2i translate`: pictures through a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from i2icli.cli.options import AsJson, Device, Processes
from i2icli.cli.progress import MESSAGES, counting
from i2icli.cli.show import show_document
from i2icli.cli.translate_options import (
    BatchSize,
    Checkpoint,
    Compile,
    Direction,
    Format,
    Grid,
    In,
    Masks,
    Memory,
    Out,
    Precision,
    Quality,
    Seed,
    SkipExisting,
    StyleFrom,
    Styles,
    Suffix,
    TilesChoice,
)
from i2icli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from i2icli.system.manifest import Manifest
    from i2icli.system.shares import Process
    from i2icli.translation.folder import FolderOptions, FolderReport
    from i2icli.translation.sources import Source
    from i2icli.translation.targets import Job, Plan
    from i2icli.translation.translator import Translator

_COUNTS = ("found", "written", "skipped", "failed")
_LOSSLESS = ("png", "bmp", "tif", "tiff")


def translate(
    checkpoint: Checkpoint,
    source: In,
    out: Out,
    direction: Direction = "a2b",
    device: Device = "auto",
    precision: Precision = "auto",
    batch: BatchSize = "auto",
    format_: Format = None,
    quality: Quality = None,
    suffix: Suffix = "",
    grid: Grid = False,
    styles: Styles = None,
    seed: Seed = None,
    style_from: StyleFrom = None,
    masks: Masks = False,
    skip_existing: SkipExisting = False,
    memory: Memory = None,
    tiles: TilesChoice = "auto",
    compile_: Compile = None,
    nproc: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Translate pictures of any size with a trained checkpoint."""
    from i2icli.translation.folder import FolderOptions
    from i2icli.translation.large import parse_tiles
    from i2icli.translation.styles import SameStyles

    _check_styles(styles, seed, style_from)
    with _sharing(nproc, source, wants_grids=grid) as process:
        wanted = _find(source, out, format_=format_, suffix=suffix, quality=quality)
        batch_size = _parse_batch(batch)
        large = parse_tiles(tiles, memory)
        translator = _load(checkpoint, device, precision, compile_, is_bounded=memory is not None)
        _say_choices(translator, process)
        _check_made(translator, wanted, wants_masks=masks)
        names, codes = _choose_styles(translator, styles, seed, style_from, direction=direction)
        options = FolderOptions(
            direction=direction,
            batch_size=batch_size,
            quality=quality or 95,
            skip_existing=skip_existing,
            styles_of=None if codes is None else SameStyles(codes),
            tiles=large,
        )
        task = _Task(translator, options, names, masks, grid, process)
        made = _translate_files(task, wanted) if wanted.shards is None else _shards(task, wanted)
        _finish(made, process, as_json=as_json)


def _load(
    checkpoint: Path, device: str, precision: str, compile_: bool | None, *, is_bounded: bool
) -> Translator:
    """Load the checkpoint, in a process whose memory is ours to manage."""
    from i2icli.system.allocator import claim_process, limit_kernels
    from i2icli.system.shares import device_of_rank
    from i2icli.translation.translator import load_translator

    claim_process()
    limit_kernels()
    return load_translator(
        checkpoint,
        device=device_of_rank(device),
        precision=precision,
        compile=compile_,
        # A bound holds only if what is freed really goes back.
        reuse_memory=False if is_bounded else None,
    )


def _say_choices(translator: Translator, process: Process) -> None:
    """Say once how it computes."""
    if process.rank == 0 and translator.choices is not None:
        typer.echo(f"translating on {translator.choices.describe()}", err=True)


def _finish(document: dict[str, Any], process: Process, *, as_json: bool) -> None:
    """Print the result; exit 3 where a picture has no translation.

    Of processes that reach each other the first alone does so, for all, when all are done: a
    launcher ends the others as soon as one fails.
    """
    if as_json:
        show_document(document)
    who = f"process {process.rank}: " if process.count > 1 else ""
    _say_counts(document, who=who)
    failed = document["failed"]
    if process.is_joined:
        documents = process.collect({name: document[name] for name in _COUNTS})
        total = {name: sum(one[name] for one in documents) for name in _COUNTS}
        failed = total["failed"] if process.is_first else 0
        if process.is_first:
            _say_counts(total, who="all: ")
    if failed:
        raise typer.Exit(DataError.exit_code)


def _say_counts(document: dict[str, Any], *, who: str) -> None:
    counts = ", ".join(f"{name} {document[name]}" for name in _COUNTS)
    typer.echo(f"{who}{counts}", err=True)


@contextmanager
def _sharing(count: int, source: str, *, wants_grids: bool) -> Iterator[Process]:
    """Yield this process as one of torchrun's, or with `count` of its own."""
    from i2icli.system.processes.work_queue import executor
    from i2icli.system.shares import joined_processes

    with executor(count) as own, joined_processes(own) as process:
        if process.count > 1 and source == "-":
            raise ConfigError(
                "several processes cannot read one standard input: write the list to a .txt file."
            )
        if process.count > 1 and wants_grids:
            raise ConfigError("contact sheets need all pictures in one process: leave --grid out.")
        yield process


@dataclass(frozen=True)
class _Task:
    """What translates, what is made of each picture, and which share is this process's."""

    translator: Translator
    options: FolderOptions
    styles: tuple[str, ...]
    wants_masks: bool
    wants_grids: bool
    process: Process


def _translate_files(task: _Task, wanted: _Wanted) -> dict[str, Any]:
    masks = task.translator.mask_names if task.wants_masks else ()
    plan = _plan(wanted, styles=task.styles, masks=masks, with_grids=task.wants_grids)
    manifest = None
    process = task.process
    if max(process.count, process.executor.count) > 1 and not wanted.is_file:
        from i2icli.system.manifest import Manifest

        plan = replace(plan, jobs=tuple(process.share(plan.jobs)))
        manifest = Manifest(wanted.out, key="path", rank=process.rank, count=process.count)
    report, grids = _run(task, plan, manifest)
    if manifest is not None:
        manifest.merge()
    return _as_document(report, grids)


def _shards(task: _Task, wanted: _Wanted) -> dict[str, Any]:
    from i2icli.cli.translate_shards import translate_to_shards
    from i2icli.translation.tar_shards import ShardOptions

    assert wanted.shards is not None, "asked for with shards only"
    if task.wants_grids:
        raise ConfigError("contact sheets are of files: leave --grid out.")
    _make_folder(wanted.out)
    options = ShardOptions(task.options, wanted.format, task.styles, task.wants_masks)
    return translate_to_shards(task.translator, wanted.shards, wanted.out, options, task.process)


@dataclass(frozen=True)
class _Wanted:
    """What is read, and where it goes."""

    sources: Sequence[Source]
    out: Path
    is_file: bool
    format: str
    suffix: str
    shards: Sequence[Path] | None = None


def _find(
    named: str, out: Path, *, format_: str | None, suffix: str, quality: int | None
) -> _Wanted:
    """Find what is read; refuse what contradicts itself."""
    from i2icli.pictures.tar_sets import find_shards
    from i2icli.translation.sources import find_sources, is_list, is_picture

    path = Path(named).expanduser()
    shards = find_shards(named, out=out)
    is_one = named != "-" and shards is None and path.is_file() and not is_list(path)
    is_file = is_one and is_picture(out) and not out.is_dir()
    if is_file and (suffix or (format_ and f".{format_}" != out.suffix.lower())):
        raise ConfigError(
            f"OUT names the file {out}, which leaves nothing to --format and --suffix: "
            "leave them out, or give a folder."
        )
    format_ = out.suffix[1:].lower() if is_file else format_ or "png"
    if quality is not None and format_ in _LOSSLESS:
        raise ConfigError(
            f"--quality {quality} means nothing to {format_}: use it with jpg or webp."
        )
    if path.is_dir() and out.is_dir() and out.samefile(path):
        raise ConfigError(f"OUT is IN ({out}): give another folder, such as {out / 'translated'}.")
    lines = sys.stdin.read().splitlines() if named == "-" else ()
    if shards is not None:
        if suffix:
            raise ConfigError("samples keep their keys: leave --suffix out.")
        return _Wanted((), out, is_file, format_, suffix, shards)
    sources = find_sources(named, lines=lines, out=None if is_file else out)
    return _Wanted(sources, out, is_file, format_, suffix)


def _plan(
    wanted: _Wanted, *, styles: Sequence[str], masks: Sequence[str], with_grids: bool
) -> Plan:
    """Decide what is written, and make its folder."""
    from i2icli.translation.targets import plan_outputs

    plan = plan_outputs(
        wanted.sources,
        wanted.out,
        is_file=wanted.is_file,
        format=wanted.format,
        suffix=wanted.suffix,
        styles=styles,
        masks=masks,
        with_grids=with_grids,
    )
    _make_folder(wanted.out.parent if wanted.is_file else wanted.out)
    return plan


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"the folder {folder} cannot be made: {fault.strerror}.") from None


def _check_styles(count: int | None, seed: int | None, pictures: list[str] | None) -> None:
    """Refuse options of styles that contradict each other."""
    if count is not None and pictures:
        raise ConfigError(
            "--styles draws styles at random and --style-from takes them from pictures: "
            "leave one of them out."
        )
    if seed is not None and count is None:
        raise ConfigError(f"--seed {seed} is of random styles: add --styles N.")


def _check_made(translator: Translator, wanted: _Wanted, *, wants_masks: bool) -> None:
    """Refuse to write what the method does not make."""
    if wants_masks and not translator.mask_names:
        raise ConfigError(f"{translator.name} makes no masks: leave --masks out.")
    if translator.segments and wanted.format != "png":
        raise ConfigError(
            f"{translator.name} makes label maps, and these are written as png, which keeps the "
            f"ids: {wanted.format} is not possible."
        )


def _choose_styles(
    translator: Translator,
    count: int | None,
    seed: int | None,
    pictures: list[str] | None,
    *,
    direction: str,
) -> tuple[tuple[str, ...], Tensor | None]:
    """Return the names of the styles and their codes; none for the default style."""
    from i2icli.translation.styles import style_names, styles_of_pictures

    if count is not None:
        return style_names(count), translator.styles(count, seed or 0)
    if pictures:
        return styles_of_pictures(translator.method, pictures, direction)
    return (), None


def _parse_batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--batch {text!r} is no batch size: use auto, 1, 2, ...")
    return int(text)


def _run(task: _Task, plan: Plan, manifest: Manifest | None) -> tuple[FolderReport, list[Path]]:
    """Translate and draw; name on stderr what failed, show progress where that is a terminal."""
    from i2icli.translation.folder import translate_jobs
    from i2icli.viz.grid import write_sheets

    with counting("translating", len(plan.jobs)) as advance:

        def finished(job: Job, error: str | None) -> None:
            advance()
            if error is not None:
                MESSAGES.show(
                    f"failed: {error}"
                    if str(job.source) in error
                    else f"failed: {job.source}: {error}"
                )
            if manifest is not None:
                outputs = [] if error else [str(path) for path in job.targets]
                entry = {"path": job.name, "outputs": outputs, "error": error}
                manifest.append(entry, is_synced=False)

        report = translate_jobs(
            task.translator,
            plan.jobs,
            task.options,
            on_done=finished,
            executor=task.process.executor,
        )
        failed = {failure.path for failure in report.failures}
        shown = [job for job in plan.jobs if job.source not in failed]
        grids = write_sheets(
            plan.grids,
            shown,
            direction=task.options.direction,
            styles=plan.styles,
            masks=plan.masks,
        )
    return report, grids


def _as_document(report: FolderReport, grids: list[Path]) -> dict[str, Any]:
    return {
        "found": report.found,
        "written": len(report.written),
        "skipped": report.skipped,
        "failed": len(report.failures),
        "failures": [{"path": str(f.path), "error": f.error} for f in report.failures],
        "outputs": [entry for job in report.written for entry in _entries(job)],
        "grids": [str(path) for path in grids],
        "seconds": round(report.seconds, 3),
        "images_per_s": round(report.images_per_s, 3),
    }


def _entries(job: Job) -> list[dict[str, Any]]:
    """Return an entry an output, with its masks where there are some."""
    entries: list[dict[str, Any]] = [
        {"path": str(job.source), "output": str(target)} for target in job.targets
    ]
    for entry, masks in zip(entries, job.masks, strict=False):
        entry["masks"] = [str(path) for path in masks]
    return entries
