"""Rows of quality.py as a table in results.md, as a curve, and as pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import record
from matplotlib.figure import Figure

from i2icli.pictures.images import read_picture
from i2icli.pictures.listing import evenly_spaced
from i2icli.viz.grid import draw_grid, shrink

HEADING = "## Time to quality"
COLUMNS = (
    "| row | data | minutes | step | s a step | cores of others | FID (95 %) | KID (95 %) | "
    "structure | alarms | clock | machine | i2i, torch | date |"
)
KEYS = 3  # columns by which a row is known
COUNT, ACROSS, SIDE = 20, 5, 256  # pictures shown, in a line, pixels of each


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return all rows in a folder: those that do not train first, then by name and time."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/at-*.json")]
    return sorted(rows, key=lambda row: (row["mark"] > 0, row["name"], row["mark"]))


def write(folder: Path, results: Path, curve: Path) -> None:
    """Write the rows of a folder into the table, and draw their curve.

    Raises:
        SystemExit: there is no row.
    """
    rows = rows_of(folder)
    if not rows:
        raise SystemExit(f"{folder} holds no rows: measure some first.")
    record.put_rows(results, HEADING, COLUMNS, [cells(row) for row in rows], keys=KEYS)
    draw_curve(rows, curve)


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row; what it does not have is a dash."""
    held = ", held out" if row["holdout"] else ""
    size = f", {row['eval_size']} pixels" if row["eval_size"] else ""
    way = ", b2a" if row["direction"] == "b2a" else ""
    is_trained = row["mark"] > 0
    return [
        row["name"],
        f"{Path(row['data']).name}{held}{size}{way}",
        f"{row['mark']:g}" if is_trained else "-",
        str(row.get("step") or "-"),
        plain(row.get("step_seconds"), "{:.3g}"),
        plain(row.get("others"), "{:.1f}"),
        spread(row.get("fid"), "{:.1f}"),
        spread(row.get("kid"), "{:.4f}"),
        spread(row.get("structure"), "{:.4f}"),
        (", ".join(row["alarms"]) or "none") if is_trained else "-",
        clock(row),
        row["machine"],
        row["versions"],
        row["date"],
    ]


def clock(row: Mapping[str, Any]) -> str:
    """Return how time was taken, and the minutes really trained where the mark was missed."""
    is_near = abs(row["minutes"] - row["mark"]) <= max(0.1, 0.01 * row["mark"])
    return row.get("clock", "-") + ("" if is_near else f", {row['minutes']:.1f} minutes")


def plain(value: float | None, form: str) -> str:
    """Return a number as text."""
    return "-" if value is None else form.format(value)


def spread(found: Sequence[float | None] | None, form: str) -> str:
    """Return a number with its interval as text."""
    if found is None:
        return "-"
    value, low, high = (plain(each, form) for each in found)
    return value if low == "-" else f"{value} ({low} to {high})"


def sentence(row: Mapping[str, Any]) -> str:
    """Return a row for the person who waits."""
    titles = [title.strip() for title in COLUMNS.strip("|").split("|")]
    said = dict(zip(titles, cells(row), strict=True))
    return ", ".join(f"{title} {said[title]}" for title in titles[:10] if said[title] != "-")


def draw_curve(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw KID against minutes, a line a run; what does not train as a level across."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        if not row["mark"]:
            style = "--" if row["name"] == "identity" else ":"
            axes.axhline(row["kid"][0], color="gray", linestyle=style, label=row["name"])
    for name in dict.fromkeys(row["name"] for row in rows if row["mark"]):
        own = [row for row in rows if row["name"] == name]
        times = [row["minutes"] for row in own]
        value, low, high = zip(*(row["kid"] for row in own), strict=True)
        (line,) = axes.plot(times, value, marker="o", markersize=4, label=name)
        axes.fill_between(times, low, high, color=line.get_color(), alpha=0.1, linewidth=0)
    marks = sorted({row["mark"] for row in rows if row["mark"]})
    if marks:
        axes.set_xscale("log")
        axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes of training")
    axes.set_ylabel("KID, with 95 % interval")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def draw_pictures(pairs: Sequence[tuple[Path, Path]], path: Path) -> None:
    """Draw some sources, the same each time, with their translations below."""
    chosen = evenly_spaced(pairs, count=COUNT)
    lines = []
    for start in range(0, len(chosen), ACROSS):
        for side in zip(*chosen[start : start + ACROSS], strict=True):
            lines.append([shrink(read_picture(each).pixels, side=SIDE) for each in side])
    draw_grid(lines).save(path)
