"""`train --dry-run`, `doctor` and `bench` give one cost of a step for one configuration."""

import json
from contextlib import contextmanager

import pytest
import torch
from near_worker import NearWorker

from i2icli.bench import cost, run

TINY = (
    "method.generator.width=4",
    "method.discriminator.width=4",
    "data.resize=36",
    "data.crop=32",
    "runtime.device=cpu",
    "runtime.workers=0",
)
# By command, where its JSON has the memory and the time of a step.
COMMANDS = {
    "dry-run": (["train", "--dry-run"], ("measured", "memory_bytes"), ("measured", "step_seconds")),
    "doctor": (["doctor"], ("needs", "memory_bytes"), ("needs", "step_seconds")),
    "bench": (
        ["bench", "--steps", "2", "--warmup", "1"],
        ("memory", "less_imports_bytes"),
        ("step", "median_s"),
    ),
}
# Each is a peak of the same steps in a process of its own. What differs between two processes is
# where the heaps of their threads begin and when they grow, tens of MiB whatever the networks.
FACTOR, NOISE = 1.3, 32 * 2**20


@contextmanager
def measuring_near(variants):
    """Yield what measures loading and translating, whose memory is not asked for, right here."""
    threads = torch.get_num_threads()
    yield [NearWorker.of(variant) for variant in variants]
    torch.set_num_threads(threads)


@pytest.fixture
def costs(picture_root, tmp_path, monkeypatch, i2i):
    """Return by command the memory and time it said, and what `step_cost` had returned to it."""
    monkeypatch.chdir(tmp_path)
    measured = []
    step_cost = cost.step_cost

    def recording(variants, **options):
        found = step_cost(variants, **options)
        measured.extend(found)
        return found

    monkeypatch.setattr(cost, "step_cost", recording)
    monkeypatch.setattr(run, "measuring", measuring_near)
    settings = [word for setting in TINY for word in ("--set", setting)]
    found = {}
    for name, (words, memory, seconds) in COMMANDS.items():
        measured.clear()
        command = [*words, "--preset", "cut", "--data", picture_root, "--json", *settings]
        code, out, _ = i2i(*command)
        assert code == 0
        said = json.loads(out)
        found[name] = (said[memory[0]][memory[1]], said[seconds[0]][seconds[1]], list(measured))
    return found


def test_three_commands_give_the_cost_that_one_function_measured(costs):
    for memory, seconds, measured in costs.values():
        (found,) = measured
        assert found.shape == (1, 3, 32, 32)
        assert memory == found.memory_bytes
        assert seconds == found.step.median > 0
    peaks = [memory for memory, _, _ in costs.values() if memory is not None]
    if not peaks:
        pytest.skip("this system does not say how much memory a process took")
    assert len(peaks) == len(COMMANDS)
    assert max(peaks) <= FACTOR * min(peaks) + NOISE
