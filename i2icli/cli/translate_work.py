"""What `i2i translate` does with one process's share of the pictures or tar shards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from i2icli.cli.mistyped import quoted
from i2icli.cli.progress import MESSAGES, counting
from i2icli.cli.show import make_folder, show_document
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.mark import refuse_foreign
from i2icli.system.manifest import NAME as MANIFEST
from i2icli.system.manifest import Manifest
from i2icli.system.shares import Process
from i2icli.translation.folder import FolderOptions, FolderReport, translate_jobs
from i2icli.translation.sources import Source
from i2icli.translation.tar_shards import ShardOptions, translate_shards
from i2icli.translation.targets import Job, Plan, plan_outputs
from i2icli.translation.translator import Translator
from i2icli.viz.grid import write_sheets

_COUNTS = ("found", "written", "skipped", "failed")


@dataclass(frozen=True)
class Wanted:
    """What is read, and where it goes."""

    sources: Sequence[Source]
    out: Path
    is_file: bool
    format: str
    suffix: str
    shards: Sequence[Path] | None = None


@dataclass(frozen=True)
class Task:
    """What translates, what is made of each picture, and which share is this process's."""

    translator: Translator
    options: FolderOptions
    styles: tuple[str, ...]
    wants_masks: bool
    wants_grids: bool
    process: Process
    may_replace: bool  # files that i2i did not make


def translate_all(task: Task, wanted: Wanted, *, as_json: bool) -> None:
    """Translate this process's share and print the result; exit 3 where a picture failed."""
    process = task.process
    work = _translate_files if wanted.shards is None else _translate_shards
    document = work(task, wanted)
    if as_json:
        show_document(document)
    who = f"process {process.rank}: " if process.count > 1 else ""
    _say_counts(document, who=who)
    failed = document["failed"]
    if process.is_joined:
        # A launcher ends the others as soon as one fails: the first does so for all, at the end.
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


def _translate_files(task: Task, wanted: Wanted) -> dict[str, Any]:
    plan = plan_outputs(
        wanted.sources,
        wanted.out,
        is_file=wanted.is_file,
        format=wanted.format,
        suffix=wanted.suffix,
        styles=task.styles,
        masks=task.translator.mask_names if task.wants_masks else (),
        with_grids=task.wants_grids,
    )
    process = task.process
    own = replace(plan, jobs=tuple(process.share(plan.jobs)))
    is_shared = max(process.count, process.executor.count) > 1 and not wanted.is_file
    listed = [wanted.out / MANIFEST] if is_shared else []
    _spare(task, own if process.count > 1 and not process.is_joined else plan, listed)
    make_folder(wanted.out.parent if wanted.is_file else wanted.out)
    manifest = None
    if is_shared:
        plan = own
        manifest = Manifest(wanted.out, key="path", rank=process.rank, count=process.count)
    report, grids = _run(task, plan, manifest)
    if manifest is not None:
        manifest.merge()
    return _as_document(report, grids)


def _spare(task: Task, plan: Plan, others: Sequence[Path]) -> None:
    """Refuse to replace what i2i did not make, before any process writes."""
    skips = task.options.skip_existing
    due = (path for job in plan.jobs if not (skips and job.is_there()) for path in job.files)
    if not task.may_replace:
        refuse_foreign([*due, *plan.grids, *others], hint=_hint_at_pattern(plan))
    task.process.wait()


def _hint_at_pattern(plan: Plan) -> str:
    # `translate RUN *.png` where the shell finds two files.
    if len(plan.jobs) != 1 or len(plan.jobs[0].files) != 1:
        return ""
    job = plan.jobs[0]
    files = [str(job.source), str(job.target)]
    if Path(files[0]).parent != Path(files[1]).parent or files[0] not in sys.argv:
        return ""
    return f"If both were one pattern, quote it, and name a folder: `{quoted(files, out='out')}`."


def _translate_shards(task: Task, wanted: Wanted) -> dict[str, Any]:
    assert wanted.shards is not None, "asked for with shards only"
    if task.wants_grids:
        raise ConfigError("contact sheets are of files: leave --grid out.")
    manifest = Manifest(wanted.out, key="shard", rank=task.process.rank, count=task.process.count)
    own = task.process.share(wanted.shards)
    if not task.may_replace:
        known = manifest.read()
        shards = wanted.shards if task.process.is_joined else own
        targets = [wanted.out / shard.name for shard in shards if shard.name not in known]
        refuse_foreign([*targets, manifest.path])
    task.process.wait()
    make_folder(wanted.out)
    options = ShardOptions(task.options, wanted.format, task.styles, task.wants_masks)
    with counting("translating shards", len(own)) as advance:
        report = translate_shards(
            task.translator,
            own,
            wanted.out,
            options,
            manifest,
            on_shard=lambda _shard: advance(),
            on_failure=_show_failure,
            executor=task.process.executor,
        )
    manifest.merge()
    return {
        "found": report.written + report.skipped + len(report.failures),
        "written": report.written,
        "skipped": report.skipped,
        "failed": len(report.failures),
        "failures": [{"path": f.name, "error": f.error} for f in report.failures],
        "shards": report.shards,
        "skipped_shards": report.skipped_shards,
        "manifest": str(manifest.path),
        "seconds": round(report.seconds, 3),
        "images_per_s": round(report.images_per_s, 3),
    }


def _run(task: Task, plan: Plan, manifest: Manifest | None) -> tuple[FolderReport, list[Path]]:
    with counting("translating", len(plan.jobs)) as advance:

        def finished(job: Job, error: str | None) -> None:
            advance()
            if error is not None:
                _show_failure(str(job.source), error)
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
            is_marked=task.options.is_marked,
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


def _show_failure(name: str, error: str) -> None:
    MESSAGES.show(f"failed: {error if name in error else f'{name}: {error}'}")
