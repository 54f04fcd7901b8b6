"""Checkpoint files: whole or not at all, and read without running code."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from i2icli.errors import CheckpointError, I2IError
from i2icli.runs.checkpoint import (
    FORMAT,
    KIND,
    CheckpointState,
    copy_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from i2icli.system.files import remove_leftovers


def make_state(step=3, size=10):
    return CheckpointState(
        config={"method": {"name": "x", "layers": [0, 4]}, "preset": "p"},
        weights={"g.weight": torch.arange(float(size)), "d.weight": torch.ones(2)},
        step=step,
        epoch=1,
        optimizers={"g": {"moments": {"g.weight": {"step": torch.tensor(3.0)}}}},
        memory={"draws": torch.zeros(4, dtype=torch.uint8), "pool": {"images": []}},
        rng={"cpu": torch.get_rng_state()},
        best={"value": 0.5, "step": 2},
        versions={"torch": "2.9.0"},
    )


def test_checkpoint_keeps_everything_that_was_saved(tmp_path):
    path, state = tmp_path / "last.pt", make_state()
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert loaded.config == state.config
    assert (loaded.step, loaded.epoch, loaded.best) == (3, 1, {"value": 0.5, "step": 2})
    assert torch.equal(loaded.weights["g.weight"], state.weights["g.weight"])
    assert torch.equal(loaded.rng["cpu"], state.rng["cpu"])
    assert loaded.ema is None
    assert loaded.memory["pool"] == {"images": []}


def test_checkpoint_is_read_by_torch_without_running_code(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, make_state())
    document = torch.load(path, weights_only=True)
    assert document["kind"] == KIND
    assert document["format"] == FORMAT


def test_translating_weights_prefer_the_average():
    state = make_state()
    averaged = CheckpointState(
        config={}, weights=state.weights, step=1, ema={"g.weight": torch.zeros(10)}
    )
    assert averaged.translating_weights()["g.weight"].sum() == 0
    assert averaged.translating_weights()["d.weight"].sum() == 2
    assert state.translating_weights()["g.weight"].sum() == 45


class Harmful:
    """A pickle that would make a folder when loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_file_that_wants_code_is_refused_and_runs_none(tmp_path, writer):
    path, trap = tmp_path / "evil.pt", tmp_path / "trap"
    if writer == "torch":
        torch.save({"kind": KIND, "x": Harmful(trap)}, path)
    else:
        path.write_bytes(pickle.dumps(Harmful(trap)))
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        load_checkpoint(path)
    assert not trap.exists()


def test_file_that_wants_code_is_named_as_such(tmp_path):
    torch.save({"kind": KIND, "x": Harmful(tmp_path / "trap")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_checkpoint(tmp_path / "evil.pt")


@pytest.mark.parametrize("kept", [0, 1, 2, 4, 100, 1500, -1])
def test_truncated_checkpoint_is_named_with_its_size(tmp_path, kept):
    path = tmp_path / "last.pt"
    save_checkpoint(path, make_state())
    content = path.read_bytes()[:kept]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"last\.pt \({len(content)} bytes\) is cut off"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + b"0" * 64, b"hello\n", b"\0" * 4096])
def test_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(path)


def test_checkpoint_from_before_imports_loads(tmp_path):
    save_checkpoint(tmp_path / "last.pt", make_state())
    document = torch.load(tmp_path / "last.pt", weights_only=True)
    del document["origin"]
    torch.save(document, tmp_path / "last.pt")
    assert load_checkpoint(tmp_path / "last.pt").origin == {}


@pytest.mark.parametrize(
    ("document", "is_old", "words"),
    [
        ({"w": torch.ones(1)}, False, r"not a checkpoint of i2i.*`i2i import .*odd\.pt`"),
        ({"w": torch.ones(1)}, True, r"old PyTorch, not by i2i.*`i2i import .*odd\.pt`"),
        (
            {"kind": KIND, "format": FORMAT + 1},
            False,
            f"format {FORMAT + 1}.*pip install --upgrade",
        ),
        ({"kind": KIND, "format": FORMAT, "config": {}}, False, "'weights' is missing"),
    ],
    ids=["other code", "old PyTorch", "newer format", "lacks a part"],
)
def test_file_that_is_no_checkpoint_of_ours_says_what_to_do(tmp_path, document, is_old, words):
    torch.save(document, tmp_path / "odd.pt", _use_new_zipfile_serialization=not is_old)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "odd.pt")


def test_flipped_bytes_of_a_checkpoint_are_refused_or_do_not_matter(tmp_path):
    path, refused = tmp_path / "last.pt", 0
    save_checkpoint(path, make_state())
    wanted, whole = load_checkpoint(path), path.read_bytes()
    for position in range(0, len(whole), 61):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            found = load_checkpoint(path)
        except CheckpointError:
            refused += 1
            continue
        assert (found.config, found.step) == (wanted.config, wanted.step)
        assert torch.equal(found.weights["g.weight"], wanted.weights["g.weight"])
    assert refused > 50


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("step", -5, "its step is -5"),
        ("step", 10**30, "its step is 1000000000000000000000000000000"),
        ("step", 2.5, "its step is 2.5"),
        ("step", 1 << 99_999, "its step is int that no run writes"),
        ("epoch", 7, "its epoch is 7 at step 3"),
        ("seconds", float("nan"), "its seconds is nan"),
        ("weights", {"g.weight": "x"}, "its weights is dict that no run writes"),
        ("weights", {"g.weight": torch.arange(3)}, "its weights is dict"),
        ("weights", {"g.weight": torch.ones(3).double()}, "its weights is dict"),
        ("weights", {"g.weight": torch.ones(3, dtype=torch.complex64)}, "its weights is dict"),
        ("ema", {"g.bias": torch.ones(1)}, r"its average of 'g\.bias' is of no weight"),
        ("config", {"a": {"b": 1 << 99_999}}, "its config is dict"),
        ("data", {"a": {"side": "wide"}}, "its data is dict"),
        ("rng", {"cpu": torch.ones(3)}, "its rng is dict"),
        ("meters", {"sums": {"g/x": torch.ones(())}, "counts": {}}, "its meters is dict"),
        ("others", [{"memory": {}}], "its others is list"),
        ("optimizers", {"g": 5}, "its optimizers is dict"),
        (
            "optimizers",
            {"g": {"moments": {"g.weight": {"exp_avg": torch.ones(2)}}}},
            r"its optimizer 'g' does not fit the weight 'g\.weight'",
        ),
        (
            "optimizers",
            {"g": {"moments": {"g.weight": {"odd": torch.ones(10)}}}},
            "its optimizer 'g' does not fit",
        ),
    ],
    # Python does not write out numbers of so many digits.
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_field_that_no_run_writes_is_refused(tmp_path, field, value, words):
    save_checkpoint(tmp_path / "last.pt", replace(make_state(), **{field: value}))
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "last.pt")


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def test_damaged_checkpoint_of_a_run_names_the_newest_that_is_good(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for age, (name, step) in enumerate({"step-5": 5, "step-3": 3, "step-1": 1, "last": 7}.items()):
        save_checkpoint(folder / f"{name}.pt", make_state(step))
        os.utime(folder / f"{name}.pt", (10_000 - age, 10_000 - age))
    damage(folder / "last.pt")
    damage(folder / "step-5.pt")
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(folder / "last.pt")
    good, last = folder / "step-3.pt", folder / "last.pt"
    assert str(refusal.value).endswith(
        f"The run's newest good checkpoint is {good}, of step 3: name it, or copy it to {last} to "
        "go on from it."
    )
    for name in ("step-3", "step-1"):
        damage(folder / f"{name}.pt")
    with pytest.raises(CheckpointError, match=r"No checkpoint of the run in .* is good"):
        load_checkpoint(folder / "last.pt")


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone\.pt"):
        load_checkpoint(tmp_path / "gone.pt")


def test_folder_instead_of_a_checkpoint_points_into_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"is a folder.*checkpoints/last\.pt"):
        load_checkpoint(tmp_path)


def test_checkpoint_errors_end_with_the_exit_code_of_usage():
    assert CheckpointError("x").exit_code == 2


def test_copy_stays_what_it_was_when_the_source_is_saved_again(tmp_path):
    last, kept = tmp_path / "last.pt", tmp_path / "step-0000001.pt"
    save_checkpoint(last, make_state(1))
    copy_checkpoint(last, kept)
    save_checkpoint(last, make_state(2))
    assert load_checkpoint(kept).step == 1
    assert load_checkpoint(last).step == 2


def test_copy_replaces_an_older_one(tmp_path):
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    for step in (1, 2):
        save_checkpoint(last, make_state(step))
        copy_checkpoint(last, best)
    assert load_checkpoint(best).step == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_copy_works_where_the_disk_has_no_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "link", refuse)
    save_checkpoint(tmp_path / "last.pt", make_state(4))
    copy_checkpoint(tmp_path / "last.pt", tmp_path / "best.pt")
    assert load_checkpoint(tmp_path / "best.pt").step == 4


def test_leftovers_of_killed_writes_are_removed_and_checkpoints_kept(tmp_path):
    save_checkpoint(tmp_path / "last.pt", make_state())
    (tmp_path / ".last.pt.partial").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@contextmanager
def limited_files(size):
    """Let no file grow beyond `size` bytes, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [0, 1000, 50_000])
def test_write_that_fails_keeps_the_last_good_checkpoint(tmp_path, limit):
    path = tmp_path / "last.pt"
    save_checkpoint(path, make_state(1, size=50_000))
    with limited_files(limit), pytest.raises(I2IError, match=r"last\.pt was not written.*intact"):
        save_checkpoint(path, make_state(2, size=50_000))
    assert load_checkpoint(path).step == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.fixture
def small_disk(tmp_path):
    """Return a disk of 1 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_keeps_the_last_good_checkpoint_and_says_so(small_disk):
    path = small_disk / "last.pt"
    save_checkpoint(path, make_state(1, size=150_000))  # 600 kB: a second one has no room
    with pytest.raises(I2IError, match="the disk is full; the last good last.pt is intact"):
        save_checkpoint(path, make_state(2, size=150_000))
    assert load_checkpoint(path).step == 1
    assert [entry.name for entry in small_disk.iterdir()] == ["last.pt"]


def test_full_disk_is_reported_for_a_first_checkpoint_too(small_disk):
    with pytest.raises(I2IError, match="the disk is full; nothing was written"):
        save_checkpoint(small_disk / "last.pt", make_state(1, size=500_000))
    assert list(small_disk.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_checkpoint_loads_after_a_kill_at_every_point_of_a_save(tmp_path):
    script = Path(__file__).parents[1] / "kits" / "save_until_killed.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(isinstance(step, int) for step in found["seen"]), found["seen"]
    assert found["seen"] == sorted(found["seen"])
    assert len(found["seen"]) > 5 + 2, "no kill before the opening and the renaming of a file"
    # Each save before a fatal one counts; the last one that was armed lived.
    assert found["seen"][-1] >= len(found["seen"]) + 1
    assert found["leftovers"] > 0, "no kill hit a write: this run proves nothing"
    assert found["names"] == ["last.pt"]
