"""Looks through a data set before hours go into training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from i2icli.config.words import as_plain
from i2icli.data.folders import Domains
from i2icli.datasets.duplicates import Group, find_groups
from i2icli.datasets.findings import Finding, find_differences, find_duplicates, find_oddities
from i2icli.datasets.fingerprints import Print, take_print
from i2icli.system.cores import usable_cores
from i2icli.system.processes.work_queue import Emit, Executor, InProcess, cut, in_order

Progress = Callable[[int, int], None]
_Job = tuple[Path, str]  # a file and its part
Verdict = Literal["ready", "usable", "unusable"]

_SHOWN = 8  # groups of files listed under a finding; --json lists all


@dataclass(frozen=True)
class PartSummary:
    """What the readable pictures of one part are like.

    Attributes:
        pictures: readable ones.
        unreadable: others.
        width, height: median, pixels.
        smallest: the shortest side of all.
        formats: number by format.
        quality: median JPEG quality; None without JPEG files.
        grey: pictures without colour.
    """

    pictures: int
    unreadable: int
    width: int
    height: int
    smallest: int
    formats: Mapping[str, int]
    quality: int | None
    grey: int


@dataclass(frozen=True)
class Report:
    """The findings of a check, the gravest first.

    Attributes:
        verdict: `unusable` with unreadable files or an empty domain, `usable` with warnings.
        sentence: the verdict in words.
        parts: trainA, trainB and, where there, testA and testB.
        findings: all of them.
        corrupt: unreadable files.
    """

    verdict: Verdict
    sentence: str
    parts: Mapping[str, PartSummary]
    findings: tuple[Finding, ...]
    corrupt: tuple[Path, ...]

    as_document = as_plain

    def lines(self) -> list[str]:
        """Return the findings, the verdict last."""
        lines = [
            f"{'':<8}{'pictures':>9}{'unread':>8}{'size':>12}{'quality':>9}{'grey':>6}  formats"
        ]
        for name, part in self.parts.items():
            size = f"{part.width}x{part.height}"
            quality = "-" if part.quality is None else str(part.quality)
            formats = ", ".join(f"{form} {number}" for form, number in part.formats.items())
            lines.append(
                f"{name:<8}{part.pictures:>9}{part.unreadable:>8}{size:>12}{quality:>9}"
                f"{part.grey:>6}  {formats}"
            )
        for finding in self.findings:
            lines += ["", f"{finding.level}: {finding.message}", *_file_lines(finding)]
        return [*lines, "", self.sentence]


def check_domains(
    domains: Domains,
    *,
    crop: int = 256,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Report:
    """Decode every picture of a data set and report what may spoil training.

    Args:
        domains: the pictures.
        crop: side of the training crop, pixels.
        progress: called with the pictures done and their total.
        executor: does the work; None: this process, in a thread a core.
    """
    prints = _take_prints(domains, progress, executor or InProcess())
    return _report(prints, find_groups(prints), crop=crop)


def _take_prints(domains: Domains, progress: Progress | None, executor: Executor) -> list[Print]:
    parts = {
        "trainA": domains.train_a,
        "trainB": domains.train_b,
        "testA": domains.test_a,
        "testB": domains.test_b,
    }
    jobs = [(path, part) for part, paths in parts.items() for path in paths]
    done = 0

    def count(_event: None) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(jobs))

    work = _Printing(max(1, usable_cores() // executor.count))
    pieces = cut(jobs, executor.count, most=64)
    return [found for part in in_order(executor.run(work, pieces, count)) for found in part]


@dataclass(frozen=True)
class _Printing:
    threads: int

    def setup(self) -> Callable[[Sequence[_Job], Emit], list[Print]]:
        def take(jobs: Sequence[_Job], emit: Emit) -> list[Print]:
            prints = []
            # Threads: Pillow and numpy work outside the interpreter's lock.
            with ThreadPoolExecutor(self.threads) as pool:
                for found in pool.map(lambda job: take_print(*job), jobs):
                    prints.append(found)
                    emit(None)
            return prints

        return take

    def describe(self, piece: Sequence[_Job]) -> str:
        return f"{piece[0][0]} to {piece[-1][0]}"


def _report(prints: Sequence[Print], groups: Sequence[Group], *, crop: int) -> Report:
    corrupt = [found for found in prints if found.error is not None]
    parts = {part: _summarise(prints, part) for part in dict.fromkeys(p.part for p in prints)}
    findings = [
        *find_duplicates(groups),
        *find_differences(prints),
        *find_oddities(prints, crop=crop),
    ]
    if corrupt:
        files = "1 file" if len(corrupt) == 1 else f"{len(corrupt)} files"
        unreadable = Finding(
            level="error",
            code="unreadable",
            message=f"{files} cannot be read: delete or replace what is listed. "
            "Training would warn and skip them.",
            files=tuple(((found.path, found.error or ""),) for found in corrupt),
        )
        findings.insert(0, unreadable)
    order = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda finding: order[finding.level])
    verdict, sentence = _verdict(findings, parts)
    return Report(verdict, sentence, parts, tuple(findings), tuple(p.path for p in corrupt))


def _summarise(prints: Sequence[Print], part: str) -> PartSummary:
    mine = [found for found in prints if found.part == part]
    good = [found for found in mine if found.error is None]
    qualities = [found.quality for found in good if found.quality is not None]
    return PartSummary(
        pictures=len(good),
        unreadable=len(mine) - len(good),
        width=int(median(found.width for found in good)) if good else 0,
        height=int(median(found.height for found in good)) if good else 0,
        smallest=min((min(found.width, found.height) for found in good), default=0),
        formats=dict(Counter(found.format for found in good).most_common()),
        quality=int(median(qualities)) if qualities else None,
        grey=sum(found.is_grey for found in good),
    )


def _verdict(findings: Sequence[Finding], parts: Mapping[str, PartSummary]) -> tuple[Verdict, str]:
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    empty = [name for name, part in parts.items() if not part.pictures]
    if empty:
        return "unusable", f"Not usable: {' and '.join(empty)} has no readable picture."
    if errors:
        return "unusable", "Not ready: there are unreadable files (see above)."
    if warnings:
        things = "1 thing" if warnings == 1 else f"{warnings} things"
        return "usable", f"Usable; {things} to look at first (see the warnings above)."
    return "ready", "Ready to train."


def _file_lines(finding: Finding) -> list[str]:
    lines = []
    for group in finding.files[:_SHOWN]:
        if finding.code == "unreadable":
            lines += [f"  {remark}" for _, remark in group]
        else:
            lines.append("  " + " = ".join(f"{path} ({remark})" for path, remark in group[:4]))
            if len(group) > 4:
                lines[-1] += f" and {len(group) - 4} more"
    if len(finding.files) > _SHOWN:
        lines.append(f"  and {len(finding.files) - _SHOWN} more (--json lists all)")
    return lines
