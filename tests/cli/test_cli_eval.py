"""`i2i eval`: runs, folders, protocols and bad input, with a small network for Inception."""

import json
import shutil
import sys

import pytest
from echo import SMALL
from picture_folders import write_pictures
from rank_processes import run_ranks
from run_kit import save_untrained
from stand_in import use_stand_in

from i2icli.errors import WeightsError
from i2icli.methods import configure_run


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "horse2zebra"
    for seed, (name, count) in enumerate({"testA": 3, "testB": 4}.items()):
        write_pictures(root / name, seed=seed, count=count)
    return root


@pytest.fixture
def run(tmp_path, data):
    for seed, name in enumerate(("step-0000010", "step-0000020", "last")):
        config = configure_run("cyclegan", [*SMALL, f"data.root={data}", f"train.seed={seed}"])
        path = tmp_path / "runs" / "tiny-001" / "checkpoints" / f"{name}.pt"
        save_untrained(path, config, step=10 * (seed + 1), epoch=seed)
    (path.parents[1] / "config.toml").write_text("")
    return path.parents[1]


@pytest.fixture
def i2i(i2i, monkeypatch, tmp_path):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    return lambda *words: i2i("eval", *words, "--device", "cpu")


@pytest.fixture
def inception(monkeypatch):
    use_stand_in(monkeypatch)


def test_run_is_translated_and_measured(i2i_json, inception, run):
    found = i2i_json(run, "--fid", "--kid")
    fid = found["metrics"]["fid"]
    assert list(found["metrics"]) == ["fid", "kid"]
    assert fid["counts"] == {"real": 4, "fake": 3}
    assert fid["interval"]["low"] <= fid["value"] <= fid["interval"]["high"]
    assert fid["protocol"]["mode"] == "clean"
    assert fid["protocol"]["fake_formats"] == "PNG"
    assert fid["protocol"]["fake_sizes"] == "24x24"
    assert fid["about"]["weights_sha256"] == "0" * 64
    assert fid["about"]["checkpoint"] == str(run / "checkpoints" / "last.pt")
    assert found["checkpoint"]["step"] == 30
    assert found["checkpoint"]["choice"] == "last"


def test_text_says_number_interval_counts_and_protocol(i2i, inception, run):
    code, out, err = i2i(run, "--fid")
    assert code == 0
    assert out.startswith("FID ")
    assert "N: 4 real, 3 fake" in out
    for said in ("mode: clean", "real_formats: PNG", "fake_sizes: 24x24", "weights_sha256: 0000"):
        assert said in out
    assert f"checkpoint: {run / 'checkpoints' / 'last.pt'}" in out
    assert "note: FID of 3 against 4 pictures: with fewer than 2,048" in err


def test_no_argument_means_the_newest_run_and_all_that_is_possible(i2i, inception, run):
    code, out, err = i2i("--json")
    found = json.loads(out)
    assert code == 0
    assert {"fid", "kid"} <= set(found["metrics"])
    assert "lpips" in found["skipped"]
    assert "the newest run: runs/tiny-001" in err
    assert "left out lpips: the weights alexnet" in err


def test_no_run_is_said(i2i):
    code, _, err = i2i("--fid")
    assert code == 2
    assert "there is no run in runs/" in err


def test_protocol_resizes_inputs_and_counts_pictures(i2i, inception, run, tmp_path):
    words = ("--fid", "--protocol", "cut", "--keep", tmp_path / "kept", "--json")
    code, out, err = i2i(run, *words)
    assert code == 0, err
    found = json.loads(out)
    protocol = found["metrics"]["fid"]["protocol"]
    assert found["protocol"] == protocol["protocol"] == "cut"
    assert protocol["mode"] == "legacy_pytorch"
    assert protocol["fake_sizes"] == "256x256"
    assert protocol["real_sizes"] == "24x24"
    assert len(list((tmp_path / "kept" / "outputs").glob("*.png"))) == 3
    assert len(list((tmp_path / "kept" / "inputs").glob("*.png"))) == 3
    assert "testA of horse2zebra has 3 pictures (translated), where papers measure with 120" in err
    assert "note: protocol cut (Park et al., ECCV 2020" in err


def test_kept_translations_measure_the_same_as_folders(
    i2i, i2i_json, inception, run, data, tmp_path
):
    by_run = i2i_json(run, "--fid", "--keep", tmp_path / "kept")
    by_folders = i2i_json(
        "--fid", "--real", data / "testB", "--fake", tmp_path / "kept" / "outputs"
    )
    assert by_run["metrics"]["fid"]["value"] == by_folders["metrics"]["fid"]["value"]
    assert by_folders["checkpoint"] is None
    code, _, err = i2i(run, "--fid", "--keep", tmp_path / "kept")
    assert code == 2
    assert "is not empty" in err


def test_mode_wins_over_that_of_the_protocol(i2i_json, inception, run):
    found = i2i_json(run, "--fid", "--protocol", "cut", "--mode", "clean")
    assert found["metrics"]["fid"]["protocol"]["mode"] == "clean"


def test_other_direction_swaps_inputs_and_reals(i2i, i2i_json, inception, run):
    found = i2i_json(run, "--fid", "--direction", "b2a")
    assert found["metrics"]["fid"]["counts"] == {"real": 3, "fake": 4}
    code, _, err = i2i(run, "--fid", "--direction", "c2d")
    assert code == 2
    assert "--direction 'c2d'" in err


def test_all_checkpoints_are_measured_and_the_best_marked(i2i, i2i_json, inception, run):
    found = i2i_json(run, "--fid", "--all-checkpoints")
    values = {
        entry["about"]["step"]: entry["metrics"]["fid"]["value"] for entry in found["checkpoints"]
    }
    assert list(values) == [10, 20, 30]
    assert len(set(values.values())) == 3
    assert found["best"]["fid"]["step"] == min(values, key=lambda step: values[step])
    assert found["metrics"]["fid"]["value"] == values[30]
    _, out, _ = i2i(run, "--fid", "--all-checkpoints")
    assert sum("*" in line for line in out.splitlines()[1:4]) == 1


def test_missing_weights_end_with_4_before_translating(i2i, run, monkeypatch):
    def never(*_arguments, **_options):
        pytest.fail("pictures were translated")

    monkeypatch.setattr("i2icli.evaluation.evaluate.translate_held_out", never)
    code, out, err = i2i(run, "--fid", "--offline")
    assert (code, out) == (WeightsError.exit_code, "")
    assert "the weights inception" in err
    assert "i2i weights get inception" in err
    code, _, err = i2i(run, "--protocol", "cut", "--kid")
    assert code == 4
    assert "i2i weights get inception-pytorch" in err


def test_damaged_weights_end_with_4(i2i, run, tmp_path):
    folder = tmp_path / "home" / "weights"
    folder.mkdir(parents=True)
    (folder / "inception-2015-12-05.pt").write_bytes(b"not weights")
    code, _, err = i2i(run, "--fid")
    assert code == 4
    assert "is not the weights inception" in err


def test_broken_test_picture_is_named_and_ends_with_3(i2i, inception, run, data):
    (data / "testA" / "zz.png").write_bytes((data / "testA" / "00.png").read_bytes()[:50])
    code, out, err = i2i(run, "--fid")
    assert (code, out) == (3, "")
    assert "1 of 4 pictures cannot be read" in err
    assert "zz.png" in err


def test_broken_real_picture_is_named_and_ends_with_3(i2i, inception, run, data):
    (data / "testB" / "zz.jpg").write_text("nothing")
    code, _, err = i2i("--fid", "--real", data / "testB", "--fake", data / "testA")
    assert code == 3
    assert "zz.jpg" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--fid", "--real", "horse2zebra/testB"), 2, "--real goes with --fake"),
        (("--fid", "--fake", "horse2zebra/testA"), 3, "give --real DIR"),
        (("runs/tiny-001", "--fid", "--fake", "x"), 2, "leave out the checkpoint"),
        (("runs/tiny-001", "--fid", "--mode", "dirty"), 2, "'dirty' is no way to resize"),
        (("runs/tiny-001", "--fid", "--protocol", "cutt"), 2, "did you mean cut?"),
        (("runs/tiny-001", "--lpips", "--net", "res"), 2, "--net 'res'"),
        (("runs/tiny-001", "--fid", "--data", "nowhere"), 3, "nowhere does not exist"),
        (("runs/tiny-001", "--fid", "--data", "runs"), 3, "has no folder testA"),
        (("runs/tiny-001", "--truth-error"), 3, "does not hold the true translations"),
        (("no.pt", "--fid"), 2, "no checkpoint at no.pt"),
        (
            ("--fid", "--real", "horse2zebra/testB", "--fake", "horse2zebra/testA", "--protocol")
            + ("cut",),
            2,
            "says how pictures are translated",
        ),
    ],
)
def test_bad_input_gets_a_sentence_and_an_exit_code(i2i, inception, run, arguments, code, message):
    found, out, err = i2i(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("count", "message"), [(0, "no pictures in"), (1, "holds one picture")])
def test_too_few_pictures_end_with_3(i2i, inception, data, tmp_path, count, message):
    write_pictures(tmp_path / "few", seed=1, count=count)
    code, _, err = i2i("--fid", "--real", data / "testB", "--fake", tmp_path / "few")
    assert code == 3
    assert message in err


def test_run_whose_pictures_are_gone_says_so(i2i, i2i_json, inception, run, data, tmp_path):
    shutil.move(data, tmp_path / "elsewhere")
    code, _, err = i2i(run, "--fid")
    assert code == 3
    assert "where this run found its pictures, does not exist: name it with --data DIR" in err
    i2i_json(run, "--fid", "--data", tmp_path / "elsewhere")


_RANK = """
import sys
import pytest
from stand_in import use_stand_in
use_stand_in(pytest.MonkeyPatch())
from i2icli.cli.app import main
sys.argv = ["i2i", *sys.argv[1:]]
main()
"""


def test_two_processes_give_the_number_of_one(i2i_json, inception, run, tmp_path):
    alone = i2i_json(run, "--fid", "--kid", "--protocol", "cut")
    shutil.rmtree(tmp_path / "home")
    words = ["eval", run, "--fid", "--kid", "--protocol", "cut", "--json", "--device", "cpu"]
    first, second = run_ranks([sys.executable, "-c", _RANK, *words])
    assert (first.code, second.code, second.out) == (0, 0, ""), (first, second)
    together = json.loads(first.out)
    for name in ("fid", "kid"):
        assert together["metrics"][name]["value"] == alone["metrics"][name]["value"]
        assert together["metrics"][name]["counts"] == {"real": 4, "fake": 3}
