"""Tables of results.md: a heading each, its rows added and never replaced."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("results.md")


def add_row(path: Path, heading: str, columns: str, cells: Sequence[str]) -> None:
    """Add a row to the table under a heading; both are made where they are not there.

    Args:
        path: the file.
        heading: the whole line, as `## Levers`.
        columns: the first line of the table.
        cells: of the row.

    Raises:
        ValueError: not as many cells as columns.
    """
    if len(cells) != columns.count("|") - 1:
        raise ValueError(f"{len(cells)} cells do not fit {columns}")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if heading not in lines:
        rule = "|" + "---|" * len(cells)
        lines += [*([""] if lines else []), heading, "", columns, rule]
    at = lines.index(heading) + 1
    # The last row of the table that stands under the heading.
    while at < len(lines) and not lines[at].startswith("|"):
        at += 1
    while at < len(lines) and lines[at].startswith("|"):
        at += 1
    lines.insert(at, f"| {' | '.join(cells)} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def put_rows(
    path: Path, heading: str, columns: str, rows: Sequence[Sequence[str]], *, keys: int
) -> None:
    """Add rows to a table; one whose first `keys` cells are there already takes its line.

    Raises:
        ValueError: as `add_row`.
    """
    for cells in rows:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        before, _, section = text.partition(f"{heading}\n")
        start = f"| {' | '.join(cells[:keys])} | "
        lines = section.splitlines()
        end = next((i for i, line in enumerate(lines) if line.startswith("#")), len(lines))
        at = next((i for i in range(end) if lines[i].startswith(start)), None)
        if at is None:
            add_row(path, heading, columns, cells)
            continue
        lines[at] = f"| {' | '.join(cells)} |"
        path.write_text(f"{before}{heading}\n" + "\n".join(lines) + "\n", encoding="utf-8")


def rows(path: Path, heading: str) -> list[list[str]]:
    """Return the cells of the rows under a heading, those of the head and the rule left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if heading not in lines:
        return []
    found = []
    for line in lines[lines.index(heading) + 1 :]:
        if line.startswith("#"):
            break
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found[2:]


def pair(quartiles: Sequence[float], form: str = "{:.3g}") -> str:
    """Return both quartiles as text."""
    return " to ".join(form.format(value) for value in quartiles)


def factor(spread: dict[str, object], form: str = "{:.3f}") -> str:
    """Return a spread of factors as text: median, quartiles, number."""
    median, quartiles = spread["median"], spread["quartiles"]
    return f"{form.format(median)} ({pair(quartiles, form)}), {spread['n']}"  # type: ignore[arg-type]


def processor() -> str:
    """Return the processor as it names itself."""
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(device_name: str, threads: int) -> str:
    """Return what computed: a GPU by its name, or the processor and how many of its threads.

    With the instructions that oneDNN was held to, if any, and the average load of the last minute,
    of which the measurement itself is a part.
    """
    words = [device_name or f"{processor()}, {threads} threads"]
    if isa := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        words.append(f"ONEDNN_MAX_CPU_ISA={isa}")
    if hasattr(os, "getloadavg"):
        words.append(f"load {os.getloadavg()[0]:.1f}")
    return ", ".join(words)
