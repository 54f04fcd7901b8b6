import re
import shutil

import numpy as np
import pytest
import torch
from engine_kit import Watcher, pair_config
from PIL import Image
from plain_data import assert_same

from i2icli.errors import DataError, DivergedError
from i2icli.methods import configure_run
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.training.finite import Fault, diverged
from i2icli.training.reporter import Silent
from i2icli.training.run import start_run
from i2icli.training.session import open_session

pytestmark = pytest.mark.usefixtures("pair")


def test_loss_that_is_not_a_number_stops_the_run_and_names_the_cause(picture_root, tmp_path):
    config = pair_config(
        picture_root, method={"break_at": 5}, log={"every_steps": 50}, data={"batch_size": 2}
    )
    with pytest.raises(DivergedError) as got:
        start_run(config, run_dir=tmp_path / "run")
    message = str(got.value)
    assert got.value.exit_code == 5
    assert "term 'gan' of player 'generator' was not finite at step 5" in message
    assert message.count("trainA") == 2
    assert message.count("trainB") == 2
    assert "last.pt is intact" in message
    assert "--init-from" in message
    assert "--set method.optimizer.lr=0.005" in message
    state = load_checkpoint(tmp_path / "run/checkpoints/last.pt")
    assert state.step == 4
    assert all(value.isfinite().all() for value in state.weights.values())


def test_loss_that_is_not_a_number_is_seen_at_the_log_interval(picture_root, tmp_path):
    config = pair_config(
        picture_root, steps=100, method={"break_at": 3}, checkpoint={"every_steps": 100}
    )
    watcher = Watcher()
    with pytest.raises(DivergedError, match="at step 3.*nothing was saved yet"):
        start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    assert watcher.steps[-1] == 4
    assert not (tmp_path / "run/checkpoints/last.pt").exists()


def test_weight_that_is_not_finite_is_never_saved(picture_root, tmp_path):
    config = pair_config(picture_root, method={"spoil_at": 4}, log={"every_steps": 50})
    with pytest.raises(DivergedError, match=r"weight 'generator.0.bias'.*step 4.*trainA"):
        start_run(config, run_dir=tmp_path / "run")
    assert load_checkpoint(tmp_path / "run/checkpoints/last.pt").step == 2


def test_float16_run_that_diverges_is_advised_to_use_more_precision(picture_root, tmp_path):
    config = pair_config(
        picture_root, method={"break_at": 1}, runtime={"precision": "float16", "device": "cpu"}
    )
    with pytest.raises(DivergedError, match=r"--set runtime\.precision=float32"):
        start_run(config, run_dir=tmp_path / "run")


def test_moving_average_is_the_recurrence_and_is_saved(picture_root, tmp_path):
    config = pair_config(
        picture_root, steps=3, ema={"decay": 0.75}, checkpoint={"keep_every_steps": 1}
    )
    start_run(config, run_dir=tmp_path / "run")
    name = "generator.0.weight"
    average = open_session(config).method.state_dict()[name].clone()
    for step in (1, 2, 3):
        state = load_checkpoint(tmp_path / f"run/checkpoints/step-{step:07d}.pt")
        average = 0.75 * average + 0.25 * state.weights[name]
        assert torch.allclose(state.ema[name], average, atol=1e-6)
    assert "discriminator.weight" not in state.ema
    assert torch.equal(state.translating_weights()[name], state.ema[name])


def test_moving_average_is_what_samples_are_drawn_with(picture_root, tmp_path):
    samples = {"every_steps": 6, "count": 1}
    start_run(pair_config(picture_root, samples=samples), run_dir=tmp_path / "plain")
    start_run(
        pair_config(picture_root, samples=samples, ema={"decay": 0.999}), run_dir=tmp_path / "slow"
    )
    grids = {
        name: np.asarray(Image.open(tmp_path / name)).astype(int)
        for name in (
            "plain/samples/step-0000000.png",
            "plain/samples/step-0000006.png",
            "slow/samples/step-0000006.png",
        )
    }
    start, plain, averaged = grids.values()
    assert np.abs(averaged - start).max() < np.abs(plain - start).max() / 2
    left, right = (load_checkpoint(tmp_path / n / "checkpoints/last.pt") for n in ("plain", "slow"))
    assert_same(left.weights, right.weights)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (50.0, "with the preset's learning rate: .*--set method.optimizer.lr=0.0002`"),
        (2e-4, "with half the learning rate: .*--set method.optimizer.lr=0.0001`"),
    ],
)
def test_a_run_that_diverges_is_advised_to_the_preset_s_rate_or_below(tmp_path, rate, words):
    config = configure_run("cut", [f"method.optimizer.lr={rate}"])
    fault = Fault("term 'x'", step=3, files=("a.png",))
    folder = RunFolder(tmp_path)
    error = diverged(fault, config=config, folder=folder, precision=torch.float32)
    assert re.search(words, str(error))


def test_a_run_whose_pictures_went_away_says_how_to_go_on(picture_root, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(picture_root, root)

    class Remover(Silent):
        def stepped(self, progress):
            for path in (root / "trainA").iterdir():
                path.unlink()

    config = pair_config(root, steps=50)
    with pytest.raises(DataError) as caught:
        start_run(config, run_dir=tmp_path / "run", reporter=Remover())
    message = str(caught.value)
    assert re.search(
        r"are not there any more\. All up to step \d+ is saved: .*`i2i resume", message
    )
