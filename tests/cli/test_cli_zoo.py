"""`i2i zoo`, and an entry of the zoo in every command that takes a checkpoint."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_folders import write_pictures
from PIL import Image
from run_kit import make_run
from zoo_kit import write_entry

from i2icli.bench.rig import Variant, build_rig
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.paths import find_checkpoint
from i2icli.translation.translator import load_translator

FORMS = ("zoo:tiny", "zoo/tiny", "zoo/tiny/", "zoo/tiny/model.safetensors")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with a data set, a picture, and the zoo of I2I_HOME."""
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB", "testA_truth")):
        write_pictures(home / "set" / name, seed=seed, count=2)
    samples = sorted((home / "set/testA").iterdir())
    shutil.copy(samples[0], home / "in.png")
    run = make_run(home / "made", steps=(2,))
    write_entry(home / "zoo", run.path, samples)
    return home


@pytest.fixture(autouse=True)
def _at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("I2I_HOME", str(home))


@pytest.fixture
def nothing_new(home):
    """See to it that commands leave the folder of the entry as it is."""
    before = sorted((home / "zoo").rglob("*"))
    yield
    assert sorted((home / "zoo").rglob("*")) == before


def words_of(verb, path, out):
    """Return a command about `path` that writes below `out`."""
    train = ("train", "--preset", "made/config.toml", "--data", "set", "--set", "data.crop=32")
    return {
        "translate": ("translate", path, "in.png", out / "out.png", "--device", "cpu"),
        "eval": ("eval", path, "--truth-error", "--data", "set", "--device", "cpu", "--json"),
        "compare": ("compare", path, "in.png", "--out", out, "--device", "cpu", "--json"),
        "viz-attention": ("viz-attention", path, "in.png", out, "--device", "cpu", "--json"),
        "train": (*train, "--run-dir", out / "run", "--steps", 1, "--init-from", path),
        "bench": ("bench", "--preset", "cut", "--against", path),
        "resume": ("resume", path),
        "report": ("report", path),
    }[verb]


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("path", FORMS)
def test_translate_takes_an_entry(i2i, tmp_path, path):
    code, _, err = i2i(*words_of("translate", path, tmp_path))
    assert code == 0, err
    wanted = load_translator("made", device="cpu").translate("in.png")
    made = Image.open(tmp_path / "out.png")
    assert np.abs(np.asarray(made).astype(int) - np.asarray(wanted)).max() <= 1


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("path", FORMS)
def test_eval_compare_and_viz_attention_take_an_entry(i2i_json, home, tmp_path, path):
    found = i2i_json(*words_of("eval", path, tmp_path)[:-1])
    assert Path(found["checkpoint"]["checkpoint"]).samefile(home / FORMS[-1])
    assert (found["checkpoint"]["step"], found["checkpoint"]["choice"]) == (8, "step 8")
    (compared,) = i2i_json(*words_of("compare", path, tmp_path)[:-1])["checkpoints"]
    assert (compared["name"], compared["step"]) == ("tiny", 8)
    shown = i2i_json(*words_of("viz-attention", path, tmp_path)[:-1])
    assert all(Path(file).is_file() for each in shown["pictures"] for file in each["files"])
    assert shown["pictures"][0]["layers"]


@pytest.mark.usefixtures("nothing_new")
def test_viz_attention_shows_the_samples_in_the_working_folder(i2i_json, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = i2i_json("viz-attention", "zoo:tiny", "--device", "cpu")
    assert [Path(each["path"]).name for each in shown["pictures"]] == [
        "1-source.jpg",
        "2-source.jpg",
    ]
    assert {Path(file).parent.name for each in shown["pictures"] for file in each["files"]} == {
        "tiny-attention"
    }
    assert (tmp_path / "tiny-attention").is_dir()


def test_an_entry_and_the_run_that_it_was_made_of_are_compared(i2i_json, tmp_path):
    words = ("compare", "zoo:tiny", "made", "in.png", "--out", tmp_path, "--device", "cpu")
    assert [each["name"] for each in i2i_json(*words)["checkpoints"]] == ["tiny", "made"]


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("path", FORMS[:2])
def test_a_run_begins_with_the_weights_of_an_entry(i2i, tmp_path, path):
    code, _, err = i2i(*words_of("train", path, tmp_path))
    assert code == 0, err
    assert "model.safetensors (step 8); optimizers and steps start anew.\n" in err
    row = next(line for line in err.splitlines() if line.strip().startswith("generator "))
    assert row.split()[2:] == ["-", "-", "-"]
    row = next(line for line in err.splitlines() if line.strip().startswith("discriminator "))
    assert row.split()[1] == "-"


def test_what_is_measured_has_the_weights_of_an_entry(home):
    file = find_checkpoint("zoo:tiny")
    state = load_checkpoint(file)
    document = {**state.config, "data": {**state.config["data"], "root": str(home / "set")}}
    found = build_rig(Variant("tiny", document, str(file))).method.translating_state()
    assert found.keys() == state.weights.keys()
    assert all(found[name].equal(weight) for name, weight in state.weights.items())


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("verb", ["resume", "report"])
def test_what_needs_a_run_refuses_an_entry_in_a_sentence(i2i, tmp_path, verb, path):
    code, _, err = i2i(*words_of(verb, path, tmp_path))
    assert code == 2
    typed = path.rstrip("/")
    assert err.endswith(
        f"error: {typed} is a trained translator without its run: it has no log, no other "
        "checkpoints and no optimizers. `i2i train --preset qs-attn-global --init-from "
        f"{typed} --data DIR` begins a run with its weights, `i2i zoo show {typed}` tells what is "
        "known of it.\n"
    )


@pytest.mark.parametrize("verb", ["eval", "viz-attention"])
def test_all_checkpoints_of_an_entry_are_refused(i2i, verb):
    code, _, err = i2i(verb, "zoo:tiny", "--all-checkpoints")
    assert (code, "no other checkpoints" in err) == (2, True)


VERBS = ("translate", "eval", "compare", "viz-attention", "train", "bench", "resume", "report")


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_name_gets_the_nearest_from_every_command(i2i, tmp_path, verb):
    code, _, err = i2i(*words_of(verb, "zoo:tinny", tmp_path))
    assert code == 2
    wanted = "the zoo has no entry 'tinny'; did you mean zoo:tiny? `i2i zoo list` shows them all."
    assert f"error: {wanted} Type `i2i " in err
    assert "zoo:tiny" in err.rpartition("Type")[2]


def test_a_name_without_the_prefix_is_guessed(i2i, home, tmp_path):
    code, _, err = i2i("translate", "tiny", "in.png", tmp_path / "out.png")
    assert code == 2
    assert "no run: `ls runs` shows your runs. Do you mean zoo:tiny?\n" in err


def test_eval_without_data_says_which_are_missing(i2i):
    code, _, err = i2i("eval", "zoo:tiny", "--truth-error", "--device", "cpu")
    assert code == 3
    assert "the folder tiny, where this run found its pictures, does not exist: name it" in err


def test_a_damaged_model_is_refused_by_every_command(i2i, home, tmp_path):
    folder = Path(shutil.copytree(home / "zoo/tiny", tmp_path / "bad"))
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-9] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    for verb in ("translate", "eval", "compare", "viz-attention", "train"):
        code, _, err = i2i(*words_of(verb, folder, tmp_path / "out"))
        assert code == 2, verb
        assert "is damaged or was changed: its SHA-256 is" in err, verb


def test_a_translator_of_an_entry_goes_to_another_process(monkeypatch):
    translator = load_translator("zoo:tiny", device="cpu")
    again = pickle.loads(pickle.dumps(translator))
    ours, theirs = (np.asarray(each.translate("in.png")) for each in (translator, again))
    assert np.array_equal(ours, theirs)


def test_list_has_a_line_an_entry(i2i, i2i_json):
    code, out, err = i2i("zoo", "list")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("tiny "))
    wanted = ["tiny", "noise into noise", "FID 117.2, KID 0.0431", "5.2 hours", "0.0 MB"]
    assert [cell for cell in row.split("  ") if cell] == wanted
    assert "use one: i2i translate zoo:" in err
    found = {row["name"]: row for row in i2i_json("zoo", "list")}["tiny"]
    assert (found["fid"], found["kid"], found["hours"]) == (117.25, 0.0431, 5.2)
    assert Path(found["folder"], "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["tiny", "zoo:tiny", "zoo/tiny"])
def test_show_prints_the_card(i2i, i2i_json, home, name):
    shown = i2i("zoo", "show", name)[1]
    assert shown.startswith("# tiny: noise into noise\n")
    assert (home / "zoo/tiny/README.md").read_text().endswith(f"---\n\n{shown}")
    shown = i2i_json("zoo", "show", name)
    assert shown["model"]["type"] == "float16"
    assert shown["configuration"]["method"]["generator"]["width"] == 4
    assert Path(shown["card"]).samefile(home / "zoo/tiny/README.md")


def test_show_of_a_wrong_name_gives_the_nearest(i2i):
    code, _, err = i2i("zoo", "show", "tine")
    assert (code, "did you mean zoo:tiny?" in err) == (2, True)


def test_an_empty_zoo_is_said_to_be_empty(i2i, tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path))
    monkeypatch.setattr("i2icli.runs.zoo._PACKAGE", tmp_path / "package")
    assert i2i("zoo", "list") == (0, "", "there is none in this version of i2i\n")
