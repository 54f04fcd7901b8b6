"""`make gpu`: parts end in time, what they report stands in the tables, nothing is installed."""

import importlib
import json
import os
import re
import runpy
import subprocess
import sys
import time
import tomllib
from importlib.metadata import requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PASSED = {"outcome": "passed", "says": "", "numbers": {}}


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def table():
    return importlib.import_module("gpu_table")


@pytest.fixture
def runner():
    return runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"))


@pytest.fixture
def run(runner, tmp_path):
    """Return a call that runs a part of Python code: its outcome."""

    def call(code, *, limit=20.0, lines=True):
        part = runner["Part"]("made-up", 99, ("-c", code), lines)
        return runner["run"](part, limit, os.environ, tmp_path)

    return call


def firsts(text):
    """Return the first two cells of all rows of tables."""
    return [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("|")]


def without_results(rows):
    # The second cell names the row in one of the tables, and is a result in the others.
    return [row if row[1].isdigit() or row[1] == "batch" else row[:1] for row in rows]


def test_the_page_on_speed_has_the_tables_that_the_command_prints(table):
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    there = page.split("### What `make gpu` found")[1]
    expected = table.tables({})
    assert without_results(firsts(there)) == without_results(firsts(expected))
    assert there.strip() == expected or "Machine: not run." not in there


def test_what_came_of_tests_is_said_with_the_largest_of_their_numbers(table):
    check = table.Check("steps", "part", "step_in", "off by {off:.1f}")
    lines = [
        {**PASSED, "test": "a.py::step_in[cut]", "numbers": {"off": 1.0}},
        {**PASSED, "test": "a.py::step_in[munit]", "numbers": {"off": 3.0}},
        {**PASSED, "test": "a.py::other"},
    ]
    assert check.result({"part": table.Outcome(lines)}) == "2 of 2 passed; off by 3.0"
    assert check.result({}) == "not run"
    assert check.result({"part": table.Outcome(lines[2:])}) == "not run"


def test_the_first_line_of_a_failure_is_in_the_table(table):
    check = table.Check("steps", "part", says="off by {off:.1f}")
    failed = {**PASSED, "test": "b", "outcome": "failed", "says": "a | b\nmore"}
    outcome = table.Outcome([{**PASSED, "test": "a"}, failed])
    assert check.result({"part": outcome}) == "1 of 2 passed; **failed**: a / b"
    assert table.failures({"part": outcome}) == ["part: a | b\nmore"]
    assert table.tables({"part": outcome}).endswith("\n\n**failed**: part: a / b")


def test_tests_that_were_skipped_say_why_and_are_no_failure(table):
    skipped = {**PASSED, "test": "a", "outcome": "skipped", "says": "needs a CUDA device"}
    outcomes = {"part": table.Outcome([skipped])}
    said = table.Check("steps", "part").result(outcomes)
    assert said == "0 of 1 passed; skipped: needs a CUDA device"
    assert table.failures(outcomes) == []


def test_a_part_that_broke_off_keeps_what_it_had(table):
    outcomes = {"part": table.Outcome([{**PASSED, "test": "a"}], "out of time after 3 s")}
    said = table.Check("steps", "part").result(outcomes)
    assert said == "1 of 1 passed; **failed**: out of time after 3 s"
    assert table.failures(outcomes) == ["part: out of time after 3 s"]


def test_rates_stand_in_their_columns(table):
    own = {"preset": "cut", "batch": 1, "precision": "float32"}
    time_ = {"median_ms": 12.0, "quartiles_ms": [11.0, 13.0], "n": 20, "images_per_s": 83.3}
    lines = [
        {**own, "variant": "auto", **time_, "memory": 2**31},
        {**own, "variant": "graphs", "error": "no CUDA graphs: why"},
    ]
    outcomes = {"rates": table.Outcome(lines)}
    row = table.rates(outcomes)[0]
    assert row[:4] == ["cut, float32", "1", "not run", "12 (11 to 13), 20"]
    assert row[5:] == ["**failed**: no CUDA graphs: why", "not run", "83.3", "2.00"]
    assert table.failures(outcomes) == ["rates: no CUDA graphs: why"]


def test_factors_over_released_code_stand_by_precision(table):
    speedup = {"median": 2.0, "quartiles": [1.9, 2.1], "n": 6}
    lines = [
        {"preset": "cut", "precision": "float32", "speedup": speedup},
        {"preset": "cut", "precision": "bfloat16", "error": "it ended with 1"},
    ]
    rows = list(table.released({"released": table.Outcome(lines)}))
    assert rows[0] == ["cut", "2.000 (1.900 to 2.100), 6", "**failed**: it ended with 1"]
    assert rows[1] == ["fastcut", "not run", "not run"]


def test_a_part_that_fails_says_its_last_line(run):
    outcome = run("print('{\"a\": 1}'); raise SystemExit('no GPU here')")
    assert outcome.lines == [{"a": 1}]
    assert outcome.fault == ""
    outcome = run("import sys; sys.stderr.write('first\\nlast\\n'); sys.exit(3)")
    assert outcome.fault == "it ended with 3: last"
    assert run("").fault == "it reported nothing"


def test_a_part_whose_time_is_over_is_ended_with_all_that_it_started(run):
    outcome = run(
        "import json, subprocess, sys\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "print(json.dumps({'inner': inner.pid}), flush=True)\n"
        "inner.wait()",
        limit=2.0,
    )
    assert outcome.fault == "out of time after 2 s"
    assert outcome.seconds < 15
    ((_, inner),) = outcome.lines[0].items()
    until = time.monotonic() + 60  # it was killed; the system may still be at it
    while is_running(inner) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_running(inner)


def is_running(number):
    """Say whether a process is there and not just ended, where /proc can tell."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_others_go_on_where_one_fails(runner, tmp_path, monkeypatch, capsys):
    made_up = [
        runner["Part"]("rates", 20, ("-c", "raise SystemExit('broken')")),
        runner["Part"]("machine", 20, ("-c", 'print(\'{"error": "none"}\')')),
        runner["Part"]("released", 20, ("-c", 'print(\'{"preset": 1, "precision": 2}\')')),
    ]
    monkeypatch.setitem(runner["main"].__globals__, "parts", lambda _: made_up)
    monkeypatch.setitem(runner["main"].__globals__, "tables", lambda found: " ".join(found))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path)])
    assert runner["main"]() == 1
    out, err = capsys.readouterr()
    assert out == "rates machine released\n"
    assert "failed: rates: it ended with 1: broken" in err
    assert "failed: machine: none" in err
    assert "failed: released" not in err


def test_a_part_starts_nothing_that_it_has_no_time_for(monkeypatch):
    now = [0.0]
    module = importlib.import_module("gpu_time")
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("I2I_GPU_SECONDS", "10")
    allowance = module.Allowance()
    said = []
    for now[0] in (0.0, 4.0, 5.0, 6.5):
        said.append(allowance.suffices())
    assert said == [True, True, True, False]


def test_released_code_is_known_by_its_files(tmp_path):
    released = runpy.run_path(str(ROOT / "benchmarks" / "gpu_released.py"))
    for name in ("cut", "qs"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / f"{name}_model.py").touch()
    folders = [str(tmp_path / name) for name in ("cut", "qs")]
    assert [(Path(f).name, preset) for f, preset, _ in released["wanted"](folders)] == [
        *(("cut", "cut"), ("qs", "qs-attn-global"), ("cut", "fastcut"))
    ]
    with pytest.raises(SystemExit, match="is no code base that is known here"):
        list(released["wanted"]([str(tmp_path)]))


def test_wheels_are_unpacked_and_other_folders_taken_as_they_are(runner, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with ZipFile(wheels / "made_up-1-py3-none-any.whl", "w") as archive:
        archive.writestr("made_up/__init__.py", "")
        archive.writestr("made_up-1.data/platlib/inner.py", "")
    found = runner["unpacked"](wheels, tmp_path / "scratch")
    assert (found / "made_up" / "__init__.py").is_file()
    assert (found / "inner.py").is_file()
    assert runner["unpacked"](found, tmp_path / "scratch") == found


def test_every_test_marked_gpu_is_in_a_part(runner, table):
    asked = runner["parse"](["--released", "."])
    parts = {part.name: part.words for part in runner["parts"](asked)}
    assert {check.part for check in table.CHECKS} < {*parts}
    files = {word for words in parts.values() for word in words if word.endswith(".py")}
    for path in (ROOT / "tests").rglob("test_*.py"):
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8") and path != Path(__file__):
            assert str(path.relative_to(ROOT)) in files


def test_carried_packages_are_all_that_is_needed_beside_torch():
    text = (ROOT / "benchmarks" / "gpu_packages.txt").read_text(encoding="utf-8")
    listed = {line for line in text.splitlines() if not line.startswith("#")}
    with (ROOT / "pyproject.toml").open("rb") as file:
        own = tomllib.load(file)["project"]["dependencies"]
    there = needs({"torch", "torchvision"})
    wanted = needs({Requirement(text).name for text in own} | {"pytest"}) - {"torch", "torchvision"}
    # A newer release may need less.
    assert wanted - there <= listed
    assert {"numpy", "pillow"} <= listed


def needs(names):
    """Return packages with all that they need, as installed here."""
    found, pending = set(), set(names)
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name not in found:
            found.add(name)
            wanted = [Requirement(text) for text in requires(name) or ()]
            is_due = {"extra": ""}
            pending |= {w.name for w in wanted if w.marker is None or w.marker.evaluate(is_due)}
    return found


@pytest.mark.slow
def test_a_cpu_stands_in_for_a_gpu(tmp_path):
    words = ["--device", "cpu", "--quick", "--only", "machine", "steps", "translate", "rates"]
    ended = subprocess.run(
        [
            "make",
            "gpu",
            f"PYTHON={sys.executable}",
            f"GPU_FLAGS={' '.join(words)} --out {tmp_path}",
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    written = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert written.strip() in ended.stdout
    assert "Machine: " in written
    assert "A trial of the script" in written
    assert "| steps in float32 against the CPU's | 1 of 1 passed; gradients off by" in written
    assert "| pictures translated, against the CPU's | 1 of 1 passed; off by at most 0" in written
    assert "| cut, float32 | 1 | not run" not in written
    assert "| a resumed run against one that nobody stopped | not run |" in written
    outcomes = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert list(outcomes) == ["machine", "steps", "translate", "rates"]
