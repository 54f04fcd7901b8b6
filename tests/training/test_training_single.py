import json

import pytest
from engine_kit import assert_same_end, interrupt, log_of
from near_worker import near_workers
from picture_folders import write_pictures
from PIL import Image
from tiny import tiny_document
from typer.testing import CliRunner

from i2icli.bench.plan import plan_run
from i2icli.cli.app import app
from i2icli.errors import ConfigError, DataError
from i2icli.methods import METHODS
from i2icli.methods.shared.configure import run_schema
from i2icli.reports import build as reporting
from i2icli.runs.folder import RunFolder
from i2icli.training.run import resume_run, start_run
from i2icli.training.session import open_session

NAME = "sincut"


@pytest.fixture(scope="module")
def single_root(tmp_path_factory):
    """Return a data set of one picture a domain and no test pictures."""
    root = tmp_path_factory.mktemp("single")
    for seed, name in enumerate(("trainA", "trainB")):
        write_pictures(root / name, seed=seed, count=1, side=56)
    return root


def configure(root, *, steps=7, **sections):
    document = {
        "method": tiny_document(NAME),
        "data": {
            **METHODS[NAME].Config.run_defaults["data"],
            "root": str(root),
            "crop": 16,
            "batch_size": 3,
            "patches_per_epoch": 10,
        },
        "train": {"steps": steps},
        "checkpoint": {"every_steps": 2},
        "samples": {"every_steps": 4},
        "log": {"every_steps": 2, "tensorboard": "off"},
        "health": {"warmup_steps": 0},
        "ema": {"decay": 0.9},
        "runtime": {"device": "cpu", "precision": "float32", "workers": 0},
    }
    document["method"]["schedule"] = {"policy": "linear", "epochs": 1, "epochs_decay": 2}
    for name, section in sections.items():
        document.setdefault(name, {}).update(section)
    return run_schema().model_validate({"preset": NAME, **document})


@pytest.fixture(scope="module")
def trained(single_root, tmp_path_factory):
    """Return the folder of a run of two steps, to be read only."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    start_run(configure(single_root, steps=2), run_dir=folder)
    return RunFolder(folder)


@pytest.mark.parametrize(("at", "workers"), [(1, 0), (3, 2), (5, 2)])
def test_interrupted_single_picture_run_ends_like_the_uninterrupted_one(
    single_root, tmp_path, at, workers
):
    config = configure(single_root, runtime={"workers": workers})
    start_run(config, run_dir=tmp_path / "through")
    interrupt(config, tmp_path / "run", at=at)
    resume_run(tmp_path / "run")
    assert_same_end(tmp_path / "through", tmp_path / "run")
    for step in (0, 4, 7):
        samples = [RunFolder(tmp_path / name).sample(step) for name in ("through", "run")]
        assert samples[0].read_bytes() == samples[1].read_bytes()


def test_number_of_workers_does_not_show(single_root, tmp_path):
    for workers in (0, 3):
        config = configure(single_root, runtime={"workers": workers})
        start_run(config, run_dir=tmp_path / str(workers))
    assert log_of(tmp_path / "0") == log_of(tmp_path / "3")


def test_plan_counts_crops_and_describes_them(single_root):
    config = configure(single_root)
    config = config.model_copy(update={"train": config.train.model_copy(update={"steps": None})})
    with near_workers():
        plan = plan_run(config, preset=NAME)
    assert (plan.steps_per_epoch, plan.steps) == (3, 9)
    assert plan.pictures == {"a": 1, "b": 1}
    assert plan.phases[0].augmentation == (
        "zoom each side by 0.33 to 1 (bilinear), patch 16 x 16, mirror half of them"
    )
    assert plan.measured.shape == (3, 3, 16, 16)


def test_samples_show_the_whole_picture(trained):
    with Image.open(trained.sample(0)) as grid:
        assert min(grid.size) >= 56


def test_alarms_take_one_picture(single_root, tmp_path):
    config = configure(single_root, samples={"every_steps": 1}, health={"saturation": 0.0})
    start_run(config, run_dir=tmp_path / "run")
    assert RunFolder(tmp_path / "run").read_metrics()[-1]["step"] == 7


def test_measuring_without_test_pictures_says_what_is_missing(single_root):
    with pytest.raises(ConfigError, match=r"eval\.every_steps is 2.*\(0 of A, 0 of B\)"):
        open_session(configure(single_root, eval={"every_steps": 2}))


def test_resume_refuses_another_picture(single_root, tmp_path):
    root = tmp_path / "data"
    for name in ("trainA", "trainB"):
        write_pictures(root / name, seed=4, count=1, side=40)
    start_run(configure(root, steps=2), run_dir=tmp_path / "run")
    (root / "trainA/00.png").rename(root / "trainA/01.png")
    with pytest.raises(DataError, match="domain A has 1 pictures as before, but under other"):
        resume_run(tmp_path / "run", steps=4)


def test_several_pictures_are_refused_before_the_run_begins(picture_root, tmp_path):
    with pytest.raises(DataError, match="domain A has 8 training pictures"):
        start_run(configure(picture_root), run_dir=tmp_path / "run")
    assert not (tmp_path / "run/checkpoints/last.pt").exists()


def test_report_counts_the_steps_of_the_schedule(trained):
    run = reporting._open(trained)
    train = run.config.train.model_copy(update={"steps": None})
    run.config = run.config.model_copy(update={"train": train})
    assert run.last_step == 9
    assert reporting.report_run(trained.path).samples


def test_data_stats_counts_crops(single_root):
    result = CliRunner().invoke(
        app, ["data", "stats", str(single_root), "--preset", NAME, "--json"]
    )
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)["plan"]
    assert (plan["steps_per_epoch"], plan["steps"], plan["crops"]) == (6250, 100_000, 100_000)
    text = CliRunner().invoke(app, ["data", "stats", str(single_root), "--preset", NAME]).stdout
    assert "an epoch is 6250 steps, 100000 crops of each picture" in text
