"""The scripts in benchmarks/: rows of the table, and a released code base in turn with ours."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

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
        print("options are printed, and must not spoil the answer")
        return parser.parse_args()
"""
MODELS = """
class Model:
    def __init__(self, options):
        self.options, self.calls = options, []
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


def test_released_code_takes_steps_in_turn_with_ours(tmp_path: Path) -> None:
    for package, text in (("options", ""), ("models", MODELS)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(text)
    (tmp_path / "options" / "train_options.py").write_text(OPTIONS)
    ended = subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks" / "released.py"), str(tmp_path)),
            *("--preset", "demo", "--size", "32", "--steps", "2", "--", "--model", "made-up"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert [result[side]["n"] for side in ("ours", "theirs", "speedup")] == [2, 2, 2]
    assert result["shape"] == [1, 3, 32, 32]
    assert result["options"] == ["--model", "made-up"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("cut:128", "bench --preset cut --size 128 --steps 7"),
        ("cut:64:bfloat16", "bench --preset cut --size 64 --steps 7 --precision bfloat16"),
    ],
)
def test_a_row_is_a_command(row: str, words: str) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))
    assert script["command"](row, 7) == words.split()


def test_rows_are_added_with_repeats_and_spread(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))
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
    for _ in range(2):
        script["add_row"](path, ["bench", "--preset", "cut"], report)
    lines = path.read_text().splitlines()
    assert lines[0] == "# Results"
    assert len(lines) == 6
    assert lines[4] == lines[5]
    assert {line.count("|") for line in lines[2:]} == {lines[2].count("|")}
    for part in ("`i2i bench --preset cut`", "0.5, 0.75 (0.6 to 0.9), 7", "| 2 |", "50% (40% to"):
        assert part in lines[4]
