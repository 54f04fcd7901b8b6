"""Every command that computes, once on a GPU with its own choices."""

import json

import pytest
from gpu_kit import GPU, IS_CUDA, needs_gpu
from run_kit import LAYERS, SMALL

pytestmark = [pytest.mark.gpu, needs_gpu]


def test_the_commands_go_through_on_a_gpu(truth_root, tmp_path, i2i):
    def call(*words):
        code, out, err = i2i(*words, "--device", GPU)
        assert code == 0, err
        return out + err

    run, own = tmp_path / "run", ("data.resize=36", "data.crop=32", "runtime.workers=0")
    settings = [word for text in (*SMALL, *LAYERS, *own) for word in ("--set", text)]
    often = ("--set", "samples.every_steps=2", "--set", "checkpoint.every_steps=2")
    words = ("--preset", "qs-attn-global", "--data", truth_root, *settings)
    said = call("train", *words, *often, "--run-dir", run, "--steps", 4)
    assert not IS_CUDA or "bfloat16" in said
    call("resume", run, "--steps", 6)
    call("translate", run, truth_root / "testA", tmp_path / "out")
    call("eval", run, "--truth-error")
    call("viz-attention", run, "--html")
    call("doctor", *words)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[-1])["step"] == 6
    assert len(list((tmp_path / "out").iterdir())) == 2
