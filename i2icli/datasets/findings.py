"""The findings of a check in plain words, with what to do about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from i2icli.datasets.duplicates import Group
from i2icli.datasets.fingerprints import Print

Entry = tuple[Path, str]
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing to know about a data set."""

    level: Level  # `error` must be mended, `warning` should be looked at, `note` is good to know
    code: str  # a word for programs
    message: str  # what it is and what to do
    files: tuple[tuple[Entry, ...], ...] = ()  # groups of files it is about, each with a remark


def find_duplicates(groups: Sequence[Group]) -> list[Finding]:
    """Return findings on equal or nearly equal pictures."""
    sorted_groups: dict[tuple[str, bool], list[Group]] = {}
    for group in groups:
        sorted_groups.setdefault((_parts_of(group), group.is_exact), []).append(group)
    findings = []
    for (parts, is_exact), members in sorted_groups.items():
        kind = "the same" if is_exact else "nearly the same"
        count = _count(len(members), "group") + f" of {kind} pictures"
        level, message = _PARTS[parts]
        findings.append(
            Finding(
                level=level,
                code=f"{'duplicates' if is_exact else 'near-duplicates'}-{parts}",
                message=f"{count} {message}",
                files=tuple(tuple((p.path, p.part) for p in group.prints) for group in members),
            )
        )
    return findings


_PARTS: dict[str, tuple[Level, str]] = {
    "across-domains": (
        "warning",
        "in both domains: the translator learns to leave them alone. Remove them from one.",
    ),
    "across-splits": (
        "warning",
        "in training and test: scores on the test pictures will be too good. Remove one of each.",
    ),
    "within": ("note", "within one part: they only count more than others."),
}


def _parts_of(group: Group) -> str:
    if len({part[-1] for part in group.parts}) > 1:
        return "across-domains"
    return "across-splits" if len(group.parts) > 1 else "within"


def find_differences(prints: Sequence[Print]) -> list[Finding]:
    """Return the differences of A and B in size, shape and compression, which are no content."""
    domain_a, domain_b = (
        [p for p in prints if p.part == f"train{letter}" and p.error is None] for letter in "AB"
    )
    if not domain_a or not domain_b:
        return []
    both = (domain_a, domain_b)
    said: dict[str, str] = {}
    side_a, side_b = (median((p.width * p.height) ** 0.5 for p in domain) for domain in both)
    if max(side_a, side_b) > 1.5 * min(side_a, side_b):
        said["size-difference"] = (
            f"Pictures of {'A' if side_a > side_b else 'B'} are larger (typical side {side_a:.0f} "
            f"in A, {side_b:.0f} in B pixels): scaled to one size, one domain is sharper, and the "
            "translator learns that too. Bring both near one size: i2i data prepare A/ B/ --out "
            "DIR --resize N."
        )
    shape_a, shape_b = (median(p.width / p.height for p in domain) for domain in both)
    if max(shape_a, shape_b) > 1.25 * min(shape_a, shape_b):
        said["shape-difference"] = (
            f"Pictures have other shapes (width to height {shape_a:.2f} in A, {shape_b:.2f} in B): "
            "resized to squares, one domain looks stretched. Crop them to one shape, or train with "
            "--set data.preprocess=scale-width-and-crop."
        )
    share_a, share_b = (sum(p.format == "JPEG" for p in domain) / len(domain) for domain in both)
    if abs(share_a - share_b) > 0.25:
        said["format-difference"] = (
            f"{share_a:.0%} of A and {share_b:.0%} of B are JPEG: the translator learns to add or "
            "remove compression, and FID measures it. Take both from sources of one kind."
        )
    qualities = [[p.quality for p in domain if p.quality is not None] for domain in both]
    quality_a, quality_b = (median(values) if values else 0 for values in qualities)
    if all(qualities) and abs(quality_a - quality_b) >= 8:
        said["quality-difference"] = (
            f"JPEG quality is about {quality_a:.0f} in A and {quality_b:.0f} in B: the translator "
            "learns to add or remove compression, and FID measures it. Take both from sources of "
            "one quality."
        )
    return [Finding("warning", code, message) for code, message in said.items()]


def find_oddities(prints: Sequence[Print], *, crop: int) -> list[Finding]:
    """Return findings on pictures that need more than reading."""
    good = [p for p in prints if p.error is None]
    findings = [
        _list(
            ("warning", "small"),
            [(p, f"{p.width}x{p.height}") for p in good if min(p.width, p.height) < crop],
            f"smaller than the crop of {crop}: they are enlarged and blurred, and "
            "data.preprocess=crop cannot use them. Remove them, or train at a smaller crop.",
        ),
        *(_grey_finding(good, letter) for letter in "AB"),
        _list(
            ("warning", "wrong-suffix"),
            [(p, p.format) for p in good if p.has_wrong_suffix],
            "with a suffix that belongs to another format: i2i reads them by their content, "
            "other tools may not. Rename them.",
        ),
        _list(
            ("note", "deep"),
            [(p, "16 bits") for p in good if p.bits == 16],
            "with 16 bits a channel: training uses 8 of them.",
        ),
        _list(
            ("note", "alpha"),
            [(p, "alpha") for p in good if p.has_alpha],
            "with transparency: training sees the colours under it.",
        ),
        _list(
            ("note", "animated"),
            [(p, p.format) for p in good if p.is_animated],
            "with several frames: only the first is used.",
        ),
    ]
    return [finding for finding in findings if finding is not None]


def _grey_finding(good: Sequence[Print], letter: str) -> Finding | None:
    mine = [p for p in good if p.part[-1] == letter]
    grey = [p for p in mine if p.is_grey]
    if mine and len(grey) == len(mine):
        return Finding(
            "note",
            f"all-grey-{letter.lower()}",
            f"All pictures of {letter} are grey: train with one channel there, "
            f"--set data.channels_{letter.lower()}=1.",
        )
    return _list(
        ("note", f"grey-{letter.lower()}"),
        [(p, "grey") for p in grey],
        f"without colour among the coloured ones of {letter}: they teach the translator grey. "
        "The published sets hold some, too; remove them if you are free to.",
    )


def _list(
    kind: tuple[Level, str], prints: Sequence[tuple[Print, str]], message: str
) -> Finding | None:
    if not prints:
        return None
    counts = Counter(p.part for p, _ in prints)
    where = ", ".join(f"{count} in {part}" for part, count in counts.items())
    return Finding(
        *kind,
        f"{_count(len(prints), 'picture')} ({where}) {message}",
        tuple(((p.path, remark),) for p, remark in prints),
    )


def _count(number: int, thing: str) -> str:
    return f"1 {thing}" if number == 1 else f"{number} {thing}s"
