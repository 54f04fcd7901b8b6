"""`i2i doctor`: whether a run could start, every fault at once, and what the run would take."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from labelled_folders import IGNORED, write_labelled

from i2icli.bench import cost, doctor
from i2icli.bench.checkup import Checkup, Cores
from i2icli.bench.cost import StepCost
from i2icli.bench.doctor import Patient, examine
from i2icli.bench.measure import Bench
from i2icli.data import loader
from i2icli.errors import I2IError
from i2icli.system import trial
from i2icli.system.cores import Load
from i2icli.system.device import precision_reason
from i2icli.system.trial import Trial
from i2icli.translation import prepare

TINY = (
    "method.generator.width=4",
    "method.discriminator.width=4",
    "data.resize=36",
    "data.crop=32",
    "runtime.device=cpu",
    "runtime.workers=0",
)
# Self-similarity cuts patches out of features that are a sixteenth of the picture.
LARGER = (*TINY[:2], "data.resize=72", "data.crop=64", *TINY[4:])


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch, tmp_path):
    """Measure without a process of its own: what matters here is what becomes of the numbers."""

    def step_cost(variants):
        (variant,) = variants
        found = Bench(variant, imports_bytes=0).cost()
        found["memory"]["less_imports_bytes"] = found["state_bytes"] + 10 * 32 * 32
        return (StepCost(name=variant.name, rates={}, order=(), flops=None, **found),)

    monkeypatch.setattr(cost, "step_cost", step_cost)
    monkeypatch.chdir(tmp_path)


def test_a_run_that_could_start_has_no_fault(picture_root):
    checkup = examine(Patient("cut", (*TINY, "train.steps=7"), picture_root))
    assert checkup.faults == ()
    assert checkup.exit_code == 0
    assert (checkup.place.device, checkup.place.precision) == ("cpu", "float32")
    assert checkup.place.precision_why == precision_reason(torch.device("cpu"))
    assert (checkup.data.train_a, checkup.data.steps_per_epoch) == (8, 8)
    needs = checkup.needs
    assert needs.measured_shape == (1, 3, 32, 32)
    assert not needs.is_scaled
    assert needs.total_seconds == pytest.approx(7 * needs.step_seconds)
    assert f"a run could start: i2i train --preset cut --data {picture_root}" in "\n".join(
        checkup.lines()
    )
    assert {"torch", "torchvision", "python", "i2i"} <= set(checkup.versions)


def test_checkpoints_are_three_times_the_weights_and_counted(picture_root):
    settings = (*TINY, "train.steps=9", "checkpoint.keep_every_steps=2", "ema.decay=0.9")
    needs = examine(Patient("cut", settings, picture_root)).needs
    plain = examine(Patient("cut", (*TINY, "train.steps=9"), picture_root)).needs
    assert needs.checkpoint_bytes * 3 == plain.checkpoint_bytes * 4
    assert plain.disk_needed_bytes == 2 * plain.checkpoint_bytes
    assert needs.disk_needed_bytes == (2 + 4) * needs.checkpoint_bytes


@pytest.mark.parametrize("wanting", ["time", "memory"])
def test_a_run_too_large_to_try_is_scaled_from_a_small_step(wanting, picture_root, monkeypatch):
    if wanting == "time":
        monkeypatch.setattr(cost, "_MOST_SECONDS", 0.0)
    else:
        monkeypatch.setattr(cost, "free_bytes", lambda _: 1000)
    settings = (*TINY[:2], "data.resize=300", "data.crop=256", "data.batch_size=2", *TINY[4:])
    needs = examine(Patient("cut", settings, picture_root)).needs
    assert needs.measured_shape == (1, 3, 128, 128)
    assert needs.is_scaled
    assert needs.largest_crop % 4 == 0
    assert needs.largest_batch is not None
    # Ten bytes a pixel of 32 x 32 were said; scaled by the pixels of the run.
    share = 10 * 32 * 32 / (128 * 128) * 2 * 256 * 256
    assert needs.memory_bytes > share


def test_a_run_that_fits_is_measured_at_its_own_size(picture_root):
    settings = (*TINY[:2], "data.resize=150", "data.crop=144", *TINY[4:])
    needs = examine(Patient("cut", settings, picture_root)).needs
    assert needs.measured_shape == (1, 3, 144, 144)
    assert not needs.is_scaled


def test_what_does_not_fit_is_a_fault_with_a_smaller_size(picture_root, monkeypatch):
    monkeypatch.setattr(cost, "free_bytes", lambda _: 1000)
    checkup = examine(Patient("cut", TINY, picture_root))
    assert checkup.exit_code == 2
    assert "of memory and 900 are free" in checkup.faults[0].message
    assert "--set data.crop=16" in checkup.faults[0].command
    checkup = examine(Patient("cut", (*TINY, "data.batch_size=2"), picture_root))
    assert "--set data.batch_size=1" in checkup.faults[0].command


def test_a_full_disk_is_a_fault(picture_root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    checkup = examine(Patient("cut", TINY, picture_root))
    assert checkup.exit_code == 1
    assert "10 are free in" in checkup.faults[0].message
    assert "--run-dir" in checkup.faults[0].command


def test_all_faults_are_listed_each_with_what_to_type(tmp_path):
    checkup = examine(Patient("lsesim", (*LARGER, "runtime.device=cuda:63"), tmp_path / "nothing"))
    assert [fault.code for fault in checkup.faults] == [2, 3, 4]
    assert checkup.exit_code == 2
    device, data, weights = checkup.faults
    assert "cuda:63" in device.message
    assert device.command.endswith("--device auto")
    assert "is no folder" in data.message
    assert data.command == "i2i data prepare A/ B/ --out DIR"
    assert "vgg16" in weights.message
    assert weights.command == "i2i weights get vgg16"
    assert checkup.needs is not None, "memory and time are measured all the same"
    assert checkup.needs.steps is None
    text = "\n".join(checkup.lines())
    assert text.count("fault: ") == text.count("  next: i2i ") == 3
    assert "could start" not in text


def test_weights_that_measuring_wants_are_missed_before_the_run(picture_root):
    settings = (*TINY, "eval.every_steps=5", 'eval.metrics=["fid"]')
    checkup = examine(Patient("cut", settings, picture_root))
    assert checkup.exit_code == 4
    assert "inception" in checkup.faults[0].message


def test_labelled_pictures_are_examined(tmp_path):
    root = write_labelled(tmp_path / "labelled", size=(80, 72))
    settings = ("data.resize=72", "data.crop=64", "method.backbone=resnet18", *TINY[4:])
    settings = (*settings, f"labels.ignore={IGNORED}", "data.batch_size=2")
    checkup = examine(Patient("danet", settings, root))
    assert checkup.faults == ()
    without = examine(Patient("danet", settings))
    assert without.exit_code == 2
    assert "labelled" in without.faults[0].message


def test_choices_are_told_with_their_reasons(picture_root):
    settings = (*TINY, "runtime.recompute=off", "runtime.precision=bfloat16")
    checkup = examine(Patient("cut", settings, picture_root))
    assert checkup.place.precision == "bfloat16"
    assert checkup.place.precision_why == "runtime.precision says so"
    found = {setting.name: setting for setting in checkup.settings}
    assert {"compile", "channels_last", "cuda_graphs", "reuse_memory"} <= set(found)
    assert (found["recompute"].is_on, found["recompute"].why) == (
        False,
        "runtime.recompute says so",
    )
    assert not found["compile"].is_on
    assert "CPU" in found["compile"].why
    assert found["channels_last"].why == "networks too small to matter"
    (line,) = [line for line in checkup.lines() if line.startswith("off: ")]
    assert f"compile ({found['compile'].why})" in line
    assert "cuda_graphs" in line


def test_trials_are_told_with_spread_and_load_and_made_anew_when_asked(
    picture_root, i2i, monkeypatch, tmp_path
):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(prepare, "_WORTH_TRYING", 0)
    monkeypatch.setattr(trial, "look_at_load", lambda: Load(0.1, 2, 2))
    monkeypatch.setattr(trial.LoadWatch, "look", lambda _: Load(0.1, 2, 2))
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["doctor", "--preset", "cut", "--data", picture_root, *settings]
    seconds = []
    for flags in (["--json"], ["--json"], ["--json", "--retry-trials"]):
        code, out, _ = i2i(*command, *flags)
        report = json.loads(out)
        seconds.append(report["trials"]["channels_last"]["seconds"])
        assert code == 0
        assert report["trials"]["channels_last"]["others"] == 0.1
    assert seconds[0] == seconds[1] != seconds[2]
    assert report["dropped_trials"] == 1
    _, out, _ = i2i(*command, "--retry-trials")
    assert "trials: 1 of this machine dropped\n" in out
    assert re.search(r"trial of channels_last: \S+ times as fast, .*, others took 0\.1 core", out)


def test_trial_that_others_disturbed_is_told_as_not_kept():
    disturbed = Trial(1.2, spread=0.1, others=1.5, is_quiet=False, seconds=((1.2,), (1.0,)))
    lines = list(Checkup("i2i train", {}, trials={"channels_last": disturbed}).lines())
    assert lines[1] == (
        "trial of channels_last: 1.20 times as fast, 1.2 s usually and 1 s, spread 10%, others "
        "took 1.5 core(s); not kept, since that was too much"
    )


def test_trial_that_is_not_worth_it_is_said_to_who_asks_for_one(picture_root):
    plain = examine(Patient("cut", TINY, picture_root))
    asked = examine(Patient("cut", TINY, picture_root, retries_trials=True))
    line = "trial of channels_last: networks too small to matter"
    assert line not in plain.lines()
    assert line in asked.lines()


@pytest.fixture
def _eight_cores(monkeypatch):
    """A quiet machine of eight cores, of which a quota gives two and a half, and one thread."""
    monkeypatch.setattr(doctor, "look_at_load", lambda: Load(0.04, usable=3, cpus=8))
    monkeypatch.setattr(doctor, "quota_of_cores", lambda: 2.5)
    monkeypatch.setattr(doctor, "threads_are_said", lambda: False)
    monkeypatch.setattr(doctor, "waiting_fault", lambda: None)
    monkeypatch.setattr(loader, "usable_cpus", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


CORES = "cores: 3 usable, of 8 CPUs and a quota of 2.5; taken by other programs now: 0.0"


@pytest.mark.usefixtures("_eight_cores")
def test_cores_threads_and_workers_are_told(picture_root):
    checkup = examine(Patient("cut", TINY, picture_root))
    lines = list(checkup.lines())
    assert CORES in lines
    assert "threads: 1 (torch's own choice)" in lines
    assert "workers that load pictures: 0 (runtime.workers says so)" in lines
    document = checkup.as_document()["cores"]
    assert (document["usable"], document["quota"], document["others"]) == (3, 2.5, 0.04)


@pytest.mark.usefixtures("_eight_cores")
def test_threads_of_the_user_and_workers_left_to_the_machine_are_told(picture_root, monkeypatch):
    settings = (*TINY[:-1], "runtime.threads=3", "runtime.workers=auto")
    set_threads = []
    monkeypatch.setattr(torch, "set_num_threads", set_threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_threads[-1] if set_threads else 1)
    lines = list(examine(Patient("cut", settings, picture_root)).lines())
    waiting = "waiting for each other busily, briefly while others take their cores"
    assert f"threads: 3 (runtime.threads says so), {waiting}" in lines
    words = "a step loads its own, as threads compute on all cores; 2 once that takes long"
    assert f"workers that load pictures: 0 ({words})" in lines


def test_what_nothing_is_known_of_is_said_to_be_not_known():
    cores = Cores(2, 2, None, None, 2, "torch's own choice", "as ever: no OpenMP", 2, "a GPU")
    first, second, _ = cores.lines()
    assert (
        first == "cores: 2 usable, of 2 CPUs and no quota; taken by other programs now: not known"
    )
    assert second.endswith("waiting for each other as ever: no OpenMP")


def test_choices_that_were_left_to_the_machine_are_told_as_settings(picture_root):
    checkup = examine(Patient("cut", (*TINY, "runtime.compile=off"), picture_root))
    again = f"--set runtime.precision=float32 --set runtime.threads={torch.get_num_threads()} --set"
    (line,) = [line for line in checkup.lines() if line.startswith("the same choices again: ")]
    assert again in line
    assert "device" not in line
    assert "compile" not in line
    assert checkup.as_document()["pins"]["channels_last"] == "off"


def test_steps_that_fail_are_a_fault(picture_root, monkeypatch):
    def fail(*_, **__):
        raise I2IError("measuring the cost of cut ended with -9: for want of memory")

    monkeypatch.setattr(cost, "step_cost", fail)
    checkup = examine(Patient("cut", TINY, picture_root))
    assert checkup.exit_code == 1
    assert checkup.needs is None
    assert "data.batch_size=1" in checkup.faults[0].command


def test_a_damaged_picture_is_found(tmp_path):
    for part in ("trainA", "trainB"):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / "a.png").write_bytes(b"no picture")
    checkup = examine(Patient("cut", TINY, tmp_path / "data"))
    assert checkup.exit_code == 3
    assert checkup.faults[0].command == f"i2i data check {tmp_path / 'data'}"


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--set", "method.widht=3"), 2)])
def test_command_ends_with_the_code_and_prints_json(words, code, picture_root, i2i):
    settings = [word for setting in TINY for word in ("--set", setting)]
    command = ["doctor", "--preset", "cut", "--data", picture_root, "--json", *settings, *words]
    ended, out, _ = i2i(*command)
    report = json.loads(out)
    assert ended == code
    assert report["exit_code"] == code
    if code:
        assert "method.widht" in report["faults"][0]["message"]
    else:
        assert report["needs"]["total_seconds"] > 0


def test_long_run_is_warned_of_and_could_start_all_the_same(picture_root):
    checkup = examine(Patient("cut", (*TINY, "train.steps=1000000000"), picture_root))
    assert checkup.exit_code == 0
    lines = list(checkup.lines())
    (first,) = [line for line in lines if line.startswith("warning: this takes about ")]
    assert "1,000,000,000 steps" in first
    follow = lines[lines.index(first) + 1 :]
    assert follow[0].startswith("  as far as it comes in a time of your choice: `i2i train ")
    assert f"--data {picture_root} " in follow[0]
    assert "--budget 8h`" in follow[0]


def test_short_run_is_not_warned_of(picture_root):
    assert examine(Patient("cut", (*TINY, "train.steps=7"), picture_root)).advice == ()


def test_command_without_a_preset_takes_that_of_the_machine(i2i, monkeypatch):
    monkeypatch.setattr("i2icli.config.presets.default_preset", lambda device: f"for-{device}")
    code, out, _ = i2i("doctor", "--device", "cpu")
    assert code == 2
    assert "for-cpu" in out


def test_command_names_the_preset_that_is_not_there(i2i):
    code, out, _ = i2i("doctor", "--preset", "kut")
    assert code == 2
    assert "  next: i2i presets list" in out
