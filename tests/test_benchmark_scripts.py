"""The scripts in benchmarks/: rows of the table, and a released code base in turn with ours."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from i2icli.methods import build_method, configure_run

ROOT = Path(__file__).resolve().parents[1]
# The smallest code base that follows the protocol, with a name in options, models and data each.
OPTIONS = """
import argparse
class TrainOptions:
    def parse(self):
        parser = argparse.ArgumentParser()
        for name in ("dataroot", "checkpoints_dir", "name", "gpu_ids", "model"):
            parser.add_argument("--" + name, required=True)
        for name in ("crop_size", "load_size", "batch_size"):
            parser.add_argument("--" + name, type=int, required=True)
        parser.add_argument("--weights", type=int, required=True)
        print("options are printed, and must not spoil the answer")
        return parser.parse_args()
"""
MODELS = """
import torch
class Generator(torch.nn.Module):
    def __init__(self, count):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(count))
    def forward(self, images):
        assert not self.training
        return images
class Model:
    model_names = ["G"]
    def __init__(self, options):
        self.options, self.calls = options, []
        self.netG = Generator(options.weights)
    def data_dependent_initialize(self, data):
        self.calls.append("initialize")
    def setup(self, options):
        assert self.calls == ["initialize"], self.calls
        self.calls.append("setup")
    def set_input(self, data):
        assert "setup" in self.calls
        shape = (self.options.batch_size, 3, self.options.crop_size, self.options.crop_size)
        assert data["A"].shape == data["B"].shape == shape
        self.input = data["A"]
    def optimize_parameters(self):
        (self.input @ self.input).sum()
def create_model(options):
    assert options.model == "made-up"
    return Model(options)
"""


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def script(name):
    """Return what a script defines."""
    return runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"))


def run_released(folder, *words, weights):
    """Run the comparison with the made-up code base."""
    for package, text in (("options", ""), ("models", MODELS)):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text(text)
    (folder / "options" / "train_options.py").write_text(OPTIONS)
    small = ["--preset", "demo", "--size", "32", "--steps", "2", "--set", "runtime.threads=1"]
    theirs = ["--", "--model", "made-up", "--weights", str(weights)]
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "released.py"), str(folder), *small]
        + [*words, *theirs],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def weights_of_demo():
    """Return how many weights ours has."""
    method = build_method(configure_run("demo"))
    return sum(weight.numel() for weight in method.parameters())


@pytest.mark.slow
def test_released_code_takes_steps_in_turn_with_ours(tmp_path):
    out = tmp_path / "results.md"
    (tmp_path / "code").mkdir()
    words = ["--translate", "--record", "--out", str(out), "--precision", "bfloat16"]
    ended = run_released(tmp_path / "code", *words, weights=weights_of_demo())
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert [result[side]["n"] for side in ("ours", "theirs", "speedup")] == [2, 2, 2]
    assert result["shape"] == [1, 3, 32, 32]
    assert result["options"][:2] == ["--model", "made-up"]
    assert (result["precision"], result["threads"]) == ("bfloat16", 1)
    assert result["theirs"]["flops_per_step"] == 3 * 2 * 32**3
    assert result["ours"]["flops_per_step"] > 1e6
    for side in ("ours", "theirs"):
        memory = result[side]["memory"]
        assert memory["peak_bytes"] is None or memory["peak_bytes"] > memory["imports_bytes"] > 0
    speed = result["translate"]
    assert {part["n"] for part in speed.values()} == {2}
    (row,) = script("record")["rows"](out, "## Against the released code")
    assert row[3].startswith("`released.py code --preset demo --size 32")
    assert "unknown" in row[6] or " -> " in row[6]
    assert len(row) == 10


def test_other_networks_are_refused(tmp_path):
    ended = run_released(tmp_path, weights=7)
    assert ended.returncode == 1
    assert "the networks differ: ours have" in ended.stderr
    assert "theirs 7 weights, {'G': 7}" in ended.stderr


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("cut:128", "bench --preset cut --size 128 --steps 7"),
        ("cut:64:bfloat16", "bench --preset cut --size 64 --steps 7 --precision bfloat16"),
    ],
)
def test_a_row_is_a_command(row, words):
    assert script("table")["command"](row, 7) == words.split()


def test_rows_are_added_with_repeats_and_spread(tmp_path):
    report = {
        "step": {"min_s": 0.5, "median_s": 0.75, "quartiles_s": [0.6, 0.9], "n": 7},
        "translate": {"images_per_s": 3.0, "quartiles_images_per_s": [2.0, 4.0]},
        "share_of_limit": {"median": 0.5, "quartiles": [0.4, 0.6]},
        "versions": {"i2i": "0.1.0", "torch": "2.9.0"},
        "device_name": "",
        "threads": 2,
        "precision": "float32",
        "peak_memory_bytes": 2**21,
        "flops_per_step": 4.2e9,
        "limit_gflops": 200.4,
    }
    path = tmp_path / "results.md"
    table, record = script("table"), script("record")
    for _ in range(2):
        cells = table["cells"](["bench", "--preset", "cut"], report)
        record["add_row"](path, table["HEADING"], table["COLUMNS"], cells)
    lines = path.read_text().splitlines()
    assert lines[0] == "# Results"
    assert len(lines) == 6
    assert lines[4] == lines[5]
    assert {line.count("|") for line in lines[2:]} == {lines[2].count("|")}
    for part in ("`i2i bench --preset cut`", "0.5, 0.75 (0.6 to 0.9), 7", "| 2 |", "50% (40% to"):
        assert part in lines[4]


def test_a_table_of_its_own_stands_under_each_heading(tmp_path):
    record, path = script("record"), tmp_path / "results.md"
    add = record["add_row"]
    add(path, "# Results", "| a | b |", ["1", "2"])
    add(path, "## Levers", "| c |", ["x"])
    add(path, "# Results", "| a | b |", ["3", ""])
    add(path, "## Levers", "| c |", ["y"])
    assert path.read_text().splitlines() == [
        *("# Results", "", "| a | b |", "|---|---|", "| 1 | 2 |", "| 3 |  |"),
        *("", "## Levers", "", "| c |", "|---|", "| x |", "| y |"),
    ]
    assert record["rows"](path, "# Results") == [["1", "2"], ["3", ""]]
    assert record["rows"](path, "## Levers") == [["x"], ["y"]]
    assert record["rows"](path, "## Else") == []
    with pytest.raises(ValueError, match="2 cells do not fit"):
        add(path, "## Levers", "| c |", ["x", "y"])


def test_levers_are_measured_where_they_matter(tmp_path):
    levers = script("levers")
    rows = list(levers["rows"](levers["PRESETS"], None, ["float32"], is_cuda=False))
    names = {(row.preset, row.name) for row in rows}
    assert len(names) == len(rows)
    assert {name for _, name in names} == {*levers["LEVERS"], *levers["SETTINGS"]}
    assert {preset for preset, name in names if name == "selected_rows"} == {
        *("qs-attn-global", "qs-attn-local")
    }
    on_gpu = levers["rows"](["cut"], None, ["float32"], is_cuda=True)
    assert {"cuda_graphs", "prefetch"} <= {row.name for row in on_gpu}
    for row in rows:
        for is_on in (True, False):
            configure_run(row.preset, [row.setting(is_on=is_on)])
    with pytest.raises(SystemExit, match="no lever here is called lean"):
        list(levers["rows"](["cut"], ["lean"], ["float32"], is_cuda=False))


def test_each_way_of_an_operation_gives_the_same_numbers():
    ways = script("operations")
    torch.manual_seed(0)
    maps = torch.randn(2, 6, 16, 20).contiguous(memory_format=torch.channels_last)
    for make in ("blurs", "norms"):
        first, *others = (way(maps) for way in ways[make](6, torch.float32).values())
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-4)
    spreads = ways["measure"](ways["blurs"](6, torch.float32), maps.shape, torch.float32, 2)
    assert all(spread.n == 2 and spread.low > 0 for pair in spreads.values() for spread in pair)


@pytest.mark.slow
def test_rows_of_levers_say_off_against_on_and_are_not_repeated(tmp_path, monkeypatch, capsys):
    out = tmp_path / "results.md"
    small = ["--preset", "cut", "--only", "freeze_others", "--precision", "float32"]
    small += ["--size", "32", "--steps", "2", "--out", str(out)]
    for setting in (
        "method.generator.width=4",
        "method.discriminator.width=4",
        "runtime.workers=0",
    ):
        small += ["--set", setting]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["levers.py", "--missing", *small])
        runpy.run_path(str(ROOT / "benchmarks" / "levers.py"), run_name="__main__")
    (row,) = script("record")["rows"](out, "## Levers")
    assert "--vary runtime.levers.freeze_others=false" in row[3]
    off, on = map(float, row[8].split(" -> "))
    assert off >= on > 0
    assert row[4].endswith(", 2")
    said = capsys.readouterr().err
    assert "1 rows, about" in said
    assert "0 rows, about" in said


def test_settings_beside_neighbours_are_a_users_own(tmp_path):
    neighbours = script("neighbours")
    for setting in neighbours["settings"](2).values():
        configure_run("cut", setting.sets)
    measured = neighbours["Measured"](1, "own", 1, 0, [0.2, 0.3, 0.4], others=0.04)
    cells = measured.cells(best=0.15, fair=2 / 3)
    assert cells[2:] == ["1, 0", "0.2, 0.3 (0.25 to 0.35), 3", "50%", "75%", "0.0"]


@pytest.mark.slow
def test_steps_are_taken_beside_neighbours_that_are_gone_afterwards(tmp_path):
    out = tmp_path / "results.md"
    small = ["--size", "32", "--steps", "2", "--rounds", "1", "--settling", "0", "--record"]
    small += ["--neighbours", "0", "1", "--only", "own", "--out", str(out)]
    small += ["--set", "method.generator.width=4", "--set", "method.generator.blocks=2"]
    small += ["--set", "method.nce_layers=[0,4,8]"]
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "neighbours.py"), *small],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    rows = script("record")["rows"](out, "## Beside other programs")
    assert [row[4:6] for row in rows] == [["0", "own"], ["1", "own"], ["1", "own, begun quiet"]]


def test_precisions_are_compared_over_seeds():
    script = runpy.run_path(str(ROOT / "benchmarks/precision.py"))
    numbers = [[0.1, 0.05, 200.0], [0.3, 0.07, 210.0]]
    runs = [dict(zip(script["_METRICS"], values, strict=True)) for values in numbers]
    rows = script["table"]({"bfloat16": runs}, [0, 1]).splitlines()
    assert rows[0] == "| precision | metric | seed 0 | seed 1 | mean | deviation |"
    assert rows[2] == "| bfloat16 | error inside the objects | 0.1 | 0.3 | 0.2 | 0.1414 |"
    assert rows[4] == "| bfloat16 | FID | 200 | 210 | 205 | 7.071 |"
    assert len(rows) == 5
