"""Damage checkpoints and make up hostile files of weights, and count what becomes of them.

Each file is opened in a process of its own, as a command would open it. It may be refused by an
error for the user, or be used; of damaged checkpoints nothing may be used but tensors that are
equal bit for bit. Anything else that is raised, more than 1 GiB of memory beyond the imports and
more than ten seconds of a core are faults, and the exit code says whether there was one:

    python scripts/damage.py             # 200 flips, 50 cuts, 200 flips of data.pkl, 200 files
    python scripts/damage.py --share 10  # a tenth of them
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from i2icli.errors import I2IError
from i2icli.interop.importing import import_released
from i2icli.methods import configure_run
from i2icli.pretrained.networks import load_table
from i2icli.pretrained.weights import WEIGHTS, check_file
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.training.run import resume_run, start_run
from i2icli.translation.translator import load_translator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "kits"))
from hostile_files import hostile_files, rewrite  # noqa: E402

SEED = 20_260
MOST_BYTES, MOST_SECONDS = 1 << 30, 10.0
GOOD = ("refused", "alike", "used")
SMALL = (
    *("method.generator.width=4", "method.generator.blocks=2", "method.discriminator.width=4"),
    *("method.nce_layers=[0,4,8]", "method.num_patches=8", "method.projection_dim=8"),
    *("data.resize=36", "data.crop=32", "runtime.workers=0", "runtime.device=cpu", "train.steps=2"),
    *("log.tensorboard=off", "samples.every_steps=0", "checkpoint.keep_every_steps=1"),
)


def make_run(folder: Path) -> Path:
    """Train a very small network for two steps and return its run folder."""
    draw = np.random.default_rng(SEED)
    for domain in ("trainA", "trainB"):
        (folder / "set" / domain).mkdir(parents=True)
        for number in range(2):
            pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "set" / domain / f"{number}.png")
    settings = [*SMALL, f"data.root={json.dumps(str(folder / 'set'))}"]
    start_run(configure_run("cut", settings), run_dir=folder / "run")
    return folder / "run"


def flips(content: bytes, count: int, draw: random.Random, start: int, end: int) -> Iterator[bytes]:
    """Yield contents of which one byte between two positions is another."""
    for _ in range(count):
        spoilt = bytearray(content)
        spoilt[draw.randrange(start, end)] ^= draw.randrange(1, 256)
        yield bytes(spoilt)


def flips_with_sums(file: Path, count: int, draw: random.Random) -> Iterator[bytes]:
    """Yield archives whose pickle has another byte and whose sums are right, as if written so."""
    with zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        pickled = archive.read(name)
    for spoilt in flips(pickled, count, draw, 0, len(pickled)):
        yield rewrite(file, {name: spoilt})


def judged_checkpoint(good: Path) -> Callable[[Path], str]:
    """Return the function that opens a copy and says whether its tensors are those of `good`."""
    wanted = tensors_of(vars(load_checkpoint(good)))

    def open_copy(path: Path) -> str:
        found = tensors_of(vars(load_checkpoint(path)))
        is_alike = found.keys() == wanted.keys() and all(
            found[name].dtype == wanted[name].dtype and torch.equal(found[name], wanted[name])
            for name in wanted
        )
        return "alike" if is_alike else "used"

    return open_copy


def tensors_of(value: object, name: str = "") -> dict[str, torch.Tensor]:
    """Return all tensors of nested values by their paths."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items: Any = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    return {n: t for key, item in items for n, t in tensors_of(item, f"{name}/{key}").items()}


def uses(run: Path) -> dict[str, Callable[[Path], object]]:
    """Return the ways in which commands open a file of weights."""

    def resume(path: Path) -> object:
        with tempfile.TemporaryDirectory() as name:
            copy = shutil.copytree(run, Path(name) / "run")
            path.replace(copy / "checkpoints" / "last.pt")
            return resume_run(copy, steps=3)

    return {
        "translate": lambda path: load_translator(path, device="cpu"),
        "resume": resume,
        "import": lambda path: import_released(path, path.with_suffix(".imported"), alone=True),
        "add": lambda path: check_file(WEIGHTS["alexnet"], path),
        "add inception": lambda path: check_file(WEIGHTS["inception"], path),
        "backbone": lambda path: load_table(str(path)),
    }


def try_out(use: Callable[[Path], object], path: Path) -> str:
    """Open a file in a process of its own; return what became of it."""
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=_open, args=(use, path, theirs))
    child.start()
    theirs.close()
    has_answer = ours.poll(30 * MOST_SECONDS)  # other programs may want the cores too
    try:
        outcome, taken, seconds = ours.recv() if has_answer else ("slow", 0, 0.0)
    except EOFError:
        outcome, taken, seconds = "killed", 0, 0.0
    if child.is_alive() and not has_answer:
        child.kill()
    child.join()
    if outcome in GOOD and taken > MOST_BYTES:
        return "heavy"
    return "slow" if outcome in GOOD and seconds > MOST_SECONDS else outcome


def _open(use: Callable[[Path], object], path: Path, answer: Any) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = _peak(), time.process_time()
    try:
        outcome = use(path)
        outcome = outcome if isinstance(outcome, str) and outcome in GOOD else "used"
    except I2IError as error:
        is_short = len(str(error)) < 1000
        outcome = "refused" if is_short else f"a sentence of {len(str(error))} letters"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
    answer.send((outcome, _peak() - before, time.process_time() - start))
    os._exit(0)


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def count_damage(run: Path, folder: Path, share: int) -> bool:
    """Print a line for each kind of damage; return whether all of it was borne."""
    good, draw = run / "checkpoints" / "last.pt", random.Random(SEED)
    content, copy = good.read_bytes(), folder / "copy.pt"
    kinds = {
        "flips of a checkpoint": flips(content, 200 // share, draw, 0, len(content)),
        "cuts of a checkpoint": (
            content[: draw.randrange(len(content))] for _ in range(50 // share)
        ),
        "flips of its data.pkl": _pickle_flips(good, content, 200 // share, draw),
        "flips of data.pkl, sums made right": flips_with_sums(good, 200 // share, draw),
    }
    is_borne = True
    for kind, contents in kinds.items():
        outcomes: Counter[str] = Counter()
        for spoilt in contents:
            copy.write_bytes(spoilt)
            outcomes[try_out(judged_checkpoint(good), copy)] += 1
        print(f"{kind}: {dict(outcomes.most_common())}", flush=True)
        is_borne &= all(o in GOOD and (o != "used" or "right" in kind) for o in outcomes)
    return is_borne


def _pickle_flips(file: Path, content: bytes, count: int, draw: random.Random) -> Iterator[bytes]:
    with zipfile.ZipFile(file) as archive:
        (info,) = (info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
        start = content.index(archive.read(info))
    return flips(content, count, draw, start, start + info.file_size)


def count_hostile(run: Path, folder: Path, share: int, *, names_used: bool) -> bool:
    """Print a line for hostile files of weights; return whether all were borne."""
    outcomes: Counter[str] = Counter()
    ways, total = uses(run), 0
    for name, way, write in hostile_files(run / "checkpoints" / "last.pt", SEED):
        total += 1
        if total % share:
            continue
        path = folder / "hostile.pt"
        write(path)
        outcome = try_out(ways[way], path)
        outcomes[outcome] += 1
        if outcome not in GOOD or names_used and outcome == "used":
            print(f"  {name}, {way}: {outcome}", flush=True)
    print(f"hostile files: {dict(outcomes.most_common())}")
    return set(outcomes) <= set(GOOD)


def main() -> int:
    """Count, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="name the files that are used, too")
    parser.add_argument("--share", type=int, default=1, help="try one of so many")
    options = parser.parse_args()
    share = options.share
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = make_run(folder)
        is_borne = count_damage(run, folder, share)
        is_held = count_hostile(run, folder, share, names_used=options.all)
        return 0 if is_held and is_borne else 1


if __name__ == "__main__":
    sys.exit(main())
