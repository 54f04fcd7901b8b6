"""A path means the same in every command: which file it names, and the sentence where none."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_folders import write_pictures
from PIL import Image

from i2icli.errors import CheckpointError
from i2icli.methods import configure_run
from i2icli.runs.folder import RunFolder
from i2icli.training.run import start_run
from i2icli.translation.translator import load_translator

SMALL = (
    *("method.generator.width=2", "method.generator.blocks=1", "method.discriminator.width=2"),
    *("method.nce_layers=[0,4,8,11,12]", "method.num_patches=4", "method.projection_dim=4"),
    *("data.resize=36", "data.crop=32", "train.epochs=null", "train.steps=4", "runtime.workers=0"),
    *("runtime.device=cpu", "log.tensorboard=off", "samples.every_steps=0"),
    *("checkpoint.keep_every_steps=1", "method.optimizer.lr=0.1"),
)
RUN = "runs/a [b]-001"
# What is typed, and the checkpoint that it names.
FORMS = {
    f"{RUN}/checkpoints/best.pt": "best",
    RUN: "last",
    f"./runs/../{RUN}": "last",
    f"~/{RUN}": "last",
    f"{RUN}/checkpoints": "last",
    f"{RUN}/checkpoints/": "last",
    f"{RUN}/config.toml": "last",
    f"{RUN}/best": "best",
    f"{RUN}/checkpoints/step-0000002": "step-0000002",
    f"{RUN}/step-2": "step-0000002",
}
WRONG = {
    "gone": "there is no checkpoint at gone, and no run: `ls runs` shows your runs.",
    "gone/x.pt": "there is no checkpoint at gone/x.pt, and no run: `ls runs` shows your runs.",
    "runs/": f"runs holds runs: name one of them, for example {RUN}.",
    "empty": "empty is a folder but not a run: a run folder holds config.toml and checkpoints, "
    "for example runs/demo-001.",
    f"{RUN}/step-3": f"{RUN}/checkpoints has no checkpoint step-3: it has best, last, step-2.",
    f"{RUN}/checkpoints/x.pt": f"{RUN}/checkpoints has no checkpoint x.pt: it has best, last, "
    "step-2.",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with a data set, a picture, and a finished run of three checkpoints."""
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB", "testA_truth")):
        write_pictures(home / "set" / name, seed=seed, count=2)
    shutil.copy(next((home / "set/testA").iterdir()), home / "in.png")
    (home / "empty").mkdir()
    config = configure_run("qs-attn-global", [*SMALL, f"data.root={home / 'set'}"])
    start_run(config, run_dir=home / RUN)
    folder = RunFolder(home / RUN)
    folder.numbered(1).replace(folder.best)
    folder.numbered(4).unlink()
    folder.numbered(3).unlink()
    return home


@pytest.fixture
def i2i(i2i, home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    return i2i


def words_of(verb, path, out):
    """Return a command about `path` that writes below `out`."""
    train = ("train", "--preset", Path(RUN) / "config.toml", "--run-dir", out / "run", "--steps", 1)
    return {
        "translate": ("translate", path, "in.png", out / "out.png", "--device", "cpu"),
        "eval": ("eval", path, "--truth-error", "--device", "cpu", "--json"),
        "compare": ("compare", path, "in.png", "--out", out, "--device", "cpu", "--json"),
        "viz-attention": ("viz-attention", path, "in.png", out, "--device", "cpu", "--json"),
        "train": (*train, "--init-from", path),
        "resume": ("resume", path, "--json"),
        "report": ("report", path, "--out", out / "report.html", "--json"),
    }[verb]


def named_by(verb, out, err, folder, home):
    """Return the file or run that a command worked on, by what it made or printed."""
    if verb == "translate":
        made = np.asarray(Image.open(folder / "out.png"))
        for file in sorted((home / RUN / "checkpoints").iterdir()):
            picture = load_translator(file, device="cpu").translate(home / "in.png")
            if np.array_equal(np.asarray(picture), made):
                return file
    if verb == "train":
        return Path(err.split("weights from ")[1].split(" (step")[0])
    document = json.loads(out)
    if verb == "eval":
        document = next(iter(document["metrics"].values()))["about"]
    if verb == "compare":
        (document,) = document["checkpoints"]
    return Path(document.get("checkpoint") or document.get("path") or document["run"])


VERBS = ("translate", "eval", "compare", "viz-attention", "train", "resume", "report")


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_path_names_the_same_checkpoint_in_every_command(i2i, home, tmp_path, verb, path):
    code, out, err = i2i(*words_of(verb, path, tmp_path))
    assert code == 0, err
    wanted = home / RUN / "checkpoints" / f"{FORMS[path]}.pt"
    if verb in ("resume", "report"):  # about the run of a checkpoint
        wanted = home / RUN / "checkpoints" / "last.pt" if verb == "resume" else home / RUN
    assert os.path.samefile(named_by(verb, out, err, tmp_path, home), wanted)


@pytest.mark.parametrize("path", WRONG)
@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_path_gets_the_same_sentence_from_every_command(i2i, tmp_path, verb, path):
    code, _, err = i2i(*words_of(verb, path, tmp_path))
    assert code == 2
    assert f"error: {WRONG[path]}\n" in err


@pytest.mark.parametrize("path", FORMS)
def test_a_translator_in_python_takes_the_same_paths(home, monkeypatch, path):
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    file = home / RUN / "checkpoints" / f"{FORMS[path]}.pt"
    ours, theirs = (load_translator(p, device="cpu").method.state_dict() for p in (path, file))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize("path", WRONG)
def test_a_translator_in_python_refuses_the_same_paths(home, monkeypatch, path):
    monkeypatch.chdir(home)
    with pytest.raises(CheckpointError) as fault:
        load_translator(path)
    assert str(fault.value) == WRONG[path]


def test_a_run_whose_last_checkpoint_is_gone_gets_the_same_sentence(i2i, home, tmp_path):
    shutil.copytree(home / RUN, tmp_path / "run")
    (tmp_path / "run/checkpoints/last.pt").unlink()
    for verb in ("translate", "eval", "compare", "viz-attention", "train", "resume"):
        code, _, err = i2i(*words_of(verb, str(tmp_path / "run"), tmp_path / "out"))
        assert code == 2
        assert "checkpoints/last.pt is gone, but step-0000002.pt is there: copy it" in err


@pytest.mark.parametrize("path", ["last.pt", ".", "step-2"])
def test_inside_the_folder_of_checkpoints_short_names_do(i2i, home, tmp_path, monkeypatch, path):
    monkeypatch.chdir(home / RUN / "checkpoints")
    code, _, err = i2i("report", path, "--out", tmp_path / "report.html")
    assert code == 0, err
    code, _, err = i2i("translate", path, home / "in.png", tmp_path / "out.png")
    assert code == 0, err
