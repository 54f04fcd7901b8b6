"""`i2i train` and `i2i resume` as they are typed."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from io import StringIO
from pathlib import Path

import pytest
from near_worker import near_workers
from rich.console import Console

from i2icli.cli.progress import MESSAGES
from i2icli.cli.training import BarView
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.training.reporter import Progress

TINY = """
[method]
name = "cut"
nce_layers = [0, 4]
num_patches = 8
projection_dim = 8
[method.generator]
width = 4
blocks = 1
[method.discriminator]
width = 4
layers = 1
[data]
resize = 20
crop = 16
[train]
epochs = 3
[samples]
every_steps = 0
[checkpoint]
every_steps = 2
[log]
every_steps = 2
tensorboard = "off"
[runtime]
device = "cpu"
workers = 0
"""


@pytest.fixture
def preset(here):
    (here / "small.toml").write_text(TINY)
    return "small.toml"


@pytest.fixture
def train(i2i, preset, picture_root):
    """Return a call of `i2i train` with the small preset on tiny pictures."""
    return lambda *words: i2i("train", "--preset", preset, "--data", picture_root, *words)


def test_train_and_resume_end_with_the_next_command(i2i, train):
    code, out, err = train("--steps", 3)
    assert code == 0
    assert out.splitlines() == [
        "done: step 3, epoch 1, in runs/small-001",
        "translate: i2i translate runs/small-001/checkpoints/last.pt IN OUT",
    ]
    assert "step 2/3 epoch 1" in err
    assert "generator: gan" in err
    code, out, _ = i2i("resume", "runs/small-001")
    assert code == 0
    assert "runs/small-001 is finished: step 3, epoch 1." in out
    assert "To train on: i2i resume runs/small-001 --steps 6" in out
    assert i2i("resume", "runs/small-001", "--steps", 4)[0] == 0
    assert load_checkpoint(Path("runs/small-001/checkpoints/last.pt")).step == 4


def test_json_is_one_object_on_stdout_and_all_else_on_stderr(train):
    code, out, err = train("--steps", 2, "--json", "--run-dir", "mine")
    assert code == 0
    document = json.loads(out)
    assert document["run_dir"] == "mine"
    assert document["checkpoint"] == "mine/checkpoints/last.pt"
    assert (document["step"], document["epoch"]) == (2, 1)
    assert document["seconds"] > 0
    assert document["metrics"]["generator/gan"] > 0
    assert "run folder mine" in err


def test_flags_go_into_the_configuration_of_the_run(i2i, preset, picture_root):
    words = ["--preset", preset, "--data", os.path.relpath(picture_root), "--steps", 1]
    words += ["--seed", 7, "--device", "cpu", "--set", "method.temperature=0.1"]
    assert i2i("train", *words)[0] == 0
    document = tomllib.loads(Path("runs/small-001/config.toml").read_text())
    assert document["train"] == {"seed": 7, "steps": 1}
    assert document["data"]["root"] == os.path.abspath(picture_root)
    assert document["runtime"]["device"] == "cpu"
    assert document["method"]["temperature"] == 0.1
    command = Path("runs/small-001/command.txt").read_text()
    assert shlex.split(command)[:4] == ["i2i", "train", "--preset", preset]


def test_epochs_flag_replaces_a_stop_by_steps(train):
    assert train("--epochs", 1, "--set", "train.steps=3")[0] == 0
    assert load_checkpoint(Path("runs/small-001/checkpoints/last.pt")).step == 8


def test_budget_flag_replaces_a_stop_by_steps_and_ends_well(i2i, train):
    settings = ("--set", "train.steps=3", "--set", "method.schedule.epochs=100000")
    code, out, err = train("--budget", "1s", *settings)
    assert code == 0
    assert out.startswith("done: step ")
    assert "the budget of 1s is used: stopped after step " in err
    document = tomllib.loads(Path("runs/small-001/config.toml").read_text())
    assert document["train"] == {"seed": 0, "budget": "1s"}
    code, out, _ = i2i("resume", "runs/small-001")
    assert code == 0
    assert ", its budget of 1s used." in out
    assert "To train on: i2i resume runs/small-001 --budget 1m" in out
    step = load_checkpoint(Path("runs/small-001/checkpoints/last.pt")).step
    assert i2i("resume", "runs/small-001", "--steps", step + 1)[0] == 0


def test_train_without_data_uses_the_demo_set_and_says_so(i2i, preset, picture_root, monkeypatch):
    monkeypatch.setattr("i2icli.datasets.demo.demo_set.demo_folder", lambda *_, **__: picture_root)
    code, _, err = i2i("train", "--preset", preset, "--steps", 1)
    assert code == 0
    assert "no --data given: training on the built-in demo set" in err


def test_train_from_weights_prints_what_was_loaded(train):
    assert train("--steps", 1)[0] == 0
    narrower = ("--set", "method.projection_dim=4")
    code, _, err = train("--steps", 1, *narrower, "--init-from", "runs/small-001")
    assert code == 0
    assert "weights from runs/small-001/checkpoints/last.pt (step 1)" in err
    assert "use `i2i resume`" in err
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert "network loaded fresh mismatched unused" in lines
    assert "discriminator 7 - - -" in lines
    assert "projector - - 8 -" in lines
    assert "generator 20 - - -" in lines
    assert "all 27 - 8 -" in lines
    assert "mismatched: projector.mlp_0.0.weight, 8 x 3 there, 4 x 3 here" in lines


def test_a_run_with_more_pictures_begins_from_another_and_as_it_was_configured(
    train, i2i, picture_root, tmp_path
):
    assert train("--steps", 1)[0] == 0
    more = shutil.copytree(picture_root, tmp_path / "more")
    shutil.copy(more / "trainA/00.png", more / "trainA/new.png")
    code, _, err = i2i("resume", "runs/small-001", "--steps", 2, "--data", more)
    assert code == 3
    command = err.rpartition("start a new run from these weights with ")[2].strip().strip("`.")
    assert command == f"i2i train --init-from runs/small-001 --data {more}"
    code, _, err = i2i(*shlex.split(command)[1:], "--set", "data.crop=12")
    assert code == 0
    assert "weights from runs/small-001/checkpoints/last.pt (step 1)" in err
    before, after = (
        tomllib.loads(Path(f"runs/small-{number}/config.toml").read_text())
        for number in ("001", "002")
    )
    assert after["data"] == {**before["data"], "root": str(more), "crop": 12}
    assert {**after, "data": None} == {**before, "data": None}


def test_a_dry_run_from_weights_needs_no_preset_either(train, i2i):
    assert train("--steps", 1)[0] == 0
    with near_workers():
        code, out, _ = i2i("train", "--init-from", "runs/small-001", "--dry-run")
    assert code == 0
    assert "method.generator.width" in out


def test_resume_takes_the_folder_to_which_the_data_set_moved(train, i2i, picture_root, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(picture_root, first)
    assert train("--steps", 1, "--data", first)[0] == 0
    first.rename(second)
    code, _, err = i2i("resume", "runs/small-001", "--steps", 2)
    assert code == 3
    command = err.rpartition("same ones: ")[2].strip().strip("`.")
    assert command == f"i2i resume runs/small-001 --data {second}"
    assert i2i(*shlex.split(command)[1:], "--steps", 2)[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "--preset is missing: `i2i presets list`"),
        (("--preset", "small.toml", "--steps", "2", "--epochs", "1"), 2, "give one of them"),
        (("--preset", "small.toml", "--steps", "2", "--budget", "1h"), 2, "give one of them"),
        (("--preset", "small.toml", "--budget", "2"), 2, "--budget '2' is no time such as 90m"),
        (("--preset", "no-such-preset"), 2, "no-such-preset"),
        (("--preset", "small.toml", "--data", "gone"), 3, "--data gone is no folder"),
        (("--preset", "small.toml", "--device", "cuda:77"), 2, "cuda:77 is not on this machine"),
        (("--preset", "small.toml", "--set", "data.crp=4"), 2, "data.crp"),
        (("--preset", "small.toml", "--run-dir", "."), 2, "name another"),
        (("--preset", "small.toml", "--init-from", "gone.pt"), 2, "no checkpoint at gone.pt"),
    ],
)
def test_wrong_command_is_refused_with_a_sentence(i2i, preset, picture_root, words, code, said):
    data = () if "--data" in words else ("--data", picture_root)
    ended, out, err = i2i("train", *words, *data)
    assert ended == code
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert not Path("runs").exists()


def test_dry_run_makes_no_folder(train):
    with near_workers():
        code, out, _ = train("--dry-run")
    assert code == 0
    assert "cut" in out
    assert not Path("runs").exists()


def test_run_that_diverges_ends_with_code_5(train):
    code, _, err = train("--set", "method.optimizer.lr=1e30")
    assert code == 5
    assert "was not finite at step" in err
    assert "i2i train --preset runs/small-001/config.toml" in err


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_terminated_run_ends_with_code_75_and_its_command_goes_on(i2i, here, preset, picture_root):
    command = [sys.executable, "-m", "i2icli", "train", "--preset", preset, "--data"]
    command += [str(picture_root), "--steps", "100000", "--set", "runtime.workers=1"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=here
    )
    assert any(line.startswith("step 2/") for line in process.stderr)
    os.killpg(process.pid, signal.SIGTERM)  # as a scheduler does: the loaders get it too
    _, err = process.communicate(timeout=300)
    assert process.returncode == 75
    assert "stopped by SIGTERM after step" in err
    resume = err.rsplit("`", 2)[1]
    assert resume == "i2i resume runs/small-001"
    saved = load_checkpoint(here / "runs/small-001/checkpoints/last.pt").step
    assert saved >= 2
    assert i2i(*shlex.split(resume)[1:], "--steps", saved + 1)[0] == 0
    assert load_checkpoint(here / "runs/small-001/checkpoints/last.pt").step == saved + 1


def test_bar_shows_steps_and_newest_losses_on_a_terminal():
    text = StringIO()
    view = BarView(Console(file=text, force_terminal=True, width=80, legacy_windows=False))
    view.started(Progress(2, 4, 1))
    MESSAGES.show("run folder [runs/x]")
    view.stepped(Progress(3, 4, 1))
    line = {"step": 3, "generator/gan": 0.51234, "generator/lr": 0.1}
    view.logged(Progress(3, 4, 1), {**line, "images_per_s": 2.0, "data_wait": 0.25})
    view.logged(Progress(3, 4, 1), {"step": 3, "eval/truth_total": 0.2})
    view.finished()
    shown = text.getvalue()
    assert "run folder [runs/x]" in shown
    assert "3/4" in shown
    assert "generator: gan 0.5123; 2 images/s, data wait 25%" in shown
    assert "step 3  eval: truth_total 0.2" in shown
    assert "lr" not in shown


def test_bar_says_times_in_words():
    passed = [0.0]
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=120, legacy_windows=False)
    view = BarView(console)
    view._bar.get_time = lambda: passed[0]
    view.started(Progress(0, 1000, 1))
    assert "1.0 s so far - left" in " ".join(shown_by(view))
    for step in range(1, 4):
        passed[0] += 120.0
        view.stepped(Progress(step, 1000, 1))
    assert "6.0 minutes so far 1 day 9 hours left" in " ".join(shown_by(view))
    view.finished()


def shown_by(view):
    """Return the words of a bar."""
    console = Console(file=StringIO(), width=120)
    with console.capture() as shown:
        console.print(view._bar.make_tasks_table(view._bar.tasks))
    return shown.get().split()


def test_train_without_a_preset_names_the_one_for_this_machine(i2i, monkeypatch):
    monkeypatch.setattr("i2icli.config.presets.default_preset", lambda device: f"for-{device}")
    code, _, err = i2i("train", "--device", "cpu")
    assert code == 2
    assert "`i2i train --preset for-cpu --data DIR` is made for a machine without a GPU; " in err
