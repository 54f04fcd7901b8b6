"""What a GPU computes, against the CPU: steps, resumed runs, settings that only a GPU has."""

import pytest
import torch
from courses import COURSES
from engine_kit import assert_same_end, interrupt, log_of, pair_config, state_of
from gpu_kit import GPU, IS_CUDA, distance, needs_gpu, plain_float32
from lever_kit import CPU, gradients_of
from plain_data import assert_same, tensors_of
from tiny import batch_for, tiny_document

from i2icli.system.compiling import compiler_fault
from i2icli.training.run import resume_run, start_run
from i2icli.translation.prepare import compile_networks

pytestmark = [pytest.mark.gpu, needs_gpu]


class Chosen:
    """Choices of places that hang on rounding, made on the CPU once and given to all."""

    def __init__(self):
        self._first = []

    def made_by(self, method):
        usual = method.draws.lowest

        def choose(name, scores, *, count):
            self._first.append(usual(name, scores, count=count))
            return self._first[-1]

        method.draws.lowest = choose

    def given_to(self, method):
        left = list(self._first)
        method.draws.lowest = lambda _, scores, **__: left.pop(0).to(scores.device)


def gradients_on(device, course, prepare, *, precision=torch.float32):
    """Return terms and gradients of a step."""
    method = COURSES[course].build()
    prepare(method)
    method.to(device)
    for network in method._pretrained.values():
        network.to(device)
    batch = batch_for(COURSES[course].config.method.name).to(device)
    with plain_float32():
        return gradients_of(method, batch, precision=precision, device=device)


def distances(seen, expected):
    """Return by player, and for the terms, how far the gradients are off."""
    assert seen.keys() == expected.keys()
    return {player: distance(seen[player], expected[player]) for player in expected}


@pytest.mark.parametrize("course", COURSES)
def test_a_step_in_float32_is_that_of_the_cpu(course, record_property):
    chosen = Chosen()
    expected = gradients_on(CPU, course, chosen.made_by)
    off = distances(gradients_on(GPU, course, chosen.given_to), expected)
    record_property("gradients", max(off[player] for player in off if player != "terms"))
    # Two CPUs differ by 5e-5, and by 1e-3 where a slope changes its sign.
    assert off.pop("terms") < 1e-4
    assert max(off.values()) < 2e-2, off


@pytest.mark.parametrize("course", COURSES)
def test_a_step_in_bfloat16_is_as_near_to_float32_as_that_of_the_cpu(course, record_property):
    chosen, half = Chosen(), torch.bfloat16
    exact = gradients_on(CPU, course, chosen.made_by)
    expected = distances(gradients_on(CPU, course, chosen.given_to, precision=half), exact)
    off = distances(gradients_on(GPU, course, chosen.given_to, precision=half), exact)
    times = {player: off[player] / max(most, 1e-9) for player, most in expected.items()}
    record_property("times", max(times.values()))
    for player, most in expected.items():
        assert off[player] < 2 * most + (0.01 if player == "terms" else 0.1), player


@pytest.fixture(scope="module")
def plainly():
    with plain_float32():
        yield


def run_of_cut(root, **runtime):
    return pair_config(
        root,
        steps=8,
        method={**tiny_document("cut"), "optimizer": {"lr": 2e-4}},
        data={"resize": 36, "crop": 32},
        ema={"decay": 0.9},
        samples={"every_steps": 4},
        runtime={"device": str(GPU), "channels_last": "off", **runtime},
    )


def weights_of(folder):
    return state_of(folder)["weights"]


def moments_of(folder):
    """Return the counts of steps, and the means of squared gradients, by their names."""
    moments = tensors_of(state_of(folder)["optimizers"])
    kinds = ("/step", "/exp_avg_sq")
    return tuple({k: v for k, v in moments.items() if k.endswith(kind)} for kind in kinds)


@pytest.fixture(scope="module")
def through(picture_root, tmp_path_factory, plainly):
    """Return a run that nobody stopped, and how far another one like it ends from it."""
    folders = [tmp_path_factory.mktemp("through") / name for name in "ab"]
    for folder in folders:
        start_run(run_of_cut(picture_root), run_dir=folder)
    return folders[0], distance(*map(weights_of, folders))


def assert_same_run(folder, through, record_property):
    whole, noise = through
    off = distance(weights_of(folder), weights_of(whole))
    record_property("noise", noise)
    record_property("weights", off)
    # The order in which a GPU adds up is not always the same, and Adam makes whole steps of
    # gradients that are nothing but rounding: two equal runs differ, by `noise`.
    assert off <= max(20 * noise, 5e-3)
    (steps, squares), (steps_there, squares_there) = moments_of(folder), moments_of(whole)
    assert {k: int(v) for k, v in steps.items()} == {k: int(v) for k, v in steps_there.items()}
    assert distance(squares, squares_there) < 0.02
    ours, theirs = state_of(folder), state_of(whole)
    assert ours["step"] == theirs["step"]
    assert_same(ours["memory"], theirs["memory"])
    assert [line["step"] for line in log_of(folder)] == [line["step"] for line in log_of(whole)]


def test_a_resumed_run_ends_as_one_that_nobody_stopped(
    picture_root, tmp_path, through, record_property
):
    interrupt(run_of_cut(picture_root), tmp_path / "run", at=3)
    resume_run(tmp_path / "run")
    assert_same_run(tmp_path / "run", through, record_property)
    if not IS_CUDA:  # a CPU adds up in one order
        assert_same_end(through[0], tmp_path / "run")


@pytest.mark.parametrize("setting", ["prefetch", "fused_optimizer", "cuda_graphs", "channels_last"])
def test_a_run_is_the_same_with_a_setting_and_without(
    picture_root, tmp_path, through, record_property, said, setting
):
    default = "off" if setting in ("cuda_graphs", "channels_last") or not IS_CUDA else "on"
    other = {"on": "off", "off": "on"}[default]
    start_run(run_of_cut(picture_root, **{setting: other}), run_dir=tmp_path / "run")
    assert_same_run(tmp_path / "run", through, record_property)
    assert not IS_CUDA or not any(sentence.startswith("no CUDA graphs") for sentence in said)


@pytest.mark.filterwarnings("ignore")  # those of the compiler are its own
def test_a_compiled_step_is_that_of_the_cpu(record_property, said):
    if fault := compiler_fault(GPU):
        pytest.skip(fault)
    chosen = Chosen()
    expected = gradients_on(CPU, "cut", chosen.made_by)

    def prepare(method):
        chosen.given_to(method)
        compile_networks(method, GPU, trains=True)

    off = distances(gradients_on(GPU, "cut", prepare), expected)
    record_property("gradients", max(off[player] for player in off if player != "terms"))
    assert any(sentence.startswith("compiled the ") for sentence in said), said
    assert not any("goes on uncompiled" in sentence for sentence in said), said
    assert max(off.values()) < 2e-2, off
