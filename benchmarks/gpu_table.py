"""The tables of docs/speed.md, section "On a GPU": what the parts of gpu.py reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import record

NOT_RUN = "not run"
Line = Mapping[str, Any]


@dataclass
class Outcome:
    """What came of a part: its lines, and why it did not end well, where it did not."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A row of the first table: tests of a part, by a piece of their names."""

    title: str
    part: str
    tests: str = ""
    says: str = ""  # their numbers, the largest of each

    def lines_of(self, outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
        """Return the reports of its tests."""
        lines = outcomes[self.part].lines if self.part in outcomes else []
        return [line for line in lines if self.tests in line["test"]]

    def result(self, outcomes: Mapping[str, Outcome]) -> str:
        """Return what came of it, the first line of the first failure included."""
        if self.part not in outcomes:
            return NOT_RUN
        fault, lines = outcomes[self.part].fault, self.lines_of(outcomes)
        kinds = {
            kind: [line for line in lines if line["outcome"] == kind]
            for kind in ("passed", "failed", "skipped")
        }
        words = [f"{len(kinds['passed'])} of {len(lines)} passed"] if lines else []
        if kinds["failed"]:
            words.append(f"**failed**: {cell(kinds['failed'][0]['says'])}")
        elif kinds["skipped"]:
            words.append(f"skipped: {cell(kinds['skipped'][0]['says'])}")
        elif self.says and kinds["passed"]:
            words.append(self.says.format(**_largest(kinds["passed"])))
        if fault and not kinds["failed"]:
            words.append(f"**failed**: {cell(fault)}")
        return "; ".join(words) or NOT_RUN


_PRECISIONS = ("theirs over ours in float32", "theirs over ours in bfloat16")
_GRADIENTS = "gradients off by at most {gradients:.1e} of their length"
_WEIGHTS = "weights off by {weights:.1e}, those of two equal runs by {noise:.1e}"
CHECKS = (
    Check("steps in float32 against the CPU's", "steps", "step_in_float32", _GRADIENTS),
    Check(
        "steps in bfloat16 against the CPU's in float32",
        "steps",
        "step_in_bf",
        "off by at most {times:.2f} times as much as the CPU's in bfloat16",
    ),
    Check("a compiled step against the CPU's", "compile", "compiled_step", _GRADIENTS),
    Check(
        "steps replayed as CUDA graphs against kernel by kernel",
        "graphs",
        "a_gpu_replays",
        "terms off by at most {terms:.1e}",
    ),
    Check("a resumed run against one that nobody stopped", "runs", "a_resumed_run", _WEIGHTS),
    *(
        Check(
            f"a run with `{name}` against one without", "runs", f"setting_and_without[{name}", say
        )
        for name, say in dict.fromkeys(
            ("prefetch", "fused_optimizer", "cuda_graphs", "channels_last"), _WEIGHTS
        ).items()
    ),
    Check(
        "pictures translated, against the CPU's",
        "translate",
        "translations_are",
        "off by at most {levels:.0f} of 255",
    ),
    Check("`i2i translate` against the CPU's", "translate", "the_command"),
    Check("commands with their own choices, all other tests marked `gpu`", "others"),
)
RATES = {
    "off": "all off",
    "auto": "as `auto` chooses",
    "layout": "channels last, fused, prefetched",
    "graphs": "and CUDA graphs",
    "compiled": "or compiled",
}
STEPS = tuple(
    (preset, batch, precision)
    for preset in ("cut", "qs-attn-global")
    for batch in (1, 16)
    for precision in ("float32", "bfloat16")
)
RELEASED = ("cut", "fastcut", "qs-attn-global")


def failures(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return the parts that did not end well, each with why."""
    found = []
    for name, outcome in outcomes.items():
        failed = [line for line in outcome.lines if line.get("outcome") == "failed"]
        errors = [line["error"] for line in outcome.lines if "error" in line]
        reasons = [outcome.fault, *(line["says"] for line in failed), *errors]
        found += [f"{name}: {reason}" for reason in filter(None, reasons)][:1]
    return found


def tables(outcomes: Mapping[str, Outcome]) -> str:
    """Return the tables as Markdown; what did not run says so."""
    checks = [[check.title, check.result(outcomes)] for check in CHECKS]
    heads = [
        "ms a step at 256 x 256",
        "batch",
        *RATES.values(),
        "fastest, pictures/s",
        "memory GiB",
    ]
    return "\n".join(
        [
            machine(outcomes),
            "",
            *markdown(["on the GPU", "result"], checks),
            "",
            *markdown(heads, rates(outcomes)),
            "",
            *markdown(
                ["against the released code, batch 1", *_PRECISIONS], list(released(outcomes))
            ),
            *[f"\n**failed**: {cell(failure)}" for failure in failures(outcomes)],
        ]
    )


def machine(outcomes: Mapping[str, Outcome]) -> str:
    """Return the sentence that says what computed."""
    outcome = outcomes.get("machine", Outcome())
    if not outcome.lines:
        return f"Machine: {cell(outcome.fault) or NOT_RUN}."
    found = outcome.lines[0]
    words = f"{found['device']}, torch {found['torch']}, Python {found['python']}"
    trial = " A trial of the script, with little of each part and tiny networks."
    return f"Machine: {words}, i2i {found['i2i']}, {found['date']}.{trial * found['is_trial']}"


def rates(outcomes: Mapping[str, Outcome]) -> list[list[str]]:
    """Return the cells of each kind of step: the median and the quartiles of each variant."""
    parts = [outcomes[name] for name in ("rates", "compiled") if name in outcomes]
    lines = [line for part in parts for line in part.lines]
    rows = []
    for preset, batch, precision in STEPS:
        own = {
            line["variant"]: line
            for line in lines
            if (line["preset"], line["batch"], line["precision"]) == (preset, batch, precision)
        }
        timed = [line for line in own.values() if "median_ms" in line]
        best = max((line["images_per_s"] for line in timed), default=None)
        auto = own.get("auto", {}).get("memory")
        rows.append(
            [
                f"{preset}, {precision}",
                str(batch),
                *(_milliseconds(own.get(variant)) for variant in RATES),
                NOT_RUN if best is None else f"{best:.4g}",
                NOT_RUN if auto is None else f"{auto / 2**30:.2f}",
            ]
        )
    return rows


def released(outcomes: Mapping[str, Outcome]) -> Iterator[list[str]]:
    """Yield the cells of each released code that was compared with."""
    lines = outcomes["released"].lines if "released" in outcomes else []
    for preset in RELEASED:
        cells = [preset]
        for precision in ("float32", "bfloat16"):
            own = [x for x in lines if (x["preset"], x["precision"]) == (preset, precision)]
            cells.append(_ratio(own[0]) if own else NOT_RUN)
        yield cells


def _milliseconds(line: Line | None) -> str:
    if line is None:
        return NOT_RUN
    if "error" in line:
        return f"**failed**: {cell(line['error'])}"
    return f"{line['median_ms']:.3g} ({record.pair(line['quartiles_ms'])}), {line['n']}"


def _ratio(line: Line) -> str:
    return (
        f"**failed**: {cell(line['error'])}" if "error" in line else record.factor(line["speedup"])
    )


def _largest(lines: Sequence[Line]) -> dict[str, float]:
    names = {name for line in lines for name in line["numbers"]}
    return {name: max(line["numbers"][name] for line in lines) for name in names}


def cell(text: str) -> str:
    """Return text that fits a cell: one line, not too long, no bars."""
    first = (text.strip().splitlines() or [""])[0].replace("|", "/")
    return first if len(first) <= 160 else f"{first[:157]}..."


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
