"""`i2i viz-attention` as typed: what it writes, prints and refuses."""

import json
import os

import numpy as np
import pytest
from echo import SMALL
from picture_folders import write_noise
from run_kit import save_untrained

from i2icli.methods import METHODS, Method, configure_run

QS = (*SMALL, "method.nce_layers=[0,4,8,11,12]", "method.num_patches=6", "method.projection_dim=8")


def save_fresh(run, preset="qs-attn-global", *overrides, step=0, name="last"):
    config = configure_run(preset, [*(SMALL if preset == "cyclegan" else QS), *overrides])
    save_untrained(run / "checkpoints" / f"{name}.pt", config, step=step)
    (run / "config.toml").write_text("")
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory, picture_root):
    folder = tmp_path_factory.mktemp("runs") / "tiny-001"
    return save_fresh(folder, "qs-attn-global", f"data.root={picture_root}")


@pytest.fixture
def picture(tmp_path):
    return write_noise(tmp_path / "a.png", 20, 24)


@pytest.fixture
def viz(i2i):
    return lambda *words: i2i("viz-attention", *words, "--device", "cpu")


def test_files_are_named_on_stdout(viz, run, picture, tmp_path):
    code, out, err = viz(run, picture, tmp_path / "out", "--layers", "12")
    assert (code, err) == (0, "")
    written = [str(tmp_path / "out" / name) for name in ("a-layer12.png", "a.npz")]
    assert out.splitlines() == written
    assert all(os.path.getsize(path) for path in written)


def test_json_says_what_was_written_and_measured(viz, run, picture, tmp_path):
    document = json.loads(
        viz(run, picture, tmp_path / "out", "--html", "--json", "--queries", 2)[1]
    )
    assert document["checkpoint"] == str(run / "checkpoints" / "last.pt")
    (entry,) = document["pictures"]
    assert (entry["path"], entry["error"], len(entry["files"])) == (str(picture), None, 3)
    layer = entry["layers"][1]
    assert (layer["layer"], layer["map"], layer["selected"]) == (12, [5, 6], 6)
    assert layer["entropy"]["min"] <= layer["entropy"]["median"] <= layer["entropy"]["max"]
    assert [query["rank"] for query in layer["queries"]][0] == 1
    assert document["page"]["bytes"] == os.path.getsize(document["page"]["path"]) < 20_000_000
    assert document["page"]["largest_error"] <= 0.01


def test_without_arguments_the_newest_run_and_its_sample_pictures_are_shown(
    viz, run, monkeypatch, picture_root, tmp_path
):
    monkeypatch.chdir(tmp_path)
    save_fresh(tmp_path / "runs" / "old-001", "cyclegan")
    newer = save_fresh(tmp_path / "runs" / "new-001", "qs-attn-global", f"data.root={picture_root}")
    os.utime(tmp_path / "runs" / "old-001" / "config.toml", (1, 1))
    os.utime(tmp_path / "runs" / "old-001" / "checkpoints" / "last.pt", (1, 1))
    code, out, err = viz("--layers", "12", "--queries", "1")
    assert code == 0
    assert "the newest run: runs/new-001" in err
    there = sorted(p.name for p in (newer / "attention").iterdir())
    assert there == ["00-layer12.png", "00.npz", "01-layer12.png", "01.npz"]  # testA has two
    assert out.splitlines()[0] == "runs/new-001/attention/00-layer12.png"


def test_pictures_of_the_demo_set_stand_in_for_a_data_set_that_is_gone(
    viz, monkeypatch, tmp_path, i2i_home
):
    monkeypatch.setattr("i2icli.datasets.demo.demo_set.demo_folder", lambda: tmp_path / "demo")
    for seed, name in enumerate(("x.png", "y.png")):
        write_noise(tmp_path / "demo" / "testA" / name, seed=seed)
    run = save_fresh(tmp_path / "run", "qs-attn-global", f"data.root={tmp_path / 'gone'}")
    code, _, err = viz(run, "--layers", "12", "--queries", "1")
    assert code == 0
    assert "pictures of the demo set instead" in err
    assert (run / "attention" / "y-layer12.png").is_file()


def test_all_checkpoints_give_a_strip_and_a_film(viz, picture, tmp_path):
    run = save_fresh(tmp_path / "run", step=5)
    save_fresh(tmp_path / "run", step=2, name="step-0000002")
    code, out, _ = viz(
        run, picture, tmp_path / "out", "--all-checkpoints", "--layers", "12", "--queries", "1"
    )
    assert code == 0
    names = [os.path.basename(path) for path in out.splitlines()]
    assert names == ["a-layer12.png", "a.npz", "a-layer12-training.png", "a-layer12-training.gif"]


def test_a_method_without_attention_ends_with_2_and_names_those_that_have_some(
    viz, picture, tmp_path
):
    run = save_fresh(tmp_path / "run", "cyclegan")
    code, out, err = viz(run, picture, tmp_path / "out")
    assert (code, out) == (2, "")
    start = "error: this checkpoint is of method cyclegan, which has nothing to show: give one of "
    assert err.startswith(start)
    assert err.endswith(", or one trained with a structure term.\n")
    named = err.removeprefix(start).partition(", or one")[0].replace(" or ", ", ").split(", ")
    own = {name for name, kind in METHODS.items() if kind.views is not Method.views}
    assert set(named) == own | {"sesim", "single-image-sesim"}
    assert not (tmp_path / "out").exists()


def test_an_unreadable_picture_ends_with_3_after_the_others(viz, run, picture, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    picture.rename(folder / "a.png")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    code, out, err = viz(run, folder, tmp_path / "out", "--layers", "12")
    assert code == 3
    assert len(out.splitlines()) == 2
    assert err.startswith("failed: ")
    assert "broken.png" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--layers", "twelve"), 2, "--layers names twelve, but this checkpoint shows 11, 12"),
        (("--layers", "8"), 2, "--layers names 8, but this checkpoint shows 11, 12"),
        (("--layers", "12,"), 2, "--layers '12,' names nothing"),
        (("--invert-mask",), 2, "--invert-mask: this checkpoint shows no mask"),
        (("--direction", "b2a"), 2, "b2a"),
        (("--query", "12"), 2, "--query '12' is no pixel: give X,Y"),
        (("--query", "1,99"), 2, "--query 1,99 lies outside"),
        (("--all-checkpoints",), 2, "checkpoint.keep_every_steps=N"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(
    viz, run, picture, tmp_path, arguments, code, said
):
    ended, out, err = viz(run, picture, tmp_path / "out", *arguments)
    assert (ended, out) == (code, "")
    assert err.startswith("error: ")
    assert said in err


def test_no_run_at_all_says_how_to_make_one(viz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = viz()
    assert code == 2
    assert "i2i train --preset demo" in err


def test_an_empty_folder_ends_with_3(viz, run, tmp_path):
    (tmp_path / "in").mkdir()
    code, _, err = viz(run, tmp_path / "in", tmp_path / "out")
    assert code == 3
    assert "no pictures in" in err


def test_an_empty_name_is_not_the_working_folder(viz, run, tmp_path):
    code, _, err = viz(run, "", tmp_path / "out")
    assert code == 2
    assert "IMAGES is empty" in err


GUIDED = (
    "method.attention.width=3",
    "method.generator.width=4",
    "method.generator.blocks=1",
    "method.discriminator.width=4",
)


@pytest.fixture(scope="module")
def masked(tmp_path_factory, picture_root):
    """Return a run of a method that shows a mask, in both directions."""
    config = configure_run("attention-guided", [*GUIDED, f"data.root={picture_root}"])
    return save_untrained(
        tmp_path_factory.mktemp("masked") / "run/checkpoints/last.pt", config
    ).parents[1]


def test_masks_come_with_their_meaning_and_a_page(viz, masked, picture, tmp_path):
    document = json.loads(viz(masked, picture, tmp_path / "out", "--html", "--json")[1])
    (entry,) = document["pictures"]
    assert [os.path.basename(path) for path in entry["files"]] == ["a-attention.png", "a.npz"]
    (layer,) = entry["layers"]
    assert (layer["layer"], layer["kind"]) == ("attention", "mask")
    assert (layer["low"], layer["high"]) == ("kept from the source", "translated")
    assert 0 <= layer["share_above_half"] <= 1
    assert os.path.getsize(document["page"]["path"]) < 100_000


def test_invert_mask_turns_numbers_and_words_round(viz, masked, picture, tmp_path):
    arrays, layers = [], []
    for number, more in enumerate(((), ("--invert-mask",))):
        _, out, _ = viz(masked, picture, tmp_path / str(number), "--json", *more)
        layers.append(json.loads(out)["pictures"][0]["layers"][0])
        arrays.append(np.load(tmp_path / str(number) / "a.npz")["attention_mask"])
    np.testing.assert_allclose(arrays[1], 1 - arrays[0], atol=1e-6)
    assert (layers[1]["low"], layers[1]["high"]) == (layers[0]["high"], layers[0]["low"])


def test_the_other_direction_takes_the_other_domains_pictures(viz, masked, picture, tmp_path):
    viz(masked, picture, tmp_path / "ab")
    viz(masked, picture, tmp_path / "ba", "--direction", "b2a")
    masks = [np.load(tmp_path / name / "a.npz")["attention_mask"] for name in ("ab", "ba")]
    assert not np.array_equal(*masks)
    code, out, _ = viz(masked, "--direction", "b2a", "--layers", "attention")
    assert code == 0
    assert out.splitlines()[0] == str(masked / "attention" / "00-attention.png")
