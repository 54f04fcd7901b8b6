"""Draw faults in the code with a fixed seed, and count how many of them the tests catch.

    python scripts/seeded_faults.py draw                writes tests/seeded_faults.json
    python scripts/seeded_faults.py try RESULTS.json    in a copy of the checkout: it edits sources

A fault is an operator or a constant changed inside a function. It counts as caught when a test
fails that runs its line: those of its own room are tried first, then the others. Which these are
tells the coverage file that COVERAGE_FILE names (`pytest --cov=i2icli --cov-context=test`).
"""

from __future__ import annotations

import ast
import copy
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "i2icli"
LIST = ROOT / "tests" / "seeded_faults.json"
SEED, COUNT, LEAST = 10, 60, 2
MOST_TESTS = 300  # in one command: of lines that many tests run, any few will do
RING = "not slow and not gpu and not network and not browser"
_SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Fault:
    """One change.

    Attributes:
        room: the package, or top-level module, of its file.
        file: below the package, when it was drawn.
        function: its name.
        statement: the first line of the statement it is in, as `ast.unparse` writes it.
        before: the expression.
        after: what it becomes.
    """

    room: str
    file: str
    function: str
    statement: str
    before: str
    after: str


@dataclass(frozen=True)
class Spot:
    """Where a fault can be set: the fault, and its expression's span in the file."""

    fault: Fault
    node: Any


def changed(node: ast.AST) -> ast.AST | None:
    """Return a copy with its operator or constant changed, None for what is left alone."""
    new: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
        new.ops[0] = _SWAPPED[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in _SWAPPED:
        new.op = _SWAPPED[type(node.op)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        new = new.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        new.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        new.value = node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0
    else:
        return None
    return new


def spots(path: Path) -> Iterator[Spot]:
    """Yield every place of a file where a fault can be set."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = path.relative_to(PACKAGE)
    room = inside.parts[0].removesuffix(".py")
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for statement in function.body:
            for line, node in _expressions(statement):
                new = changed(node)
                if new is not None:
                    texts = (ast.unparse(node), ast.unparse(new))
                    fault = Fault(room, inside.as_posix(), function.name, line, *texts)
                    yield Spot(fault, node)


def _expressions(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """Yield the expressions of a statement; texts, annotations and inner functions left out."""
    line = ast.unparse(statement).splitlines()[0]
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.JoinedStr | ast.Raise | ast.ClassDef):
            continue
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.stmt):
                    yield from _expressions(child)
                elif isinstance(child, ast.AST):
                    waiting.append(child)
        if isinstance(node, ast.expr):
            yield line, node


def draw() -> list[Fault]:
    """Return the faults: some of every room, the rest by the number of its places."""
    rooms: dict[str, list[Fault]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for spot in spots(path):
            rooms.setdefault(spot.fault.room, []).append(spot.fault)
    choose = random.Random(SEED)
    rooms = {room: choose.sample(faults, len(faults)) for room, faults in sorted(rooms.items())}
    drawn = [fault for faults in rooms.values() for fault in faults[:LEAST]]
    rest = [fault for faults in rooms.values() for fault in faults[LEAST:]]
    return drawn + choose.sample(rest, COUNT - len(drawn))


def find(fault: Fault) -> tuple[Path, Any] | None:
    """Return the file and expression that a fault is set at now, wherever its function moved."""
    found = [
        (path, spot)
        for path in sorted(PACKAGE.rglob("*.py"))
        for spot in spots(path)
        if (spot.fault.before, spot.fault.after) == (fault.before, fault.after)
    ]

    def likeness(entry: tuple[Path, Spot]) -> tuple[bool, ...]:
        other = entry[1].fault
        keys = ("function", "statement", "file", "room")
        return tuple(getattr(other, key) == getattr(fault, key) for key in keys)

    best = max(found, key=likeness, default=None)
    if best is None or not any(likeness(best)[:2]):
        return None
    return best[0], best[1].node


def set_fault(path: Path, node: Any, after: str) -> str:
    """Write the fault into a file and return the file's text before."""
    text = path.read_text(encoding="utf-8")
    lines = text.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    whole = text.encode()
    path.write_bytes(whole[:start] + f"({after})".encode() + whole[end:])
    return text


def tests_of_line(path: Path, line: int, end: int) -> list[str]:
    """Return the tests that run a line, as the coverage file tells; none without one."""
    if not os.environ.get("COVERAGE_FILE"):
        return []
    from coverage import CoverageData

    data = CoverageData(os.environ["COVERAGE_FILE"])
    data.read()
    inside = path.relative_to(ROOT).as_posix()
    names = [name for name in data.measured_files() if name.endswith(inside)]
    contexts = data.contexts_by_lineno(names[0]) if names else {}
    tests = {test for number in range(line, end + 1) for test in contexts.get(number, ()) if test}
    return sorted({test.rpartition("|")[0] for test in tests})  # what follows is the phase


def run_tests(names: list[str]) -> bool:
    """Return whether a test among these fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", RING]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("COVERAGE_FILE", None)
    try:
        done = subprocess.run(
            [*command, *names], cwd=ROOT, env=environment, capture_output=True, timeout=300
        )
    except subprocess.TimeoutExpired:
        return True
    # A fault may also keep test files from being imported, which pytest says in other words.
    if done.returncode == 4 and b"ERROR: not found: " in done.stderr:
        raise SystemExit(f"the coverage file is of other tests: {done.stderr.decode()[-500:]}")
    return done.returncode not in (0, 5)


def try_fault(fault: Fault) -> str:
    """Set one fault, run the tests and take it back; return by whom it was caught."""
    spot = find(fault)
    if spot is None:
        return "gone"
    path, node = spot
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    covering = tests_of_line(path, node.lineno, node.end_lineno)
    own = [test for test in covering if test.startswith(f"tests/{room}/")]
    others = [test for test in covering if test not in own]
    if not covering and (ROOT / "tests" / room).is_dir():
        own = [f"tests/{room}"]
    text = set_fault(path, node, fault.after)
    try:
        for title, tests in (("own room", own), ("others", others)):
            if tests and run_tests(tests[:MOST_TESTS]):
                return title
        return "missed"
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Draw, or try."""
    if sys.argv[1:] == ["draw"]:
        text = json.dumps([asdict(fault) for fault in draw()], indent=1)
        LIST.write_text(text + "\n", encoding="ascii")
        return
    results = Path(sys.argv[2])
    told = json.loads(results.read_text()) if results.exists() else {}
    for number, document in enumerate(json.loads(LIST.read_text(encoding="ascii"))):
        if str(number) not in told:
            told[str(number)] = try_fault(Fault(**document))
            results.write_text(json.dumps(told, indent=1) + "\n", encoding="ascii")
            print(number, document["file"], document["function"], told[str(number)], flush=True)


if __name__ == "__main__":
    main()
