"""benchmarks/quality.py: runs stopped at marks, measured, and put into a table and a curve."""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("method.generator.width=4", "method.discriminator.width=4", "data.resize=36")
SMALL += ("data.crop=32", "runtime.workers=0", "log.every_steps=1", "runtime.device=cpu")


@pytest.fixture
def scripts(monkeypatch):
    """Return what the script defines; its own modules are imported afresh."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("record", "quality_run", "quality_table"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return runpy.run_path(str(ROOT / "benchmarks" / "quality.py"))


@pytest.fixture
def run_script(scripts, monkeypatch, picture_root):
    """Return a function that runs the script with measurements made up, and what was measured."""
    measured = []

    def ask(words):
        """Answer as a measurement that needs weights would."""
        measured.append(words)
        if "--keep" in words:
            kept = Path(words[words.index("--keep") + 1]) / "outputs"
            shutil.copytree(picture_root / "testA", kept)
        interval = {"low": 0.1, "high": 0.3}
        return {"metrics": {name: {"value": 0.2, "interval": interval} for name in ("fid", "kid")}}

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, words)])
        scripts["main"]()
        return measured

    scripts["main"].__globals__["ask"] = ask
    return run


def asked_for(**changed):
    """Return what a small run is asked for."""
    asked = {"preset": "cut", "set": list(SMALL), "seed": 0, "threads": 1, "direction": "a2b"}
    return argparse.Namespace(**asked | {"step_seconds": None} | changed)


def row(name, mark, **more):
    """Return a row as it is kept."""
    facts = {"data": "/d/h2z", "holdout": False, "eval_size": None, "direction": "a2b"}
    facts |= {"machine": "m", "versions": "v", "date": "d", "kid": [0.2, 0.1, 0.3]}
    return {"name": name, "mark": mark, "minutes": mark, "alarms": {}, **facts, **more}


def trained(mark, **more):
    """Return a row of a run."""
    return row("cut-seed0", mark, clock="wall", **more)


def put(folder, *rows):
    """Keep rows in a folder of measurements."""
    for each in rows:
        file = folder / each["name"] / f"at-{each['mark']:g}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(each))


def test_a_budget_is_measured_at_its_marks_and_at_its_end(scripts):
    marks_of = scripts["marks_of"]
    assert marks_of(None, 2) == [10, 20, 40, 60, 120]
    assert marks_of(None, 5) == [10, 20, 40, 60, 120, 180, 240, 300]
    assert marks_of(None, 0.5) == [10, 20, 30]
    assert marks_of("0.2,0.4", 2) == [0.2, 0.4]


def test_a_run_stops_at_a_mark_saved_and_is_not_over(scripts, tmp_path, picture_root):
    course = scripts["Course"](asked_for(marks=[0.02, 9]), picture_root, tmp_path / "row")
    state = load_checkpoint(course.advance(0.02))
    steps = [line["step"] for line in course.run.read_metrics()]
    assert 0 < state.step == steps[-1]
    assert 60 * 0.02 <= state.seconds < 30
    assert not course.is_over
    assert course.run.read_config()["train"]["budget"] == "9m"
    assert course.advance(0.02) == course.run.last  # nothing is left to do


@pytest.mark.slow
def test_marks_by_steps_are_exact_and_a_second_start_goes_on(run_script, tmp_path, picture_root):
    out, results = tmp_path / "out", tmp_path / "results.md"
    words = [picture_root, "--out", out, "--preset", "cut", "--threads", "1", "--name", "mine"]
    words += ["--step-seconds", "6", "--record", "--results", results]
    words += [word for setting in SMALL for word in ("--set", setting)]
    assert len(run_script(*words, "--marks", "0.2,0.4")) == 2
    first, second = (json.loads((out / f"mine/at-{mark}.json").read_text()) for mark in (0.2, 0.4))
    assert (first["step"], second["step"]) == (2, 4)
    assert second["minutes"] == pytest.approx(0.4)
    assert second["step_seconds"] > 0
    assert second["alarms"] == {}
    with Image.open(out / "mine/at-0.4.png") as grid:
        assert grid.height > grid.width / 2
    checkpoints = RunFolder(out / "mine/run").checkpoints
    assert not list(checkpoints.glob("step-000000[0-4].pt"))
    assert len(run_script(*words, "--marks", "0.2,0.4,0.8")) == 3
    assert json.loads((out / "mine/at-0.8.json").read_text())["step"] == 8
    table = [line for line in results.read_text().splitlines() if line.startswith("| mine")]
    assert [line.split(" | ")[2:4] for line in table] == [["0.2", "2"], ["0.4", "4"], ["0.8", "8"]]
    with pytest.raises(SystemExit, match="begun with seed 0, not 1: give another --name"):
        run_script(*words, "--marks", "0.2,0.4", "--seed", "1")


@pytest.mark.slow
def test_the_last_mark_is_a_budget_that_more_hours_change(run_script, tmp_path, picture_root):
    out = tmp_path / "out"
    words = [picture_root, "--out", out, "--preset", "cut", "--threads", "1"]
    words += [word for setting in SMALL for word in ("--set", setting)]

    def step_at(name, mark):
        kept = json.loads((out / name / f"at-{mark}.json").read_text())
        assert kept["clock"] == "wall"
        return kept["step"]

    shares = ["--name", "shares", "--set", "method.schedule.policy=shares"]
    run_script(*words, *shares, "--marks", "0.2")
    config = RunFolder(out / "shares/run").read_config()
    assert config["train"]["steps"] == step_at("shares", 0.2)  # the schedule came to its end
    for marks in ("0.1", "0.1,0.2"):
        measured = run_script(*words, "--marks", marks)
    assert len(measured) == 3
    assert step_at("cut-seed0", 0.2) > step_at("cut-seed0", 0.1)


def test_pictures_that_are_made_and_rows_that_do_not_train_are_measured(
    run_script, tmp_path, picture_root
):
    run_script(picture_root, "--out", tmp_path)
    given = [picture_root, "--out", tmp_path, "--outputs", picture_root / "testA"]
    measured = run_script(*given, "--at", "60", "--name", "theirs")
    assert [("--structure" in words) for words in measured] == [False, False, True]
    assert measured[0][measured[0].index("--fake") + 1] == str(picture_root / "testA")
    theirs = json.loads((tmp_path / "theirs/at-60.json").read_text())
    assert (theirs["minutes"], theirs["kid"]) == (60, [0.2, 0.1, 0.3])
    assert (tmp_path / "theirs/at-60.png").is_file()
    assert {path.parent.name for path in tmp_path.glob("*/at-0.json")} == {"identity", "real"}
    with pytest.raises(SystemExit, match="direction a2b, not b2a: give another --out"):
        run_script(*given, "--at", "90", "--name", "theirs", "--direction", "b2a")


def test_held_out_pictures_are_taken_from_training(scripts, tmp_path, picture_root):
    asked = argparse.Namespace(data=picture_root, out=tmp_path, holdout=True)
    asked.eval_size, asked.direction = 20, "a2b"
    root = scripts["prepare"](asked)
    for domain in "AB":
        every = sorted(path.stem for path in (picture_root / f"train{domain}").iterdir())
        train, test = ((root / f"{part}{domain}") for part in ("train", "test"))
        assert sorted(path.stem for path in test.iterdir()) == every[::10]
        assert sorted(path.stem for path in train.iterdir()) == sorted({*every} - {*every[::10]})
        for path in test.iterdir():
            with Image.open(path) as image:
                assert image.size == (20, 20)
    assert scripts["prepare"](asked) == root


def test_rows_stand_once_in_the_table_and_draw_a_curve(scripts, tmp_path):
    table, results = sys.modules["quality_table"], tmp_path / "results.md"
    results.write_text("# Results\n\ntext\n")
    runs = [row("identity", 0), trained(10, step=300), trained(20, step=600)]
    put(tmp_path, *runs)
    table.write(tmp_path, results, tmp_path / "curve.png")
    put(tmp_path, trained(20, step=601, minutes=22.5, alarms={"copying": "it does"}))
    put(tmp_path, trained(40, step=900))
    results.write_text(results.read_text() + "\n## After\n")
    table.write(tmp_path, results, tmp_path / "curve.png")
    lines = results.read_text().splitlines()
    assert lines[:5] == ["# Results", "", "text", "", "## Time to quality"]
    assert lines[-1] == "## After"
    cells = [line.split(" | ") for line in lines if "h2z" in line]
    assert [each[0] for each in cells] == ["| identity", *["| cut-seed0"] * 3]
    assert [each[2:4] for each in cells] == [
        *(["-", "-"], ["10", "300"], ["20", "601"], ["40", "900"]),
    ]
    assert [each[9] for each in cells] == ["-", "none", "copying", "none"]
    assert [each[10] for each in cells] == ["-", "wall", "wall, 22.5 minutes", "wall"]
    assert cells[0][7] == "0.2000 (0.1000 to 0.3000)"
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.width > 500
    with pytest.raises(SystemExit, match="holds no rows"):
        table.write(tmp_path / "none", results, tmp_path / "curve.png")


def test_alarms_stay_up_until_they_are_cleared(scripts):
    lines = [{"step": 1, "alarm": "collapse"}, {"step": 2, "alarm": "discriminator-won"}]
    assert scripts["alarms_up"](lines) == ["collapse", "discriminator-won"]
    assert scripts["alarms_up"]([*lines, {"step": 3, "cleared": "collapse"}]) == [
        "discriminator-won"
    ]
