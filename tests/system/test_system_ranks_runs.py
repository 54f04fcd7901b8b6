"""Runs of two processes: stopped, killed, resumed, started again, and launched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_kit import Watcher, pair_config, state_of, without_timings
from plain_data import assert_same
from tiny import tiny_document

from i2icli.cli.app import app
from i2icli.config.document import config_document, write_toml
from i2icli.errors import ConfigError
from i2icli.methods.shared.configure import run_schema
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.system.messages import collect_messages
from i2icli.system.processes.launch import _wait, run_in_processes
from i2icli.system.ranks import Ranks
from i2icli.training.run import resume_run
from i2icli.training.session import open_session

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")

STEPS = 8
SCRIPT = Path(__file__).parents[1] / "kits" / "ranks_command.py"
NEVER = ("0", "0", "SIGTERM")


def words(*parts):
    return [sys.executable, str(SCRIPT), *map(str, parts)]


def launch(command, capfd):
    """Run a command in two processes; return the exit code and what they said."""
    notes = collect_messages()
    code = run_in_processes(command, 2)
    return code, "\n".join([capfd.readouterr().err, *notes])


@pytest.fixture(scope="module")
def preset(picture_root, tmp_path_factory):
    """Return a run with pools, dropout, samples and an average, as a preset file."""
    method = tiny_document("cyclegan", pool_size=2)
    method["generator"]["dropout"] = True
    document = {
        "method": method,
        "data": {"root": str(picture_root), "resize": 18, "crop": 16, "batch_size": 2},
        "train": {"steps": STEPS},
        "checkpoint": {"every_steps": 2},
        "samples": {"every_steps": 4, "count": 1},
        "log": {"every_steps": 3, "tensorboard": "off"},
        "ema": {"decay": 0.9},
        "runtime": {"device": "cpu", "precision": "float32", "workers": 1, "threads": 1},
    }
    path = tmp_path_factory.mktemp("preset") / "pools.toml"
    path.write_text(write_toml(config_document(run_schema().model_validate(document))))
    return path


@pytest.fixture(scope="module")
def through(preset, tmp_path_factory):
    """Return a run of two processes that nobody disturbed."""
    folder = RunFolder(tmp_path_factory.mktemp("through") / "run")
    command = words(*NEVER, "train", "--preset", preset, "--run-dir", folder.path)
    assert run_in_processes(command, 2) == 0
    return folder


def assert_same_runs(ours, theirs):
    assert_same(state_of(ours.path), state_of(theirs.path))
    lines = [[without_timings(line) for line in run.read_metrics()] for run in (ours, theirs)]
    assert lines[0] == lines[1]
    for step in (0, 4, 8):
        assert ours.sample(step).read_bytes() == theirs.sample(step).read_bytes()


def test_checkpoint_holds_the_pool_and_random_state_of_every_rank(through):
    state = load_checkpoint(through.last)
    (other,) = state.others
    assert state.step == STEPS
    assert torch.equal(state.memory["draws"], other["memory"]["draws"])
    assert not torch.equal(state.rng["cpu"], other["rng"]["cpu"])
    for ours, theirs in zip(
        state.memory["pools"]["fake_b"], other["memory"]["pools"]["fake_b"], strict=True
    ):
        assert not torch.equal(ours, theirs)


def test_metrics_are_means_over_the_ranks(through):
    state = load_checkpoint(through.last)
    key = "generators/cycle_a"
    sums = [meters["sums"][key] for meters in (state.meters, state.others[0]["meters"])]
    assert sums[0] != sums[1]
    last = through.read_metrics()[-1]
    assert last[key] == pytest.approx(float(sum(sums)) / 2 / state.meters["counts"][key])


def test_signal_to_one_rank_stops_both_after_the_same_step_and_resume_is_exact(
    preset, through, tmp_path, capfd
):
    folder = RunFolder(tmp_path / "run")
    start = words(1, 5, "SIGTERM", "train", "--preset", preset, "--run-dir", folder.path)
    code, said = launch(start, capfd)
    assert code == 75
    assert re.search(r"by (SIGTERM|a signal to another process) after step 5 of 8, and saved", said)
    assert said.count("Go on with `i2i resume") == 1
    assert "--nproc 2`" in said
    assert load_checkpoint(folder.last).step == 5
    code, said = launch(words(*NEVER, "resume", folder.path), capfd)
    assert code == 0
    assert "going on from step 5 of 8, on cpu" in said
    assert_same_runs(folder, through)


def test_killed_rank_ends_the_other_with_a_sentence_and_a_run_to_resume(
    preset, through, tmp_path, capfd
):
    folder = RunFolder(tmp_path / "run")
    start = words(1, 4, "SIGKILL", "train", "--preset", preset, "--run-dir", folder.path)
    code, said = launch(start, capfd)
    assert code == 1
    assert "process 1 of 2 was ended by SIGKILL" in said
    assert "process 0 of 2 was ended" not in said  # it noticed by itself
    assert "error: another of the 2 processes of this run ended" in said
    assert f"Go on with `i2i resume {folder.path} --nproc 2`." in said
    assert "Traceback" not in said
    assert load_checkpoint(folder.last).step == 2
    # One process alone can go on, and says that it is not the same.
    watcher = Watcher()
    result = resume_run(folder.path, reporter=watcher)
    assert result.step == STEPS
    assert any("2 process(es) saved this run and 1 go on with it" in n for n in watcher.notes)
    assert load_checkpoint(folder.last).others == []


def test_killed_rank_0_is_told_by_the_other(preset, tmp_path, capfd):
    start = words(0, 2, "SIGKILL", "train", "--preset", preset, "--run-dir", tmp_path / "run")
    code, said = launch(start, capfd)
    assert code == 1
    assert "process 0 of 2 was ended by SIGKILL" in said
    assert "error: another of the 2 processes of this run ended" in said


@pytest.fixture
def launch_by_clock(preset, tmp_path, capfd, monkeypatch):
    """Return a function that trains by a clock of a minute a step, to its folder and words."""
    monkeypatch.setenv("STEP_MINUTES", "1")
    often = ("checkpoint.every_steps=100", "checkpoint.every_minutes=7", "samples.every_minutes=5")
    options = [word for each in (*often, "log.every_steps=100") for word in ("--set", each)]

    def launch_one(name, *stop):
        folder = RunFolder(tmp_path / name)
        start = ("train", "--preset", preset, "--run-dir", folder.path, *options, *stop)
        code, said = launch(words(*NEVER, *start), capfd)
        assert code == 0
        return folder, said

    return launch_one


def test_clock_of_rank_0_decides_for_both(launch_by_clock):
    folder, said = launch_by_clock("ended", "--budget", "6m")
    assert load_checkpoint(folder.last).step == 7
    assert said.count("the budget of 6m is used: stopped after step 7") == 1
    assert said.count("so far: ") == 1
    assert folder.now.exists()


@pytest.mark.slow
def test_clock_of_rank_0_makes_steps_of_a_budget_for_both(launch_by_clock):
    shares = ("method.schedule.policy=shares", "method.schedule.warmup_steps=3")
    in_shares = [word for each in shares for word in ("--set", each)]
    counted, said = launch_by_clock("counted", *in_shares, "--budget", "34m")
    whole, _ = launch_by_clock("whole", *in_shares, "--steps", 34)
    assert_same_runs(counted, whole)
    assert said.count("the budget of 34m becomes 34 steps") == 1
    assert said.count("so far: ") == 1
    assert counted.now.exists()


@pytest.mark.slow
def test_torchrun_starts_a_failed_run_again_from_its_last_checkpoint(preset, through, tmp_path):
    folder = RunFolder(tmp_path / "run")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "--max-restarts", "1", "--monitor-interval", "0.1"]
    command = words(1, 4, "SIGKILL", "train", "--preset", preset, "--run-dir", folder.path)[1:]
    done = subprocess.run(
        [*torchrun, *command], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "going on from step 2 of 8" in done.stderr
    assert_same_runs(folder, through)


@pytest.mark.parametrize(("size", "tried"), [(1, 2), (3, 4)])
def test_batch_that_ranks_cannot_share_is_refused(pair, picture_root, size, tried):
    config = pair_config(picture_root, data={"batch_size": size})
    with pytest.raises(ConfigError) as refused:
        open_session(config, ranks=Ranks(1, 2))
    assert str(refused.value) == (
        f"data.batch_size is {size}, the pictures of all 2 processes together, and each takes an "
        f"equal part: try `--set data.batch_size={tried}`, or fewer processes."
    )


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((75, 75), 75), ((1, 3), 3)])
def test_launcher_ends_with_the_code_that_tells_most(codes, expected):
    code = f"import os, sys; sys.exit({codes}[int(os.environ['RANK'])])"
    assert run_in_processes([sys.executable, "-c", code], 2) == expected


def test_launcher_ends_a_process_that_does_not_notice_the_end_of_another():
    code = "import os, sys, time; time.sleep(100 * int(os.environ['RANK'])); sys.exit(3)"
    notes = collect_messages()
    ended = run_in_processes([sys.executable, "-c", code], 2, grace=0.2)
    assert ended == 3
    assert notes == ["process 1 of 2 was ended by SIGKILL"]


class _EndsAtOnce:
    """A process that is gone the moment it is killed."""

    def __init__(self, code):
        self.code = code

    def poll(self):
        return self.code

    def kill(self):
        self.code = -9 if self.code is None else self.code

    def wait(self):
        return self.code


def test_launcher_names_a_process_that_ends_between_two_looks():
    notes = collect_messages()
    children = [_EndsAtOnce(3), _EndsAtOnce(None)]
    assert _wait(children, grace=0.0) == 3
    assert notes == ["process 1 of 2 was ended by SIGKILL"]


def test_help_names_the_option():
    from typer.testing import CliRunner

    assert "--nproc" in CliRunner().invoke(app, ["resume", "--help"]).output
