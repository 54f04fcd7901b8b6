"""Measure how good a preset's translations are after so much time of training; see README.md.

python benchmarks/quality.py horse2zebra/ --out runs/quality                 rows without training
python benchmarks/quality.py horse2zebra/ --out runs/quality --preset cut --hours 2
python benchmarks/quality.py horse2zebra/ --out runs/quality --outputs theirs/ --at 60 --name other
python benchmarks/quality.py --table runs/quality

Killed and started again it goes on where it was: measurements that are there are kept.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import quality_table
import record
import torch
from PIL import Image
from quality_run import Course, alarms_up, ask, keep_facts, read, seconds_a_step, write

from i2icli.config.sections import HealthConfig
from i2icli.metrics.alarms import picture_alarms
from i2icli.metrics.appearance import References, describe_references
from i2icli.pictures.images import read_picture
from i2icli.pictures.listing import evenly_spaced, list_by_stem, list_pictures
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system.files import whole_folder
from i2icli.version import __version__

MARKS = (10.0, 20.0, 40.0, 60.0, 120.0)  # minutes; then every full hour
HELD_OUT = 10  # with --holdout every so many training pictures are measured on
REFERENCES = 1000  # training pictures that translations are compared with, as in a run


def main() -> None:
    """Train, stop at each mark, measure, go on; or measure what is made already."""
    asked = parse()
    # Our own end must not leave a run behind that trains on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if asked.table is None:
        data = prepare(asked)
        if asked.preset is not None:
            follow(asked, data, asked.out / asked.name)
        elif asked.outputs is not None:
            measure(asked, data, asked.out / asked.name, asked.outputs, mark=asked.at)
        else:
            measure_untrained(asked, data)
    if asked.record or asked.table is not None:
        quality_table.write(asked.table or asked.out, asked.results, asked.curve)


def parse() -> argparse.Namespace:
    """Return what was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="trainA, trainB, testA, testB")
    parser.add_argument("--out", type=Path, help="folder of rows of this data set")
    parser.add_argument("--table", type=Path, metavar="FOLDER", help="write table and curve of it")
    parser.add_argument("--preset", help="a name or TOML file; none: the rows that do not train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hours", type=float, default=2.0, help="of training, resumes included")
    parser.add_argument("--marks", help=argparse.SUPPRESS)  # minutes, with commas between
    parser.add_argument("--step-seconds", type=float, help="count steps, of so long on a quiet day")
    parser.add_argument("--outputs", type=Path, help="folder of translations by another program")
    parser.add_argument("--at", type=float, help="with --outputs: minutes that it trained")
    parser.add_argument("--name", help="of the row; none: preset and seed")
    parser.add_argument("--holdout", action="store_true", help="measure on training pictures")
    parser.add_argument("--eval-size", type=int, help="side of test pictures; none: their own")
    parser.add_argument("--direction", choices=("a2b", "b2a"), default="a2b")
    parser.add_argument("--record", action="store_true", help="as --table afterwards")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="file of the table")
    parser.add_argument("--curve", type=Path, help="PNG; none: quality.png beside the table")
    asked = parser.parse_args()
    if asked.table is None and (asked.data is None or asked.out is None):
        parser.error("give DATA and --out FOLDER, or --table FOLDER")
    if asked.outputs is not None and (asked.at is None or asked.name is None or asked.preset):
        parser.error("--outputs FOLDER goes with --at MINUTES and --name X, without --preset")
    if asked.name is None and asked.preset is not None:
        asked.name = f"{Path(asked.preset).stem}-seed{asked.seed}"
    asked.curve = asked.curve or asked.results.with_name("quality.png")
    asked.marks = marks_of(asked.marks, asked.hours)
    return asked


def marks_of(words: str | None, hours: float) -> list[float]:
    """Return the minutes at which a run is measured: those named, or those of a budget."""
    if words is not None:
        return [float(word) for word in words.split(",")]
    end = 60 * hours
    hourly = (60.0 * hour for hour in range(3, math.floor(hours) + 1))
    marks = [mark for mark in (*MARKS, *hourly) if mark < end - 0.5]
    return [*marks, round(end, 1)]


def prepare(asked: argparse.Namespace) -> Path:
    """Return the data set to train and measure on, made of links where it is not DATA itself."""
    facts = {
        "data": str(asked.data.resolve()),
        "holdout": asked.holdout,
        "eval_size": asked.eval_size,
        "direction": asked.direction,
    }
    keep_facts(asked.out / "data.json", facts, remedy="give another --out")
    if not (asked.holdout or asked.eval_size):
        return asked.data.resolve()
    if not (asked.out / "data").exists():
        with whole_folder(asked.out / "data") as draft:
            for domain in "AB":
                link_domain(asked, draft, domain)
    return asked.out.resolve() / "data"


def link_domain(asked: argparse.Namespace, draft: Path, domain: str) -> None:
    """Fill train and test folder of a domain."""
    train = list_pictures(asked.data / f"train{domain}")
    test = train[::HELD_OUT] if asked.holdout else list_pictures(asked.data / f"test{domain}")
    held = set(test)
    folders = {"train": [path for path in train if path not in held], "test": test}
    for name, pictures in folders.items():
        folder = draft / f"{name}{domain}"
        folder.mkdir()
        for path in pictures:
            if name == "test" and asked.eval_size:
                size = (asked.eval_size, asked.eval_size)
                with Image.open(path) as image:
                    small = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
                small.save(folder / f"{path.stem}.png")
            else:
                (folder / path.name).symlink_to(path.resolve())


def follow(asked: argparse.Namespace, data: Path, folder: Path) -> None:
    """Take a run through all marks that are not measured yet."""
    course, before = Course(asked, data, folder), 0
    for mark in asked.marks:
        if (path := row_file(folder, mark)).is_file():
            before = read(path)["step"]
            continue
        checkpoint = course.advance(mark)
        state = load_checkpoint(checkpoint)
        step = state.step
        minutes = step * asked.step_seconds / 60 if asked.step_seconds else state.seconds / 60
        lines = [line for line in course.run.read_metrics() if line["step"] <= step]
        facts = {
            "step": step,
            "minutes": minutes,
            "step_seconds": seconds_a_step(course.run, before, step),
            "others": course.others,
            "clock": f"steps of {asked.step_seconds:g} s" if asked.step_seconds else "wall",
        }
        is_end = course.is_over and checkpoint == course.run.last and mark != asked.marks[-1]
        at = round(minutes, 1) if is_end and minutes < mark - 0.1 else mark
        if not row_file(folder, at).is_file():
            measure(asked, data, folder, checkpoint, mark=at, facts=facts, up=alarms_up(lines))
        course.clean(step)
        before = step
        if is_end:
            sys.stderr.write(f"{course.run.path} came to its end at step {step}\n")
            return


def measure_untrained(asked: argparse.Namespace, data: Path) -> None:
    """Measure the sources as they are, and as many real pictures of the target."""
    sources, _, train = folders_of(asked, data)
    measure(asked, data, asked.out / "identity", sources, mark=0)
    with tempfile.TemporaryDirectory(dir=asked.out) as real:
        # FID depends on the number of pictures.
        count = len(list_pictures(sources))
        for path in evenly_spaced(list_pictures(train), count=count):
            (Path(real) / path.name).symlink_to(path.resolve())
        measure(asked, data, asked.out / "real", Path(real), mark=0)


def folders_of(asked: argparse.Namespace, data: Path) -> tuple[Path, Path, Path]:
    """Return the folders of sources, of real pictures, and of those of training."""
    source, target = ("A", "B") if asked.direction == "a2b" else ("B", "A")
    return data / f"test{source}", data / f"test{target}", data / f"train{target}"


def measure(
    asked: argparse.Namespace,
    data: Path,
    folder: Path,
    subject: Path,
    *,
    mark: float,
    facts: Mapping[str, Any] = MappingProxyType({}),
    up: Sequence[str] = (),
) -> None:
    """Measure a checkpoint's translations, or those in a folder, and write row and pictures.

    Args:
        asked: as `parse` gives it.
        data: the data set.
        folder: of the row.
        subject: the checkpoint, or the folder of pictures.
        mark: minutes; 0: nothing was trained.
        facts: what else the row says.
        up: alarms of the run at this step.
    """
    path = row_file(folder, mark)
    if path.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sources, reals, _ = folders_of(asked, data)
    words = ["eval", "--fid", "--kid", "--mode", "clean", "--json"]
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        outputs = subject
        if subject.is_dir():
            words += ["--fake", str(subject), "--real", str(reals)]
            words += ["--structure", "--inputs", str(sources)] if mark else []
        else:
            outputs = Path(kept) / "made" / "outputs"
            words += ["--structure", str(subject), "--keep", str(outputs.parent)]
        report = ask(words)
        row = {
            "name": folder.name,
            **read(asked.out / "data.json"),
            "mark": mark,
            "minutes": mark,
            **facts,
            **{name: number(found) for name, found in report["metrics"].items()},
            "machine": record.machine("", asked.threads),
            "versions": f"{__version__}, {torch.__version__}",
            "date": time.strftime("%Y-%m-%d"),
        }
        if mark:
            pairs = pairs_of(sources, outputs)
            found = {alarm.name: alarm.saw for alarm in look(asked, data, pairs)}
            row["alarms"] = found | {name: "in the run" for name in up if name not in found}
            quality_table.draw_pictures(pairs, path.with_suffix(".png"))
    write(path, row)
    sys.stdout.write(quality_table.sentence(row) + "\n")


def number(found: Mapping[str, Any]) -> list[float | None]:
    """Return value and ends of the interval of a measurement."""
    interval = found.get("interval") or {}
    return [found["value"], interval.get("low"), interval.get("high")]


def pairs_of(sources: Path, outputs: Path) -> list[tuple[Path, Path]]:
    """Return sources with their translations, in the order of names."""
    made = list_by_stem(outputs)
    return [(path, made[stem]) for stem, path in list_by_stem(sources).items()]


def look(asked: argparse.Namespace, data: Path, pairs: Sequence[tuple[Path, Path]]) -> list[Any]:
    """Return the alarms that translations raise, as a run would at its end."""
    given, made = (
        [read_picture(path).pixels for path in side] for side in zip(*pairs, strict=True)
    )
    references = references_of(folders_of(asked, data)[2])
    return picture_alarms(given, made, references=references, limits=HealthConfig())


@lru_cache(maxsize=1)
def references_of(folder: Path) -> References:
    """Return training pictures of the target, as far as copies are sought among them."""
    chosen = evenly_spaced(list_pictures(folder), count=REFERENCES)
    return describe_references(read_picture(path, channels=3).pixels for path in chosen)


def row_file(folder: Path, mark: float) -> Path:
    """Return the file of a row."""
    return folder / f"at-{mark:g}.json"


if __name__ == "__main__":
    main()
