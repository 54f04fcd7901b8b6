"""How the results of `i2i data` read: as lines, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from i2icli.datasets.catalogue import DataSet
    from i2icli.datasets.check import Report
    from i2icli.datasets.findings import Finding
    from i2icli.datasets.obtain import Obtained
    from i2icli.datasets.prepare import Prepared
    from i2icli.datasets.stats import PartStats, Plan
    from i2icli.metrics.truth import FolderScore

_SHOWN = 8  # groups of files listed under a finding; --json lists all


def show(result: object, *, as_json: bool, lines: Sequence[str]) -> None:
    """Print a result on stdout."""
    if as_json:
        typer.echo(json.dumps(_plain(result), indent=2))
    else:
        typer.echo("\n".join(lines))


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def score_lines(score: FolderScore) -> list[str]:
    """Describe the error of translations against the truth."""
    rows = [("translations", score.translation), ("untranslated", score.identity)]
    lines = [
        f"Mean absolute error against the truth, pixels in [0, 1], {score.count} pictures",
        f"{'':<14}{'inside':>9}{'outside':>9}{'total':>9}",
    ]
    for name, errors in rows:
        cells = (errors.inside, errors.outside, errors.total)
        text = "".join(f"{'-' if cell is None else format(cell, '.4f'):>9}" for cell in cells)
        lines.append(f"{name:<14}{text}")
    if score.missing:
        lines.append(f"{len(score.missing)} pictures have no translation, first {score.missing[0]}")
    return lines


def prepare_lines(result: Prepared) -> list[str]:
    """Describe a prepared data set."""
    counts = ", ".join(f"{name} {number}" for name, number in result.counts.items())
    ways = {"linked": result.linked, "copied": result.copied, "written": result.written}
    done = ", ".join(f"{number} {way}" for way, number in ways.items() if number)
    lines = [f"{result.folder}: {counts}", f"files: {done or 'none'}"]
    if result.failed:
        lines.append(f"{len(result.failed)} unreadable pictures were left out")
    if result.unmatched:
        lines.append(f"{len(result.unmatched)} pictures without a partner were left out")
    lines.append(f"Next: i2i data check {result.folder}")
    return lines


def check_lines(report: Report) -> list[str]:
    """Describe the findings of a check, the verdict last."""
    lines = [f"{'':<8}{'pictures':>9}{'unread':>8}{'size':>12}{'quality':>9}{'grey':>6}  formats"]
    for name, part in report.parts.items():
        size = f"{part.width}x{part.height}"
        quality = "-" if part.quality is None else str(part.quality)
        formats = ", ".join(f"{form} {number}" for form, number in part.formats.items())
        lines.append(
            f"{name:<8}{part.pictures:>9}{part.unreadable:>8}{size:>12}{quality:>9}"
            f"{part.grey:>6}  {formats}"
        )
    for finding in report.findings:
        lines += ["", f"{finding.level}: {finding.message}", *_file_lines(finding)]
    return [*lines, "", report.sentence]


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


def stats_lines(preset: str, sizes: Mapping[str, PartStats], plan: Plan, where: str) -> list[str]:
    """Describe sizes and what a schedule amounts to."""
    lines = [f"{'':<8}{'pictures':>9}{'median':>12}{'shortest':>10}{'longest':>9}{'MB':>9}"]
    for name, part in sizes.items():
        lines.append(
            f"{name:<8}{part.pictures:>9}{f'{part.width}x{part.height}':>12}"
            f"{part.smallest:>10}{part.largest:>9}{part.megabytes:>9.1f}"
        )
        if part.unreadable:
            lines.append(f"  {part.unreadable} of them unreadable: i2i data check names them")
    lines += [
        "",
        f"With the preset {preset} (batch {plan.batch_size}):",
        f"an epoch is {plan.steps_per_epoch} steps, one pass over the larger domain; each picture "
        f"of A is used {plan.uses_a:.2f} times an epoch, of B {plan.uses_b:.2f} times"
        if plan.crops is None
        else f"an epoch is {plan.steps_per_epoch} steps, {plan.crops} crops of each picture",
    ]
    if plan.unseen_b is not None:
        lines.append(f"B is drawn at random: an epoch leaves out {plan.unseen_b:.0%} of it")
    lines.append(f"the whole schedule is {plan.epochs} epochs, {plan.steps} steps")
    if plan.hours is None:
        lines.append(
            "hours: unknown without the time of a step on this machine; measure it with "
            f"i2i train --preset {preset} --data {where} --dry-run, then give --seconds-per-step S"
        )
    else:
        lines.append(f"hours: {plan.hours:.1f}")
    return lines


def list_lines(catalogue: Mapping[str, DataSet]) -> list[str]:
    """List the registered data sets."""
    lines = [f"{'name':<24}{'trainA':>7}{'trainB':>7}{'testA':>6}{'testB':>6}{'MB':>7}  domains"]
    for data_set in catalogue.values():
        train_a, train_b, test_a, test_b = (
            "?" if count is None else str(count) for count in data_set.counts
        )
        size = "?" if data_set.size is None else f"{data_set.size / 1e6:.0f}"
        by_hand = "" if data_set.urls else " (by hand)"
        lines.append(
            f"{data_set.name:<24}{train_a:>7}{train_b:>7}{test_a:>6}{test_b:>6}{size:>7}  "
            f"{data_set.domains}{by_hand}"
        )
    return lines


def get_lines(result: Obtained) -> list[str]:
    """Describe a data set that is here."""
    counts = ", ".join(f"{name} {number}" for name, number in result.counts.items())
    state = "was here already" if result.was_there else "is here"
    return [
        f"{result.name} {state}: {result.folder} ({counts})",
        f"Next: i2i data check {result.folder}",
    ]
