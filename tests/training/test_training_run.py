import json
import shutil
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from echo import translate_tensor
from engine_kit import PairMethod, Watcher, pair_config, send, state_of
from PIL import Image
from plain_data import assert_same

from i2icli.errors import CheckpointError, ConfigError, DataError, Interrupted
from i2icli.methods import restore_config
from i2icli.pictures.images import from_tensor, read_picture, to_tensor
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.training import loop
from i2icli.training.run import resume_run, start_run
from i2icli.training.session import open_session

pytestmark = pytest.mark.usefixtures("pair")


def train(config, folder, **options):
    return start_run(config, run_dir=folder, **options)


def test_run_leaves_the_documented_files(picture_root, tmp_path):
    config = pair_config(picture_root, samples={"every_steps": 4})
    train(config, tmp_path / "run", command=["i2i", "train", "--data", "my pictures"])
    names = {path.relative_to(tmp_path / "run").as_posix() for path in tmp_path.rglob("*.*")}
    assert names >= {
        "config.toml",
        "command.txt",
        "env.json",
        "metrics.jsonl",
        "checkpoints/last.pt",
        "samples/step-0000000.png",
        "samples/step-0000004.png",
        "samples/step-0000006.png",
    }
    assert (tmp_path / "run/command.txt").read_text() == "i2i train --data 'my pictures'\n"
    assert json.loads((tmp_path / "run/env.json").read_text())["device"] == "cpu"
    assert not [name for name in names if "partial" in name]


def test_run_writes_a_configuration_that_gives_the_same_run(two_steps, picture_root):
    document = tomllib.loads((two_steps / "config.toml").read_text())
    assert restore_config(document) == pair_config(picture_root, steps=2)


def test_runs_without_a_folder_take_the_next_number(picture_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/tiny-007").mkdir(parents=True)
    for number in ("008", "009"):
        result = start_run(pair_config(picture_root, steps=1))
        assert result.folder.path == Path("runs") / f"tiny-{number}"


def test_run_folder_is_never_overwritten(run, picture_root):
    before = (run / "checkpoints/last.pt").read_bytes()
    with pytest.raises(ConfigError, match=r"holds a run already.*`i2i resume .*run`"):
        train(pair_config(picture_root, steps=1), run)
    assert (run / "checkpoints/last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "said"), [(".", "not empty: name another"), ("mine.txt", "is a file: name a folder")]
)
def test_folder_with_other_files_or_a_file_is_refused(picture_root, tmp_path, name, said):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=said):
        train(pair_config(picture_root), tmp_path / name)


def test_metrics_hold_means_of_every_term_and_the_rates(picture_root, tmp_path):
    watcher = Watcher()
    train(pair_config(picture_root, steps=4, log={"every_steps": 1}), tmp_path / "a")
    train(pair_config(picture_root, steps=4), tmp_path / "b", reporter=watcher)
    single, paired = (RunFolder(tmp_path / name).read_metrics() for name in "ab")
    assert [line["step"] for line in paired] == [2, 4]
    for key in ("discriminator/fake", "discriminator/real", "generator/gan", "generator/near"):
        mean = (single[2][key] + single[3][key]) / 2
        assert paired[1][key] == pytest.approx(mean, rel=1e-6)
    assert paired[1]["generator/lr"] == 0.01
    assert set(paired[1]) >= {"epoch", "seconds", "images_per_s", "data_wait"}
    assert watcher.lines == paired


def test_run_counts_epochs_by_the_larger_domain(picture_root, tmp_path):
    # 8 pictures, 3 a batch: 2 steps an epoch.
    config = pair_config(picture_root, steps=5, data={"batch_size": 3}, log={"every_steps": 1})
    train(config, tmp_path / "run")
    assert [line["epoch"] for line in RunFolder(tmp_path / "run").read_metrics()] == [1, 1, 2, 2, 3]


def test_run_without_steps_stops_after_its_epochs(picture_root, tmp_path):
    document = pair_config(picture_root).model_dump()
    document["train"] = {"epochs": 2}
    config = type(pair_config(picture_root)).model_validate(document)
    assert train(config, tmp_path / "run").step == 16


def test_run_without_a_stop_goes_to_the_end_of_the_schedule(picture_root):
    document = pair_config(picture_root).model_dump()
    document["train"] = {}
    document["method"]["schedule"] = {"policy": "linear", "epochs": 2, "epochs_decay": 3}
    session = open_session(type(pair_config(picture_root)).model_validate(document))
    assert session.last_step == 5 * 8


def test_run_enters_every_epoch_once_and_again_on_resume(picture_root, tmp_path, monkeypatch):
    entered = []
    monkeypatch.setattr(PairMethod, "start_epoch", lambda _self, epoch: entered.append(epoch))
    train(pair_config(picture_root, steps=12), tmp_path / "run")
    assert entered == [1, 2]
    resume_run(tmp_path / "run", steps=17)
    assert entered == [1, 2, 2, 3]


def test_run_lowers_the_rate_with_its_schedule(picture_root, tmp_path):
    schedule = {"policy": "linear", "epochs": 1, "epochs_decay": 1}
    config = pair_config(
        picture_root, steps=16, method={"schedule": schedule}, log={"every_steps": 8}
    )
    train(config, tmp_path / "run")
    rates = [line["generator/lr"] for line in RunFolder(tmp_path / "run").read_metrics()]
    assert rates == pytest.approx([0.01, 0.005])


def test_run_depends_on_its_seed_alone(picture_root, tmp_path):
    config = pair_config(picture_root, method={"dropout": 0.5})
    torch.manual_seed(5)
    train(config, tmp_path / "a")
    torch.manual_seed(6)
    train(config, tmp_path / "b")
    train(pair_config(picture_root, train={"seed": 1}), tmp_path / "c")
    assert_same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
    first, other = (load_checkpoint(tmp_path / n / "checkpoints/last.pt") for n in "ac")
    assert not torch.equal(
        first.weights["discriminator.weight"], other.weights["discriminator.weight"]
    )


def test_samples_and_measurements_do_not_change_the_run(truth_root, tmp_path):
    busy = {"samples": {"every_steps": 1}, "eval": {"every_steps": 1, "count": 2}}
    for name, sections in {"plain": {}, "busy": busy}.items():
        config = pair_config(truth_root, method={"dropout": 0.5}, **sections)
        train(config, tmp_path / name)
    left, right = (state_of(tmp_path / name, "config") for name in ("plain", "busy"))
    assert left.pop("best") == {}
    assert right.pop("best")
    assert_same(left, right)


def test_sample_shows_what_translating_the_picture_gives(picture_root, tmp_path):
    config = pair_config(picture_root, steps=2, samples={"every_steps": 1, "count": 1})
    train(config, tmp_path / "run")
    session = open_session(config)
    session.restore(load_checkpoint(RunFolder(tmp_path / "run").last))
    source = read_picture(picture_root / "testA/00.png").pixels
    assert session.scale.working_size((24, 24)) == (18, 18)  # as training showed it
    images = to_tensor(source)[None]
    wanted = from_tensor(translate_tensor(session.method, images, scale=session.scale)[0])
    grid = np.asarray(Image.open(tmp_path / "run/samples/step-0000002.png").convert("RGB"))
    height, width = wanted.shape[:2]
    places = (
        grid[y : y + height, x : x + width]
        for y in range(grid.shape[0] - height + 1)
        for x in range(grid.shape[1] - width + 1)
    )
    # Of an 8-bit picture that is computed twice, a pixel may be rounded to two sides.
    assert min(np.abs(place.astype(int) - wanted).max() for place in places) <= 1


def test_unreadable_sample_picture_is_left_out_and_named(picture_root, tmp_path):
    root = shutil.copytree(picture_root, tmp_path / "data")
    (root / "testA/00.png").write_bytes(b"no picture")
    watcher = Watcher()
    config = pair_config(root, steps=1, samples={"every_steps": 1})
    train(config, tmp_path / "run", reporter=watcher)
    assert any("left out of the samples" in note and "00.png" in note for note in watcher.notes)
    assert (tmp_path / "run/samples/step-0000001.png").exists()


def test_numbered_checkpoints_are_kept_and_last_goes_on(picture_root, tmp_path):
    config = pair_config(
        picture_root, steps=7, checkpoint={"every_steps": 5, "keep_every_steps": 3}
    )
    train(config, tmp_path / "run")
    files = sorted((tmp_path / "run/checkpoints").iterdir())
    names = ["last.pt", "step-0000003.pt", "step-0000006.pt"]
    assert [file.name for file in files] == names
    assert [load_checkpoint(file).step for file in files] == [7, 3, 6]


def test_best_checkpoint_has_the_lowest_measured_error(truth_root, tmp_path):
    config = pair_config(truth_root, eval={"every_steps": 2, "count": 2})
    train(config, tmp_path / "run")
    measured = {
        line["step"]: line["eval/truth_total"]
        for line in RunFolder(tmp_path / "run").read_metrics()
        if "eval/truth_total" in line
    }
    best = load_checkpoint(tmp_path / "run/checkpoints/best.pt")
    assert set(measured) == {2, 4, 6}
    assert best.step == min(measured, key=lambda step: measured[step])
    assert best.best["value"] == min(measured.values())


def test_measurement_is_the_error_against_the_truth(truth_root, tmp_path):
    config = pair_config(truth_root, steps=2, eval={"every_steps": 2, "count": 1})
    train(config, tmp_path / "run")
    session = open_session(config)
    session.restore(load_checkpoint(RunFolder(tmp_path / "run").last))
    source, truth, mask = (
        read_picture(truth_root / f"testA{part}/00.png").pixels for part in ("", "_truth", "_mask")
    )
    images = to_tensor(source)[None]
    output = from_tensor(translate_tensor(session.method, images, scale=session.scale)[0])
    error = np.abs(output / 255.0 - truth / 255.0).mean(axis=-1)
    inside = mask[..., 0] > 127
    line = RunFolder(tmp_path / "run").read_metrics()[-1]
    assert line["eval/truth_total"] == pytest.approx(error.mean())
    assert line["eval/truth_inside"] == pytest.approx(error[inside].mean())
    assert line["eval/truth_outside"] == pytest.approx(error[~inside].mean())


def test_missing_pictures_leave_no_run_folder(tmp_path):
    with pytest.raises(DataError):
        train(pair_config(tmp_path / "nothing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_step_saves_and_names_the_resume_command(
    picture_root, tmp_path, number
):
    watcher = Watcher(at=3, act=send(number))
    with pytest.raises(Interrupted, match=rf"{number.name} after step 3 of 6.*`i2i resume ") as got:
        train(pair_config(picture_root), tmp_path / "run", reporter=watcher)
    assert got.value.exit_code == 75
    assert load_checkpoint(tmp_path / "run/checkpoints/last.pt").step == 3
    assert watcher.ends == 1


def test_signal_before_the_first_step_saves_too(picture_root, tmp_path):
    watcher = Watcher(at=0, act=send(signal.SIGTERM))
    with pytest.raises(Interrupted, match="after step 0 of 6"):
        train(pair_config(picture_root), tmp_path / "run", reporter=watcher)
    assert load_checkpoint(tmp_path / "run/checkpoints/last.pt").step == 0


def test_second_signal_does_not_cut_the_save_short(picture_root, tmp_path, monkeypatch):
    def save_under_fire(*arguments):
        send(signal.SIGINT)()
        save(*arguments)

    save = loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", save_under_fire)
    config = pair_config(picture_root, checkpoint={"every_steps": 100})
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", reporter=Watcher(at=3, act=send(signal.SIGINT)))
    assert load_checkpoint(tmp_path / "run/checkpoints/last.pt").step == 3


def test_signal_handlers_are_put_back(picture_root, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(pair_config(picture_root, steps=1), tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) is before


def test_signal_in_the_last_step_lets_the_run_end(picture_root, tmp_path):
    watcher = Watcher(at=6, act=send(signal.SIGTERM))
    assert train(pair_config(picture_root), tmp_path / "run", reporter=watcher).step == 6


def test_damaged_last_checkpoint_is_named_on_resume(run):
    (run / "checkpoints/last.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"last\.pt \(2 bytes\)"):
        resume_run(run, steps=4)
