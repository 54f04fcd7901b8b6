from dataclasses import replace

import pytest
import torch
from engine_kit import Watcher, pair_config
from gpu_kit import GPU, IS_CUDA, needs_gpu
from plain_data import assert_same
from tiny import batch_for, tiny_batch

from i2icli.config.sections import RuntimeConfig
from i2icli.data.batch import Batch
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.system.choices import choose
from i2icli.training import step as step_module
from i2icli.training.run import start_run
from i2icli.training.step import SideCopy, build_send

CPU = torch.device("cpu")


class FakeStream:
    """Takes down what is asked of it."""

    def __init__(self, name, made):
        self.name, self.made = name, made

    def wait_stream(self, other):
        self.made.append(f"{self.name} waits for {other.name}")

    def __enter__(self):
        self.made.append(f"enter {self.name}")

    def __exit__(self, *_):
        self.made.append(f"leave {self.name}")


@pytest.fixture
def side_copy(monkeypatch):
    """A copier whose streams are stand-ins, and the list of what they were asked."""
    made = []
    current, side = FakeStream("default", made), FakeStream("side", made)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(
        Batch, "record_stream", lambda _, stream: made.append(f"kept for {stream.name}")
    )
    usual = Batch.to

    def to(batch, device):
        made.append("copy")
        return usual(batch, device)

    monkeypatch.setattr(Batch, "to", to)
    return SideCopy(CPU, side), made  # stands in for a stream


def test_a_batch_is_copied_aside_and_waited_for_and_kept(side_copy):
    send, made = side_copy
    batch = replace(tiny_batch(), names_a=("a.png",))
    sent = send(batch)
    assert_same(vars(sent), vars(batch))
    assert made == [
        "enter side",
        "copy",
        "leave side",
        "default waits for side",
        "kept for default",
    ]


def test_a_run_is_the_same_with_batches_copied_aside(
    pair, picture_root, tmp_path, side_copy, monkeypatch
):
    send, made = side_copy
    states = []
    for name in ("plain", "aside"):
        if name == "aside":
            monkeypatch.setattr("i2icli.training.loop.build_send", lambda _: send)
            made.clear()
        folder = tmp_path / name
        start_run(pair_config(picture_root), run_dir=folder, reporter=Watcher())
        state = load_checkpoint(RunFolder(folder).last)
        states.append((state.weights, state.optimizers, state.memory, state.rng, state.step))
    assert_same(states[0], states[1])
    assert made.count("kept for default") == 6


def test_a_cpu_copies_nothing_whatever_the_setting():
    for setting in ("auto", "on", "off"):
        choices = choose(RuntimeConfig(device="cpu", prefetch=setting), CPU)
        batch = tiny_batch()
        assert build_send(choices)(batch).real_a is batch.real_a


def test_a_gpu_copies_aside_unless_told_not_to(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: FakeStream("side", []))
    on = replace(choose(RuntimeConfig(), CPU), device=torch.device("cuda"), prefetch=True)
    assert isinstance(build_send(on), step_module.SideCopy)
    assert not isinstance(build_send(replace(on, prefetch=False)), step_module.SideCopy)


def test_a_batch_takes_over_the_values_of_another_in_place():
    for name in ("cut", "danet"):
        first, second = batch_for(name, seed=1), batch_for(name, seed=2)
        ours = first.clone()
        memory = ours.sources.data_ptr()
        ours.fill(second)  # both are of one kind
        assert_same(vars(ours), vars(second))
        assert ours.sources.data_ptr() == memory
        assert_same(vars(first), vars(batch_for(name, seed=1)))
        assert ours.shapes == second.shapes
        assert batch_for(name, size=40).shapes != ours.shapes


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_gets_the_batch_that_was_sent():
    choices = replace(choose(RuntimeConfig(), CPU), device=GPU, prefetch=True)
    batch = tiny_batch()
    sent = build_send(choices)(batch.pin_memory() if IS_CUDA else batch)
    assert sent.real_a.device == GPU
    assert torch.equal(sent.real_a.cpu(), batch.real_a)
