"""Steps that take twice as long as earlier in the run are said once, with their cause."""

from pathlib import Path

import pytest
from engine_kit import Watcher, pair_config

from i2icli.config.sections import RuntimeConfig
from i2icli.runs.folder import RunFolder
from i2icli.system.cores import Load
from i2icli.training import logs, pace
from i2icli.training.logs import Clock
from i2icli.training.pace import PaceWatch, Slowdown, Stretch
from i2icli.training.run import start_run

QUIET, CROWDED = Load(0.1, 2, 2), Load(1.2, 2, 2)
FAST, SLOW = Stretch(50, 15.0), Stretch(50, 31.0)
RUN = RunFolder(Path("runs/a"))


class Machine:
    """Stands for what looks at the load."""

    def __init__(self, load):
        self.load = load

    def look(self):
        return self.load


def watch(load=QUIET, lines=()):
    return PaceWatch(lines, Machine(load))


def test_steps_are_held_to_the_fastest_after_the_first_stretch():
    watching = watch(CROWDED)
    first = Stretch(50, 10.0)  # were it counted, all that follows would be slow
    assert [watching.look_at(each) for each in (first, SLOW, SLOW, FAST, SLOW)] == [None] * 5
    assert watching.look_at(SLOW) == Slowdown(SLOW, 0.3, CROWDED)


def test_slow_steps_are_said_once():
    watching = watch()
    said = [watching.look_at(each) for each in (FAST, FAST, *(SLOW,) * 5, FAST, *(SLOW,) * 5)]
    assert [index for index, each in enumerate(said) if each] == [3]


def test_a_single_slow_stretch_and_one_under_twice_are_not_said():
    watching = watch()
    less = Stretch(50, 29.0)
    assert not any(watching.look_at(each) for each in (FAST, FAST, *(SLOW, FAST, less, less) * 3))


def test_short_intervals_of_the_log_are_put_together():
    watching = watch()
    intervals = [Stretch(1, 0.5)] * 40 + [Stretch(1, 1.1)] * 39
    assert not any(watching.look_at(each) for each in intervals)
    assert watching.look_at(Stretch(1, 1.1)) == Slowdown(
        Stretch(20, pytest.approx(22.0)), pytest.approx(0.5), QUIET
    )


def lines_of(*seconds):
    lines, total = [], 0.0
    for number, each in enumerate(seconds, 1):
        total += each
        lines.append({"step": 50 * number, "seconds": total, "images_per_s": 1.0})
        lines.append({"step": 50 * number, "eval/fid": 3.0})
    return lines


def test_resumed_run_is_held_to_what_its_log_says():
    watching = watch(lines=[*lines_of(1.0, 40.0, 15.0), {**lines_of(1.0)[0], "partial": True}])
    assert not any(watching.look_at(SLOW) for _ in range(2))
    assert watching.look_at(SLOW).usual == 0.3
    # The first line took in what starting takes; without another there is nothing to hold it to.
    assert not any(watch(lines=lines_of(1.0)).look_at(SLOW) for _ in range(4))


WAITING = Stretch(50, 10.0, 30.0)


@pytest.mark.parametrize(
    ("now", "load", "threads", "cause"),
    [
        (
            SLOW,
            CROWDED,
            2,
            "other programs take 1.2 of 2 CPUs. End them, or stop, set `runtime.threads` to 1 "
            "(now 2) in runs/a/config.toml, and go on with `i2i resume runs/a`",
        ),
        (SLOW, CROWDED, 1, "other programs take 1.2 of 2 CPUs. End them"),
        (
            WAITING,
            CROWDED,
            2,
            "75% of that is waiting for pictures. Try more `runtime.workers` in "
            "runs/a/config.toml (now 3), or `i2i data cache`",
        ),
        (
            SLOW,
            QUIET,
            2,
            "neither pictures nor other programs hold it up, but a slower machine than before may, "
            "one that saves power, or want of memory. `i2i doctor --preset runs/a/config.toml` "
            "measures a step by itself",
        ),
        (
            SLOW,
            None,
            2,
            "pictures are not what it waits for, and what other programs take is not known. "
            "`i2i doctor --preset runs/a/config.toml` measures a step by itself",
        ),
    ],
)
def test_sentence_names_the_cause_and_what_to_try(now, load, threads, cause):
    said = Slowdown(now, 0.3, load).sentence(RuntimeConfig(workers=3), RUN, threads=threads)
    begin, _, rest = said.partition(" (300 ms): ")
    assert begin.startswith(f"a step takes {1000 * now.seconds:.0f} ms, ")
    assert begin.endswith(f"{now.seconds / 0.3:.1f} times as long as earlier in this run")
    assert rest == cause


def test_drawing_measuring_and_saving_are_in_no_step(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(logs.time, "perf_counter", lambda: now[0])

    def spend(seconds):
        now[0] += seconds

    clock = Clock()
    for _ in range(2):
        with clock.waiting():
            spend(1.0)
        spend(2.0)
        clock.count(4)
        with clock.aside():
            spend(5.0)
    assert clock.stretch() == Stretch(2, 4.0, 2.0)
    assert clock.interval() == {"seconds": 16.0, "images_per_s": 0.5, "data_wait": 0.125}
    assert clock.stretch() == Stretch()


@pytest.mark.usefixtures("pair")
def test_run_says_that_it_is_slow(picture_root, tmp_path, monkeypatch):
    seen = []

    def look_at(_, stretch):
        seen.append(stretch.steps)
        return Slowdown(SLOW, 0.3, CROWDED) if len(seen) == 2 else None

    monkeypatch.setattr(pace.PaceWatch, "look_at", look_at)
    watcher = Watcher()
    start_run(pair_config(picture_root, steps=6), run_dir=tmp_path / "run", reporter=watcher)
    assert seen == [2, 2, 2]
    (said,) = [note for note in watcher.notes if note.startswith("a step takes")]
    assert said.endswith("(300 ms): other programs take 1.2 of 2 CPUs. End them")
