import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_kit import (
    Watcher,
    assert_same_end,
    interrupt,
    log_of,
    pair_config,
    registered,
    send,
    state_of,
)
from plain_data import assert_same

from i2icli.data.loader import BatchStream
from i2icli.errors import CheckpointError, ConfigError, DataError, I2IError, Interrupted
from i2icli.runs.checkpoint import load_checkpoint, save_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.training.run import resume_run, start_run
from i2icli.training.step import train_step
from i2icli.translation.translator import load_translator

pytestmark = pytest.mark.usefixtures("pair")


def dropping_out(truth_root, workers):
    """Return a run of 8 steps an epoch and lines every 3."""
    return pair_config(
        truth_root,
        steps=13,
        method={"dropout": 0.5, "schedule": {"policy": "linear", "epochs": 1, "epochs_decay": 2}},
        log={"every_steps": 3},
        ema={"decay": 0.9},
        eval={"every_steps": 4, "count": 1},
        runtime={"workers": workers},
    )


@pytest.fixture(scope="module")
def through(truth_root, tmp_path_factory):
    """Return runs that nobody stopped, by their workers."""
    root = tmp_path_factory.mktemp("through")
    folders = {workers: root / str(workers) for workers in (0, 2)}
    with registered():
        for workers, folder in folders.items():
            start_run(dropping_out(truth_root, workers), run_dir=folder)
    return folders


def kill_a_worker():
    """Kill a loading process, as the out-of-memory killer does."""
    for worker in multiprocessing.active_children()[:1]:
        worker.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_run_whose_loading_processes_are_killed_ends_like_the_one_left_alone(
    through, truth_root, tmp_path, monkeypatch
):
    real, killed = train_step, []

    def step(*given, **named):
        if len(killed) % 3 == 0:
            kill_a_worker()
        killed.append(1)
        return real(*given, **named)

    monkeypatch.setattr("i2icli.training.graph_step.train_step", step)
    start_run(dropping_out(truth_root, 2), run_dir=tmp_path / "run")
    assert len(killed) == 13
    assert_same_end(through[2], tmp_path / "run")


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_run_that_ends_for_want_of_loading_processes_saves_what_it_reached(
    through, truth_root, tmp_path, monkeypatch
):
    real = BatchStream.__next__

    def taken(stream):
        if stream.step == 5:
            raise I2IError("the processes that load pictures ended 4 times in a row.")
        return real(stream)

    monkeypatch.setattr(BatchStream, "__next__", taken)
    folder = tmp_path / "run"
    with pytest.raises(I2IError, match=rf" row\. All up to step 5 is saved: .*i2i resume {folder}"):
        start_run(dropping_out(truth_root, 2), run_dir=folder)
    monkeypatch.undo()
    assert load_checkpoint(folder / "checkpoints" / "last.pt").step == 5
    resume_run(folder)
    assert_same_end(through[2], folder)


# Stops fall on and off the log interval and the epoch's end.
@pytest.mark.parametrize("at", [1, 4, 8, 9, 11])
@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_run_ends_like_the_uninterrupted_one(
    through, truth_root, tmp_path, at, workers
):
    interrupt(dropping_out(truth_root, workers), tmp_path / "run", at=at)
    resume_run(tmp_path / "run")
    assert_same_end(through[workers], tmp_path / "run")


def test_run_extended_by_resume_ends_like_the_longer_run(picture_root, tmp_path):
    start_run(pair_config(picture_root, steps=9), run_dir=tmp_path / "through")
    start_run(pair_config(picture_root, steps=5), run_dir=tmp_path / "run")
    assert resume_run(tmp_path / "run", steps=9).step == 9
    assert_same_end(tmp_path / "through", tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": 9_000}, "its step is 9000, of a run of 3"),
        ({"rng": {"cpu": torch.zeros(3, dtype=torch.uint8)}}, "its state does not fit the run"),
        ({"rng": {}}, "its state does not fit the run"),
        ({"memory": {}}, "its state does not fit the run"),
        ({"optimizers": {}}, "its state does not fit the run"),
        ({"optimizers": {"stranger": {"moments": {}}}}, "no optimizer is called stranger"),
        ({"weights": {}}, "its weights do not fit its configuration"),
    ],
    ids=str,
)
def test_run_does_not_go_on_from_a_state_that_is_not_its_own(picture_root, tmp_path, change, words):
    folder = RunFolder(tmp_path / "run")
    start_run(pair_config(picture_root, steps=3), run_dir=folder.path)
    good = folder.numbered(2)
    shutil.copy(folder.last, good)
    optimizers = {"optimizers": {}} if "weights" in change else {}
    save_checkpoint(folder.last, replace(load_checkpoint(folder.last), **change, **optimizers))
    with pytest.raises(CheckpointError, match=words) as refusal:
        resume_run(folder.path, steps=20_000)
    assert f"{folder.last} is damaged" in str(refusal.value)
    assert f"The run's newest good checkpoint is {good}, of step 3" in str(refusal.value)


def test_a_run_keeps_the_scale_that_it_began_with(picture_root, tmp_path):
    samples = {"every_steps": 1, "count": 1}
    start_run(pair_config(picture_root, steps=2, samples=samples), run_dir=tmp_path / "run")
    last = RunFolder(tmp_path / "run").last
    state = load_checkpoint(last)
    assert [state.data[domain]["side"] for domain in "ab"] == [24, 24]
    assert load_translator(last).scale.working_size((24, 24)) == (18, 18)
    # A run of 0.1.0, which did not know the size of its pictures, goes on without.
    data = {domain: {**state.data[domain]} for domain in "ab"}
    for domain in data.values():
        del domain["side"]
    save_checkpoint(last, replace(state, data=data))
    resume_run(tmp_path / "run", steps=4)
    assert load_checkpoint(last).data == data
    assert load_translator(last).scale.working_size((24, 24)) == (24, 24)


def test_resume_keeps_a_new_stop_for_the_next_resume(run):
    with pytest.raises(Interrupted):
        resume_run(run, steps=6, reporter=Watcher(at=4, act=send(signal.SIGINT)))
    assert resume_run(run).step == 6


def test_resume_by_epochs_replaces_a_stop_by_steps(run):
    assert resume_run(run, epochs=1).step == 8


def test_resume_before_the_first_checkpoint_starts_at_step_0(picture_root, tmp_path):
    config = pair_config(picture_root)
    start_run(config, run_dir=tmp_path / "through")
    start_run(config, run_dir=tmp_path / "run")
    (tmp_path / "run/checkpoints/last.pt").unlink()
    watcher = Watcher()
    resume_run(tmp_path / "run", reporter=watcher)
    assert watcher.steps == [1, 2, 3, 4, 5, 6]
    assert_same_end(tmp_path / "through", tmp_path / "run")


def test_resume_of_a_finished_run_changes_nothing(run):
    before = {p: p.read_bytes() for p in run.rglob("*.*") if p.name != ".lock"}
    result = resume_run(run)
    assert result.was_finished
    assert result.step == 2
    assert result.metrics["generator/lr"] == 0.01
    assert before == {p: p.read_bytes() for p in before}


def test_resume_to_an_earlier_step_changes_nothing(run):
    before = (run / "config.toml").read_bytes()
    result = resume_run(run, steps=1)
    assert result.was_finished
    assert result.step == 2
    assert (run / "config.toml").read_bytes() == before


def test_resume_cuts_back_what_lies_beyond_the_checkpoint(picture_root, tmp_path):
    config = pair_config(picture_root, samples={"every_steps": 2})
    start_run(config, run_dir=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    kept = log_of(folder.path)
    with folder.metrics.open("a") as file:
        file.write('{"step": 8, "epoch": 1, "generator/gan": 1.0}\n{"step": 10, "epo')
    folder.sample(8).write_bytes(folder.sample(6).read_bytes())
    (folder.checkpoints / ".last.pt.partial").write_bytes(b"half")
    watcher = Watcher()
    resume_run(folder.path, steps=7, reporter=watcher)
    assert log_of(folder.path)[: len(kept)] == kept
    assert [line["step"] for line in log_of(folder.path)] == [2, 4, 6, 7]
    assert not folder.sample(8).exists()
    assert folder.sample(6).exists()
    assert not (folder.checkpoints / ".last.pt.partial").exists()


def test_resume_adds_its_seconds_to_those_before(run):
    before = RunFolder(run).read_metrics()[-1]["seconds"]
    after = resume_run(run, steps=4).seconds
    assert after > before


@pytest.mark.parametrize("inside", [".", "checkpoints", "checkpoints/last.pt", "config.toml"])
def test_resume_finds_the_run_of_a_path_inside_it(run, inside):
    assert resume_run(run / inside).was_finished


def test_resume_of_something_else_says_what_a_run_is(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder but not a run"):
        resume_run(tmp_path)
    with pytest.raises(CheckpointError, match="there is no checkpoint at .*, and no run"):
        resume_run(tmp_path / "gone")


def test_resume_of_the_folder_of_runs_names_the_newest(run):
    with pytest.raises(CheckpointError, match=r"holds runs: name one of them, .*run\.$"):
        resume_run(run.parent)


def edit(folder, before, after):
    path = folder / "config.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("width = 4", "width = 5", r"method\.width \(was 4, now 5\)"),
        ("crop = 16", "crop = 12", r"data\.crop \(was 16, now 12\)"),
        ("seed = 0", "seed = 1", r"train\.seed \(was 0, now 1\)"),
        ("decay = 0.0", "decay = 0.5", r"ema\.decay \(was 0\.0, now 0\.5\)"),
    ],
)
def test_resume_refuses_a_changed_setting_that_is_part_of_the_result(run, before, after, key):
    edit(run, before, after)
    with pytest.raises(ConfigError, match=f"no longer agrees.*{key}.*--init-from"):
        resume_run(run, steps=4)


def test_resume_takes_up_changed_intervals(run):
    edit(run, "keep_every_steps = 0", "keep_every_steps = 1")
    resume_run(run, steps=4)
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert {"step-0000003.pt", "step-0000004.pt"} <= names


def test_resume_with_another_number_of_workers_is_exact(picture_root, tmp_path):
    start_run(pair_config(picture_root, steps=6), run_dir=tmp_path / "through")
    start_run(pair_config(picture_root, steps=3), run_dir=tmp_path / "run")
    edit(tmp_path / "run", "workers = 0", "workers = 2")
    resume_run(tmp_path / "run", steps=6)
    assert_same(*(state_of(tmp_path / name, "config") for name in ("through", "run")))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("trainB", Path.unlink, r"domain B had 8 pictures and now has 7.*--init-from"),
        (
            "trainA",
            lambda path: path.rename(path.with_name("08.png")),
            "domain A has 8 pictures as before, but under other names",
        ),
    ],
    ids=["counts", "names"],
)
def test_resume_refuses_a_data_set_with_other_counts_or_names(
    picture_root, tmp_path, name, change, said
):
    root = shutil.copytree(picture_root, tmp_path / "data")
    start_run(pair_config(root, steps=2), run_dir=tmp_path / "run")
    change(root / name / "07.png")
    with pytest.raises(DataError, match=said):
        resume_run(tmp_path / "run", steps=4)


@pytest.fixture
def moved(picture_root, tmp_path):
    """Return a run of which the data set moved, from `data` to `other`, and that folder."""
    root = shutil.copytree(picture_root, tmp_path / "data")
    start_run(pair_config(root, steps=3), run_dir=tmp_path / "run")
    return tmp_path / "run", root.rename(tmp_path / "other")


def test_a_run_whose_data_set_moved_goes_on_bit_for_bit(picture_root, moved, tmp_path):
    run, other = moved
    start_run(pair_config(picture_root, steps=6), run_dir=tmp_path / "through")
    resume_run(run, steps=5, data=other)
    assert RunFolder(run).read_config()["data"]["root"] == str(other)
    resume_run(run, steps=6)
    assert_same(*(state_of(tmp_path / name, "config", "data") for name in ("through", "run")))


def test_a_run_goes_on_where_its_configuration_was_pointed_at_the_new_folder(moved):
    run, other = moved
    edit(run, f'root = "{other.parent / "data"}"', f'root = "{other}"')
    assert resume_run(run, steps=4).step == 4


def test_a_folder_that_is_gone_is_answered_with_a_command_that_works(moved, tmp_path):
    run, other = moved
    shutil.copytree(other, tmp_path / "dat")
    (tmp_path / "dat/trainB/07.png").unlink()  # the nearer name has other pictures
    with pytest.raises(DataError, match="the training pictures are gone: there is no") as fault:
        resume_run(run, steps=4)
    command = f"i2i resume {run} --data {other}"
    assert f"; {other} has the same ones: `{command}`." in str(fault.value)
    shutil.rmtree(other)
    with pytest.raises(DataError, match=f"where they lie now: `i2i resume {run} --data NEW`"):
        resume_run(run, steps=4)


def test_other_pictures_in_the_new_folder_are_refused_with_a_command_that_works(moved):
    run, other = moved
    picture = other / "trainA/07.png"
    content = picture.read_bytes()
    picture.write_bytes(content + b"more")
    begins = f"`i2i train --init-from {run} --data {other}`"
    with pytest.raises(DataError, match=f"of the same names, but of other sizes.*{begins}"):
        resume_run(run, steps=4, data=other)
    picture.unlink()
    with pytest.raises(DataError, match=f"domain A had 8 pictures and now has 7.*{begins}"):
        resume_run(run, steps=4, data=other)
    with pytest.raises(DataError, match="--data .*nowhere is no folder"):
        resume_run(run, steps=4, data=other / "nowhere")


def test_runs_of_earlier_versions_know_pictures_by_their_names_alone(moved):
    run, other = moved
    last = run / "checkpoints/last.pt"
    state = load_checkpoint(last)
    pictures = {
        domain: {key: value for key, value in facts.items() if key != "bytes"}
        for domain, facts in state.data.items()
    }
    save_checkpoint(last, replace(state, data=pictures))
    picture = other / "trainA/07.png"
    picture.write_bytes(picture.read_bytes() + b"more")
    assert resume_run(run, steps=4, data=other).step == 4


def test_a_picture_that_was_edited_where_it_lies_is_said(picture_root, tmp_path):
    root = shutil.copytree(picture_root, tmp_path / "data")
    start_run(pair_config(root, steps=2), run_dir=tmp_path / "run")
    picture = root / "trainA/07.png"
    picture.write_bytes(picture.read_bytes() + b"more")
    watcher = Watcher()
    resume_run(tmp_path / "run", steps=4, reporter=watcher)
    assert any("pictures of domain A were edited" in note for note in watcher.notes)


def test_plain_folders_are_found_below_the_new_one(picture_root, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(picture_root / "trainA", old / "horses")
    shutil.copytree(picture_root / "trainB", old / "zebras")
    plain = {"root": None, "domain_a": str(old / "horses"), "domain_b": str(old / "zebras")}
    start_run(pair_config(picture_root, steps=2, data=plain), run_dir=tmp_path / "run")
    old.rename(new)
    with pytest.raises(DataError, match=f"{new} has the same ones: `i2i resume .* --data {new}`"):
        resume_run(tmp_path / "run", steps=4)
    resume_run(tmp_path / "run", steps=3, data=new)
    assert RunFolder(tmp_path / "run").read_config()["data"]["domain_b"] == str(new / "zebras")
    (tmp_path / "laid out").mkdir()
    (new / "horses").rename(tmp_path / "laid out/trainA")
    (new / "zebras").rename(tmp_path / "laid out/trainB")
    resume_run(tmp_path / "run", steps=4, data=tmp_path / "laid out")
    assert "domain_a" not in RunFolder(tmp_path / "run").read_config()["data"]


def test_resume_does_not_begin_again_when_only_last_is_gone(picture_root, tmp_path):
    config = pair_config(picture_root, steps=2, checkpoint={"keep_every_steps": 2})
    start_run(config, run_dir=tmp_path / "run")
    (tmp_path / "run/checkpoints/last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"step-0000002\.pt is there: copy it"):
        resume_run(tmp_path / "run", steps=4)


LOCKER = """
import sys
from pathlib import Path
from i2icli.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_work_on_one_run_and_a_kill_frees_it(run):
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(run)],
        stdin=subprocess.PIPE,  # stays open: only the kill ends it
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match=f"in use by process {other.pid}"):
            resume_run(run, steps=4)
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.communicate()
    assert resume_run(run, steps=4).step == 4


def test_tensorboard_hides_the_events_of_steps_done_in_vain(picture_root, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = pair_config(picture_root, log={"tensorboard": "auto"}, checkpoint={"every_steps": 4})
    start_run(config, run_dir=tmp_path / "run")
    last = tmp_path / "run/checkpoints/last.pt"
    early = tmp_path / "early"
    start_run(pair_config(picture_root, steps=4, checkpoint={"every_steps": 4}), run_dir=early)
    shutil.copy(early / "checkpoints/last.pt", last)  # as if killed after step 6
    resume_run(tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("generator/gan")] == [2, 4, 6]


def test_tensorboard_can_be_off(run):
    assert not (run / "tensorboard").exists()
