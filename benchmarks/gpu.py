"""Check on a GPU what a CPU cannot, and time it: all parts, in under 8 minutes; see README.md.

make gpu GPU_PACKAGES=wheels RELEASED="../cut-code ../qs-attn-code"
python benchmarks/gpu.py --device cpu --quick        the same with a CPU for a GPU, tiny
python benchmarks/gpu.py --table                     the tables of docs/speed.md, before any run

Needs Python, torch, torchvision and nothing else that is installed; starts without them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from gpu_table import Outcome, failures, tables

ROOT = Path(__file__).resolve().parents[1]
MINUTES = 7.5  # of all parts; the rest of the 8 is the end of the last
MARK = "mark.gpu"
STEPS, GRAPHS = "tests/training/test_training_gpu.py", "tests/training/test_training_graph_step.py"
PICTURES = "tests/translation/test_translation_gpu.py"


@dataclass(frozen=True)
class Part:
    """A process with a time of its own.

    Attributes:
        name: what the tables call it.
        seconds: after which it is ended.
        words: arguments of Python.
        lines: whether it writes lines of JSON to its output; else a plugin of pytest does.
    """

    name: str
    seconds: float
    words: tuple[str, ...]
    lines: bool = True


def main() -> int:
    """Run all parts, write the tables; return 1 where something failed."""
    asked = parse(sys.argv[1:])
    if asked.table:
        sys.stdout.write(tables({}) + "\n")
        return 0
    started = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    asked.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="i2i-gpu-") as scratch:
        environment = environment_of(asked, Path(scratch))
        for part in parts(asked):
            left = 60 * asked.minutes - (time.monotonic() - started)
            if left < 5:
                outcomes[part.name] = Outcome(fault="no time was left")
                continue
            limit = min(part.seconds, left)
            say(f"{part.name}: at most {limit:.0f} s")
            outcomes[part.name] = run(part, limit, environment, asked.out)
            say(f"{part.name}: {outcomes[part.name].seconds:.0f} s {outcomes[part.name].fault}")
            # What failed and what is timed so far stays, whatever ends this.
            (asked.out / "tables.md").write_text(tables(outcomes) + "\n", encoding="utf-8")
    document = {name: vars(outcome) for name, outcome in outcomes.items()}
    (asked.out / "results.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
    sys.stdout.write(tables(outcomes) + "\n")
    for failure in (failed := failures(outcomes)):
        say(f"failed: {failure}")
    return 1 if failed else 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="cpu: try the script itself")
    parser.add_argument("--quick", action="store_true", help="little of each part, tiny networks")
    parser.add_argument("--packages", type=Path, help="a folder of wheels, or of packages")
    parser.add_argument("--released", type=Path, nargs="*", default=[], help="released code bases")
    parser.add_argument("--only", nargs="*", metavar="PART", help="none: all")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("gpu-output"), help="logs and tables")
    parser.add_argument("--table", action="store_true", help="the tables before any run, and stop")
    return parser.parse_args(words)


def parts(asked: argparse.Namespace) -> list[Part]:
    """Return what is to be run, what matters most first."""
    quick = ("--quick",) if asked.quick else ()
    released = tuple(str(folder.resolve()) for folder in asked.released)
    timing = ("benchmarks/gpu_rates.py", "--device", asked.device, *quick)
    found = [
        Part("machine", 60, (*timing, "--machine")),
        checks("steps", 110, [STEPS], "step_in and demo" if asked.quick else "step_in"),
        checks("runs", 70, [STEPS], "prefetch or resumed" if asked.quick else "run"),
        checks("translate", 50, [PICTURES], "[cut or command" if asked.quick else ""),
        checks("graphs", 70, [GRAPHS], "[cut" if asked.quick else ""),
        Part("rates", 170, timing),
        Part("released", 120, ("benchmarks/gpu_released.py", asked.device, *quick, *released)),
        checks("others", 60, other_tests()),
        checks("compile", 120, [STEPS], "compiled"),
        Part("compiled", 120, (*timing, "--compiled")),
    ]
    left_out = {"compile", "compiled"} if asked.quick else set()
    left_out |= set() if released else {"released"}
    wanted = asked.only or {part.name for part in found} - left_out
    return [part for part in found if part.name in wanted]


def checks(name: str, seconds: float, files: Sequence[str], only: str = "") -> Part:
    """Return the part that runs tests marked gpu of some files, by a piece of their names."""
    plain = ("-q", "--tb=short", "-p", "no:cacheprovider", "-p", "gpu_plugin", "-W", "ignore")
    words = ("-m", "pytest", *plain, "-m", "gpu", *(("-k", only) if only else ()), *files)
    return Part(name, seconds, words, lines=False)


def other_tests() -> list[str]:
    """Return the files with tests marked gpu that no part of their own runs."""
    paths = (path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py")))
    marked = (str(path) for path in paths if MARK in (ROOT / path).read_text(encoding="utf-8"))
    return [path for path in marked if path not in (STEPS, GRAPHS, PICTURES)]


def environment_of(asked: argparse.Namespace, scratch: Path) -> dict[str, str]:
    """Return the environment of all parts: this very copy, and the packages that were carried."""
    carried = [] if asked.packages is None else [str(unpacked(asked.packages.resolve(), scratch))]
    paths = [str(ROOT), str(ROOT / "benchmarks"), *carried, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Whatever else that Python has: only what is needed here takes part.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "I2I_TEST_GPU": asked.device,
        "I2I_HOME": str(scratch / "home"),
    }


def unpacked(folder: Path, scratch: Path) -> Path:
    """Return a folder to import from: that of the packages, or what its wheels hold."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        return folder
    target = scratch / "packages"
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            archive.extractall(target)
    # Where an installer would put these.
    for inner in target.glob("*.data/*lib"):
        shutil.copytree(inner, target, dirs_exist_ok=True)
    return target


def run(part: Part, limit: float, environment: Mapping[str, str], out: Path) -> Outcome:
    """Run a part to its end, or end it with all that it started when its time is over."""
    log, report = out / f"{part.name}.log", out / f"{part.name}.jsonl"
    report.write_text("", encoding="utf-8")
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as errors, report.open("a", encoding="utf-8") as lines:
        process = subprocess.Popen(
            [sys.executable, *part.words],
            cwd=ROOT,
            env={
                **environment,
                "I2I_GPU_REPORT": str(report.resolve()),
                "I2I_GPU_SECONDS": str(limit),
            },
            stdin=subprocess.DEVNULL,
            stdout=lines if part.lines else errors,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
    texts = report.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [json.loads(text) for text in texts if text.startswith("{") and text.endswith("}")]
    seconds = time.monotonic() - started
    return Outcome(found, fault_of(code, limit, log, has_lines=bool(found)), seconds)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def fault_of(code: int | None, limit: float, log: Path, *, has_lines: bool) -> str:
    """Return why a part did not end well; nothing where its lines say all."""
    if code is None:
        return f"out of time after {limit:.0f} s"
    # pytest ends with 1 where tests failed, which their own lines say.
    if code == 0 or code == 1 and has_lines:
        return "" if has_lines else "it reported nothing"
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
    return f"it ended with {code}: {last}"


def say(text: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
