"""Kill every command that writes, at random moments, and look at what is left behind.

    python scripts/kill_everywhere.py --kills 100 --seed 0

Each command runs once undisturbed, for its time; then it is killed with all its processes a few
times in turn, and after each kill no file that is shown may be half. Then the same command runs to
its end (a run: `i2i resume`), and nothing of the killed ones may be left. Prints a line a command,
and exits with 1 if there was a half file or a leftover.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_TINY = (
    *("--device", "cpu", "--set", "runtime.workers=0", "--set", "log.tensorboard=off"),
    *("--set", "method.generator.width=4", "--set", "method.generator.blocks=2"),
    *("--set", "method.discriminator.width=4", "--set", "data.resize=36", "--set", "data.crop=32"),
    *("--set", "samples.every_steps=2", "--set", "checkpoint.every_steps=2"),
)
_TRAIN = ("train", "--data", "set", *_TINY, "--preset")
_NCE = ("--set", "method.nce_layers=[0,4,8]", "--set", "method.num_patches=16")


@dataclass(frozen=True)
class Case:
    """A command, and where it writes."""

    name: str
    words: tuple[str, ...]
    again: tuple[str, ...] = ()  # what goes on with it, where that is another command


CASES = (
    Case("data demo", ("data", "demo", "out", "--size", "64", "--count", "40")),
    Case("data prepare", ("data", "prepare", "a", "b", "--out", "out", "--resize", "48")),
    Case("data prepare copy", ("data", "prepare", "a", "b", "--out", "out", "--copy")),
    Case("data shard", ("data", "shard", "a", "out", "--size", "8")),
    Case("data get", ("data", "get", "horse2zebra", "--from", "set.zip", "--out", "out")),
    Case("data cache", ("data", "cache", "set", "--preset", "cut")),
    Case("translate", ("translate", "run", "a", "out", "--device", "cpu", "--grid")),
    Case("translate nproc", ("translate", "run", "a", "out", "--device", "cpu", "--nproc", "2")),
    Case("translate shards", ("translate", "run", "shards", "out", "--device", "cpu")),
    Case("train", (*_TRAIN, "cut", "--run-dir", "out", "--steps", "12", *_NCE), ("resume", "out")),
    Case("report", ("report", "run")),
    Case("compare", ("compare", "run", "a", "--device", "cpu")),
    Case("eval keep", ("eval", "run", "--truth-error", "--keep", "out", "--device", "cpu")),
    Case("viz-attention", ("viz-attention", "looked", "a", "out", "--html", "--device", "cpu")),
    Case("import", ("import", "latest_net_G.pth", "out.pt")),
    Case("presets copy", ("presets", "copy", "cut", "out.toml")),
    Case("schema", ("schema", "--out", "out.json")),
)  # fmt: skip


def main() -> None:
    """Run all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="over all commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    args = parser.parse_args()
    cases = [case for case in CASES if case.name in args.only]
    faults, total = [], 0
    with tempfile.TemporaryDirectory() as root:
        source = Path(root) / "source"
        prepare(source)
        for number, case in enumerate(cases):
            kills = args.kills // len(cases) + (number < args.kills % len(cases))
            work = Path(root) / "work"
            found = try_case(case, source, work, kills, random.Random(f"{args.seed} {case.name}"))
            total += kills
            said = "; ".join(found) or "nothing half, nothing left"
            print(f"{case.name:18} {kills:3} kills  {said}")
            sys.stdout.flush()
            faults += found
    print(f"{total} kills, {len(faults)} faults")
    sys.exit(bool(faults))


def try_case(case: Case, source: Path, work: Path, kills: int, draw: random.Random) -> list[str]:
    """Return what was half or left, in words."""
    _renew(source, work)
    started = time.monotonic()
    if fault := _run(case.words, work):
        return [f"does not run at all: {fault}"]
    seconds = time.monotonic() - started
    whole = _files(work)
    _renew(source, work)
    found: list[str] = []
    done = 0
    while done < kills:
        words = case.again if case.again and (work / "out" / "config.toml").exists() else case.words
        if _kill(words, work, after=seconds * draw.uniform(0.4, 1.0)):
            done += 1
        found += [f"half: {name}" for name in _half(work)]
        if whole <= _files(work):  # it was faster
            _renew(source, work)
    words = case.again if case.again and (work / "out" / "config.toml").exists() else case.words
    if fault := _run(words, work):
        found.append(f"does not run again: {fault}")
    now = _files(work)
    found += [f"left: {name}" for name in sorted(now - whole) if _is_leftover(name)]
    found += [f"missing: {name}" for name in sorted(whole - now) if ".lock" not in name]
    return found


def prepare(source: Path) -> None:
    """Make what the commands take: pictures, a set, shards, an archive, runs, a released file."""
    draw = np.random.default_rng(0)
    for folder in ("a", "b", *(f"set/{part}" for part in ("trainA", "trainB", "testA", "testB"))):
        (source / folder).mkdir(parents=True)
        for number in range(24):
            coarse = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8))
            coarse.resize((72, 64)).save(source / folder / f"{number}.png")
    shutil.copytree(source / "set/testA", source / "set/testA_truth")
    with zipfile.ZipFile(source / "set.zip", "w") as archive:
        for path in sorted((source / "set").rglob("*.png")):
            archive.write(path, path.relative_to(source / "set"))
    for name, preset, layers in (("run", "cut", _NCE), ("looked", "qs-attn-global", ())):
        more = layers or ("--set", "method.num_patches=16")
        if fault := _run((*_TRAIN, preset, "--run-dir", name, "--steps", "2", *more), source):
            sys.exit(f"the run {name} could not be made: {fault}")
    if fault := _run(("data", "shard", "a", "shards", "--size", "8"), source):
        sys.exit(fault)
    code = (
        "import torch; w = torch.load('run/checkpoints/last.pt', weights_only=True)['weights']; "
        "torch.save({k.removeprefix('generator.'): v for k, v in w.items() "
        "if k.startswith('generator.')}, 'latest_net_G.pth')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True)


def _renew(source: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work, symlinks=True)


def _start(words: tuple[str, ...], work: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "I2I_HOME": str(work / "home"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "i2icli", *words],
        cwd=work,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(words: tuple[str, ...], work: Path) -> str:
    process = _start(words, work)
    _, said = process.communicate()
    return "" if process.returncode == 0 else (said.strip().splitlines() or ["no word"])[-1][:200]


def _kill(words: tuple[str, ...], work: Path, *, after: float) -> bool:
    process = _start(words, work)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


def _files(work: Path) -> set[str]:
    return {p.relative_to(work).as_posix() for p in work.rglob("*") if not p.is_dir()}


def _is_leftover(name: str) -> bool:
    return ".partial" in name or ".tmp" in name


def _half(work: Path) -> list[str]:
    """Return the files that are shown and cannot be read to their end."""
    names = []
    for path in work.rglob("*"):
        shown = not any(part.startswith(".") for part in path.relative_to(work).parts)
        if shown and path.is_file() and not _is_whole(path):
            names.append(path.relative_to(work).as_posix())
    return names


def _is_whole(path: Path) -> bool:
    try:
        if path.suffix in (".png", ".gif", ".jpg"):
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".tar":
            with tarfile.open(path) as archive:
                archive.getmembers()
            return path.read_bytes()[-1024:] == bytes(1024)
        elif path.suffix in (".zip", ".npz", ".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".toml":
            return bool(tomllib.loads(path.read_text()))
        elif path.suffix == ".html":
            return path.read_text().rstrip().endswith("</html>")
    except Exception:  # whatever it is, the file is not whole
        return False
    return True


if __name__ == "__main__":
    main()
