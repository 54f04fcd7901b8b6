"""`i2i bench` as it is typed."""

import json
import re

import pytest
from command_line import run_i2i
from near_worker import near_workers

SMALL = [
    *("--size", 32, "--steps", 2, "--warmup", 1, "--device", "cpu"),
    *("--set", "method.generator.width=4", "--set", "method.discriminator.width=4"),
    *("--set", "runtime.workers=0"),
]


@pytest.fixture(autouse=True)
def _in_this_process():
    """Measure without processes of their own: tests/bench has those."""
    with near_workers():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, picture_root):
    """Return the run folder of one step."""
    run = tmp_path_factory.mktemp("bench") / "run"
    with pytest.MonkeyPatch.context() as patch:
        small = [*SMALL[8:], "--set", "data.resize=36", "--set", "data.crop=32"]
        words = ["train", "--preset", "cut", "--data", picture_root, "--run-dir", run]
        assert run_i2i(patch, *words, "--steps", 1, "--device", "cpu", *small) == 0
    return run


def test_json_has_the_pinned_keys_and_pairs_with_a_checkpoint(checkpoint, i2i):
    words = ["bench", "--preset", "fastcut", "--against", checkpoint, *SMALL]
    code, out, err = i2i(*words, "--json")
    assert code == 0
    report = json.loads(out)
    assert "peak memory and operations" in err
    for part in (report, report["against"]):
        assert 0 < part["step"]["min_s"] <= part["step"]["median_s"] <= part["step"]["max_s"]
        assert part["step"]["n"] == 2
        assert len(part["step"]["quartiles_s"]) == 2
        assert part["translate"]["images_per_s"] == part["translate"]["median_images_per_s"] > 0
        assert part["flops_per_step"] > 1e6
        assert part["shape"] == [1, 3, 32, 32]
        memory = part["memory"]
        if part["peak_memory_bytes"] is not None:
            assert part["peak_memory_bytes"] == memory["peak_bytes"] - memory["imports_bytes"] > 0
    assert report["limit_gflops"] > 0
    assert (report["n"], report["device"], report["precision"]) == (2, "cpu", "float32")
    assert report["threads"] >= 1
    assert set(report["versions"]) >= {"torch", "i2i", "python"}
    assert report["loader"]["images_per_s"] > 0
    assert report["against"]["name"] == "last.pt"
    assert report["against"]["order"] == ["AB", "BA"]
    for part in (report, report["against"]):
        for speed in (part["translate"], part["translate"]["network"]):
            assert speed["share_of_limit"]["median"] > 0
            assert speed["flops_per_picture"] > 1e5
        assert part["limit_gflops"] > 0
    assert set(report["against"]["speedup"]) == {"step", "translate", "network"}
    for ratio in report["against"]["speedup"].values():
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
        assert ratio["n"] == 2


def test_text_gives_repeats_and_spread_with_every_number(i2i):
    words = ["bench", "--preset", "cut", "--precision", "bfloat16", *SMALL]
    code, text, _ = i2i(*words)
    assert code == 0
    assert "cpu, bfloat16" in text
    measured = [line for line in text.splitlines() if "median" in line]
    assert len(measured) == 7
    assert all(re.search(r"\(quartiles .+ to .+, .+ to .+, n 2\)", line) for line in measured)
    assert re.search(r"GiB \(.+ GiB less .+ GiB of the imports\)|unknown here", text)


@pytest.mark.slow
def test_a_setting_is_varied_within_one_run(i2i_json):
    varied = ["--vary", "runtime.precision=bfloat16", "--vary", "runtime.levers.lean_norm=false"]
    words = ["bench", "--preset", "cut", "--precision", "float32", *varied, *SMALL]
    report = i2i_json(*words)
    against = report["against"]
    assert (report["precision"], against["precision"]) == ("float32", "bfloat16")
    assert report["settings"]["lean_norm"]
    assert not against["settings"]["lean_norm"]
    assert against["varied"] == varied[1::2]
    assert against["name"] == f"cut with {' '.join(varied[1::2])}"
    assert against["flops_per_step"] == report["flops_per_step"]
    assert against["speedup"]["step"]["n"] == 2
    assert against["order"] == ["AB", "BA"]


def test_a_missing_checkpoint_is_a_usage_error(tmp_path, i2i):
    words = ["bench", "--preset", "cut", "--against", tmp_path / "none.pt", *SMALL]
    code, _, err = i2i(*words)
    assert code == 2
    assert "there is no checkpoint at" in err
