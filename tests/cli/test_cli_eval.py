"""`i2i eval`: runs, folders, protocols and bad input, with a small network for Inception."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_folders import write_pictures
from torch import Tensor

from i2icli.cli import app as app_module
from i2icli.config.document import config_document
from i2icli.errors import WeightsError
from i2icli.methods import build_method, configure_run
from i2icli.pretrained.weights import FoundWeights
from i2icli.runs.checkpoint import CheckpointState, save_checkpoint

SMALL = ("method.generator.width=4", "method.generator.blocks=1", "method.discriminator.width=4")
Call = Callable[..., tuple[int, str, str]]


def stand_in(images: Tensor) -> Tensor:
    cells = torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
    return torch.nn.functional.pad(cells, (0, 2048 - cells.shape[1]))


def use_stand_in(patch: pytest.MonkeyPatch) -> None:
    weights = FoundWeights("inception", Path("none.pt"), "0" * 64)
    patch.setattr("i2icli.metrics.features.build_network", lambda *_: stand_in)
    for name in ("features", "realism", "choose"):
        patch.setattr(f"i2icli.metrics.{name}.find_inception", lambda _mode: weights)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "horse2zebra"
    for seed, (name, count) in enumerate({"testA": 3, "testB": 4}.items()):
        write_pictures(root / name, seed=seed, count=count)
    return root


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Path:
    for seed, name in enumerate(("step-0000010", "step-0000020", "last")):
        config = configure_run("cyclegan", [*SMALL, f"data.root={data}", f"train.seed={seed}"])
        weights = build_method(config).state_dict()
        path = tmp_path / "runs" / "tiny-001" / "checkpoints" / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        step = 10 * (seed + 1)
        save_checkpoint(
            path,
            CheckpointState(config=config_document(config), weights=weights, step=step, epoch=seed),
        )
    (path.parents[1] / "config.toml").write_text("")
    return path.parents[1]


@pytest.fixture
def i2i(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        words = ["i2i", "eval", *map(str, arguments), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            app_module.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def inception(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_in(monkeypatch)


def document(answer: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = answer
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_run_is_translated_and_measured(i2i: Call, inception: None, run: Path) -> None:
    found = document(i2i(run, "--fid", "--kid", "--json"))
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


def test_text_says_number_interval_counts_and_protocol(
    i2i: Call, inception: None, run: Path
) -> None:
    code, out, err = i2i(run, "--fid")
    assert code == 0
    assert out.startswith("FID ")
    assert "N: 4 real, 3 fake" in out
    for said in ("mode: clean", "real_formats: PNG", "fake_sizes: 24x24", "weights_sha256: 0000"):
        assert said in out
    assert f"checkpoint: {run / 'checkpoints' / 'last.pt'}" in out
    assert "note: FID of 3 against 4 pictures: with fewer than 2,048" in err


def test_no_argument_means_the_newest_run_and_all_that_is_possible(
    i2i: Call, inception: None, run: Path
) -> None:
    code, out, err = i2i("--json")
    found = json.loads(out)
    assert code == 0
    assert {"fid", "kid"} <= set(found["metrics"])
    assert "lpips" in found["skipped"]
    assert "the newest run: runs/tiny-001" in err
    assert "left out lpips: the weights alexnet" in err


def test_no_run_is_said(i2i: Call) -> None:
    code, _, err = i2i("--fid")
    assert code == 2
    assert "there is no run in runs/" in err


def test_protocol_resizes_inputs_and_counts_pictures(
    i2i: Call, inception: None, run: Path, tmp_path: Path
) -> None:
    answer = i2i(run, "--fid", "--protocol", "cut", "--keep", tmp_path / "kept", "--json")
    found = document(answer)
    protocol = found["metrics"]["fid"]["protocol"]
    assert found["protocol"] == protocol["protocol"] == "cut"
    assert protocol["mode"] == "legacy_pytorch"
    assert protocol["fake_sizes"] == "256x256"
    assert protocol["real_sizes"] == "24x24"
    assert len(list((tmp_path / "kept" / "outputs").glob("*.png"))) == 3
    assert len(list((tmp_path / "kept" / "inputs").glob("*.png"))) == 3
    assert (
        "testA of horse2zebra has 3 pictures (translated), where papers measure with 120"
        in (answer[2])
    )
    assert "note: protocol cut (Park et al., ECCV 2020" in answer[2]


def test_kept_translations_measure_the_same_as_folders(
    i2i: Call, inception: None, run: Path, data: Path, tmp_path: Path
) -> None:
    by_run = document(i2i(run, "--fid", "--keep", tmp_path / "kept", "--json"))
    by_folders = document(
        i2i("--fid", "--real", data / "testB", "--fake", tmp_path / "kept" / "outputs", "--json")
    )
    assert by_run["metrics"]["fid"]["value"] == by_folders["metrics"]["fid"]["value"]
    assert by_folders["checkpoint"] is None
    code, _, err = i2i(run, "--fid", "--keep", tmp_path / "kept")
    assert code == 2
    assert "is not empty" in err


def test_mode_wins_over_that_of_the_protocol(i2i: Call, inception: None, run: Path) -> None:
    found = document(i2i(run, "--fid", "--protocol", "cut", "--mode", "clean", "--json"))
    assert found["metrics"]["fid"]["protocol"]["mode"] == "clean"


def test_other_direction_swaps_inputs_and_reals(i2i: Call, inception: None, run: Path) -> None:
    found = document(i2i(run, "--fid", "--direction", "b2a", "--json"))
    assert found["metrics"]["fid"]["counts"] == {"real": 3, "fake": 4}
    code, _, err = i2i(run, "--fid", "--direction", "c2d")
    assert code == 2
    assert "--direction 'c2d'" in err


def test_all_checkpoints_are_measured_and_the_best_marked(
    i2i: Call, inception: None, run: Path
) -> None:
    found = document(i2i(run, "--fid", "--all-checkpoints", "--json"))
    values = {
        entry["about"]["step"]: entry["metrics"]["fid"]["value"] for entry in found["checkpoints"]
    }
    assert list(values) == [10, 20, 30]
    assert len(set(values.values())) == 3
    assert found["best"]["fid"]["step"] == min(values, key=lambda step: values[step])
    assert found["metrics"]["fid"]["value"] == values[30]
    _, out, _ = i2i(run, "--fid", "--all-checkpoints")
    assert sum("*" in line for line in out.splitlines()[1:4]) == 1


def test_missing_weights_end_with_4_before_translating(
    i2i: Call, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: object, **_options: object) -> None:
        pytest.fail("pictures were translated")

    monkeypatch.setattr("i2icli.evaluation.evaluate.translate_held_out", never)
    code, out, err = i2i(run, "--fid", "--offline")
    assert (code, out) == (WeightsError.exit_code, "")
    assert "the weights inception" in err
    assert "i2i weights get inception" in err
    code, _, err = i2i(run, "--protocol", "cut", "--kid")
    assert code == 4
    assert "i2i weights get inception-pytorch" in err


def test_damaged_weights_end_with_4(i2i: Call, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "weights"
    folder.mkdir(parents=True)
    (folder / "inception-2015-12-05.pt").write_bytes(b"not weights")
    code, _, err = i2i(run, "--fid")
    assert code == 4
    assert "is not the weights inception" in err


def test_broken_test_picture_is_named_and_ends_with_3(
    i2i: Call, inception: None, run: Path, data: Path
) -> None:
    (data / "testA" / "zz.png").write_bytes((data / "testA" / "00.png").read_bytes()[:50])
    code, out, err = i2i(run, "--fid")
    assert (code, out) == (3, "")
    assert "1 of 4 pictures cannot be read" in err
    assert "zz.png" in err


def test_broken_real_picture_is_named_and_ends_with_3(
    i2i: Call, inception: None, run: Path, data: Path
) -> None:
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
def test_bad_input_gets_a_sentence_and_an_exit_code(
    i2i: Call, inception: None, run: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, out, err = i2i(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("count", "message"), [(0, "no pictures in"), (1, "holds one picture")])
def test_too_few_pictures_end_with_3(
    i2i: Call, inception: None, data: Path, tmp_path: Path, count: int, message: str
) -> None:
    write_pictures(tmp_path / "few", seed=1, count=count)
    code, _, err = i2i("--fid", "--real", data / "testB", "--fake", tmp_path / "few")
    assert code == 3
    assert message in err


def test_run_whose_pictures_are_gone_says_so(
    i2i: Call, inception: None, run: Path, data: Path, tmp_path: Path
) -> None:
    shutil.move(data, tmp_path / "elsewhere")
    code, _, err = i2i(run, "--fid")
    assert code == 3
    assert "where this run found its pictures, does not exist: name it with --data DIR" in err
    document(i2i(run, "--fid", "--data", tmp_path / "elsewhere", "--json"))


_RANK = """
import sys
sys.path[:0] = sys.argv[1:3]
import pytest
from test_cli_eval import use_stand_in
use_stand_in(pytest.MonkeyPatch())
from i2icli.cli.app import main
sys.argv = ["i2i", *sys.argv[3:]]
main()
"""


def test_two_processes_give_the_number_of_one(
    i2i: Call, inception: None, run: Path, tmp_path: Path
) -> None:
    alone = document(i2i(run, "--fid", "--kid", "--protocol", "cut", "--json"))
    shutil.rmtree(tmp_path / "home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    here = Path(__file__).resolve().parent
    words = ["eval", str(run), "--fid", "--kid", "--protocol", "cut", "--json", "--device", "cpu"]
    command = [sys.executable, "-c", _RANK, str(here), str(here.parent), *words]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            command,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[1][0] == ""
    together = json.loads(answers[0][0])
    for name in ("fid", "kid"):
        assert together["metrics"][name]["value"] == alone["metrics"][name]["value"]
        assert together["metrics"][name]["counts"] == {"real": 4, "fake": 3}
