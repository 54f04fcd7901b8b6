from dataclasses import replace

import pytest
import torch
from engine_kit import pair_config
from gpu_kit import GPU, IS_CUDA, distance, needs_gpu
from lever_kit import BOTH
from plain_data import assert_same
from recording import CPU, Run
from tiny import tiny_batch, tiny_method

from i2icli.config.sections import RuntimeConfig
from i2icli.methods import METHODS
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.system.choices import choose
from i2icli.system.messages import collect_messages
from i2icli.system.ranks import Ranks
from i2icli.training.graph_step import (
    MOST_KINDS,
    WARM_UP,
    CudaBackend,
    GraphedStep,
    build_step,
    chosen_steppers,
    obstacle,
)
from i2icli.training.optimizers import build_steppers
from i2icli.training.run import start_run

STEPS = 14
ON_CPU = choose(RuntimeConfig(device="cpu", precision="float32", cuda_graphs="on"), CPU)
ON_GPU = replace(ON_CPU, device=torch.device("cuda"))
# The learning rate falls while steps are replayed.
FALLING = {"schedule": {"epochs": 1, "epochs_decay": 4}}
# Two kinds of steps: with the penalty on the slope, and without.
SOMETIMES = {**BOTH, "layers": 2, "spectral_norm": True, "r1_every": 2}
CASES = {
    "cut": ("cut", FALLING),
    "fastcut": ("cut", {**FALLING, "flip_equivariance": True, "nce_identity": False}),
    "qs-attn": ("qs-attn", FALLING),
    "munit": ("munit", {"schedule": {"every_steps": 2}}),
    "sincut": ("sincut", {}),
    "src-hdce": ("src-hdce", {}),
    "attention-guided": ("attention-guided", {"pool_size": 0, "switch_epoch": 1}),
    "cut, both": ("cut", {**FALLING, "discriminator": SOMETIMES}),
}


@pytest.mark.parametrize(
    ("case", "double"),
    [*((case, False) for case in CASES), *((case, True) for case in list(CASES)[:4])],
)
def test_replayed_steps_equal_steps_taken_kernel_by_kernel(case, double):
    name, changes = CASES[case]
    ours = Run(name, graphed=True, double=double, **changes)
    theirs = Run(name, graphed=False, double=double, **changes)
    assert_same(ours.train(STEPS), theirs.train(STEPS))
    assert_same(ours.state(), theirs.state())
    assert ours.notes == []
    assert ours.backend.replayed + ours.backend.warmed == STEPS
    assert ours.backend.replayed > WARM_UP


def test_replayed_steps_are_the_same_under_autocast():
    ours, theirs = (
        Run("qs-attn", graphed=graphed, precision=torch.bfloat16) for graphed in (True, False)
    )
    assert_same(ours.train(WARM_UP + 3), theirs.train(WARM_UP + 3))
    assert_same(ours.state(), theirs.state())
    assert ours.backend.replayed == 3


def test_each_kind_of_step_is_warmed_up_and_recorded_once():
    run = Run("cut", graphed=True, flip_equivariance=True)
    run.train(30)
    assert run.backend.captured == 2
    assert run.backend.warmed == 2 * WARM_UP
    assert run.backend.replayed == 30 - 2 * WARM_UP


def test_terms_of_a_step_stay_when_the_next_is_taken():
    run = Run("cut", graphed=True)
    run.train(WARM_UP)
    (first,) = run.train(1)
    kept = {name: value.clone() for name, value in first.items()}
    run.train(2)
    assert_same(first, kept)


def test_a_new_stage_is_recorded_anew():
    run = Run("cut", graphed=True)
    run.train(WARM_UP + 2)
    run.method.projector.requires_grad_(False)
    before = [weight.clone() for weight in run.method.projector.parameters()]
    run.train(WARM_UP + 2)
    assert run.backend.captured == 2
    assert run.backend.restarted == 1
    assert all(map(torch.equal, before, run.method.projector.parameters()))


def test_a_plain_attribute_that_changes_makes_a_stage():
    run = Run("cut", graphed=True)
    run.train(WARM_UP + 1)
    run.method.number_of_a_stage = 2  # modules take any attribute
    run.train(WARM_UP + 1)
    assert run.backend.captured == 2


def test_a_batch_of_another_shape_is_taken_kernel_by_kernel():
    ours, theirs = Run("cut", graphed=True), Run("cut", graphed=False)
    for run in (ours, theirs):
        run.train(WARM_UP + 1)
        run.train(1, size=40)
        run.train(2)
    assert_same(ours.state(), theirs.state())
    assert ours.backend.replayed == 3
    assert ours.backend.captured == 1


def test_a_step_that_cannot_be_recorded_is_taken_and_said_once():
    ours, theirs = Run("cut", graphed=True), Run("cut", graphed=False)

    def fail():
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    ours.backend.fault = fail
    assert_same(ours.train(STEPS), theirs.train(STEPS))
    assert_same(ours.state(), theirs.state())
    assert ours.notes == [
        "no CUDA graphs from here on (runtime.cuda_graphs): a step cannot be recorded "
        "(CUDA error: operation not permitted when stream is capturing)"
    ]


def test_a_step_that_waits_for_the_device_is_not_recorded(monkeypatch):
    run = Run("cut", graphed=True)
    usual = type(run.method).losses

    def losses(batch):
        float(batch.real_a.mean())
        yield from usual(run.method, batch)

    monkeypatch.setattr(run.method, "losses", losses)
    run.train(WARM_UP + 1)
    assert "_local_scalar_dense.default waits for the device" in run.notes[0]


def test_the_first_error_of_a_recording_is_the_one_that_is_told():
    run = Run("cut", graphed=True)

    def fail():
        try:
            raise ValueError("the cause")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    run.backend.fault = fail
    run.train(WARM_UP + 1)
    assert "(the cause)" in run.notes[0]


def test_moments_that_a_recording_would_begin_are_dropped():
    ours, theirs = Run("cut", graphed=True), Run("cut", graphed=False)
    for run in (ours, theirs):
        run.train(WARM_UP)
        optimizer = run.steppers["generator"].optimizer
        optimizer.state.clear()
        run.train(3)
    assert_same(ours.state(), theirs.state())
    assert ours.backend.replayed == 0
    assert "an optimizer would begin within a step" in ours.notes[0]


def test_numbers_that_are_drawn_are_no_part_of_a_recording():
    ours = Run("single-image-sesim", graphed=True, lambda_gradient=1.0, pool_size=0)
    theirs = Run("single-image-sesim", graphed=False, lambda_gradient=1.0, pool_size=0)
    assert_same(ours.train(6), theirs.train(6))
    assert ours.backend.captured == 0
    assert ours.notes == [
        "no CUDA graphs from here on (runtime.cuda_graphs): a step draws numbers ('penalty.0') "
        "that a recording would repeat"
    ]


def test_too_many_kinds_of_steps_are_not_recorded(monkeypatch):
    ours, theirs = Run("cut", graphed=True), Run("cut", graphed=False)
    for run in (ours, theirs):
        usual = type(run.method).losses
        method = run.method

        def losses(batch, method=method, usual=usual):
            for number in range(4):
                method.draws.flip(f"spare.{number}")
            yield from usual(method, batch)

        monkeypatch.setattr(method, "losses", losses)
    assert_same(ours.train(20), theirs.train(20))
    assert_same(ours.state(), theirs.state())
    assert ours.notes == [
        f"no CUDA graphs from here on (runtime.cuda_graphs): decisions make more than "
        f"{MOST_KINDS} different steps"
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cyclegan", "past translations (method.pool_size) are exchanged within a step"),
        ("sesim", "past translations (method.pool_size) are exchanged within a step"),
        ("danet", "only the updates of Adam can be recorded"),
        ("attention-to-scale", "only the updates of Adam can be recorded"),
        ("cut", None),
        ("qs-attn", None),
        ("munit", None),
        ("sincut", None),
    ],
)
def test_what_cannot_be_replayed_is_known_before_the_first_step(name, reason):
    method = tiny_method(name)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    assert obstacle(method, steppers, ON_GPU) == reason


def test_a_distance_that_keeps_past_steps_is_not_replayed():
    method = tiny_method("cut", sliced_wasserstein=1.0)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    assert "method.sliced_wasserstein" in obstacle(method, steppers, ON_GPU)


def test_float16_and_several_processes_are_not_replayed():
    method = tiny_method("cut")
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    half = replace(ON_GPU, precision=torch.float16)
    assert obstacle(method, steppers, half) == (
        "float16 decides after each gradient whether to step"
    )
    method.ranks = Ranks(0, 2)
    assert obstacle(method, steppers, ON_GPU) == (
        "several processes average their gradients within a step"
    )


def test_every_method_has_its_obstacle_or_none():
    for name in METHODS:
        method = tiny_method(name)
        steppers = build_steppers(method, device=CPU, precision=torch.float32)
        said = obstacle(method, steppers, ON_GPU)
        assert said is None or said[0].islower(), name


def test_on_a_cpu_the_setting_is_said_to_have_no_effect_and_the_step_is_the_usual():
    ours, theirs = Run("cut", graphed=False), Run("cut", graphed=False)
    notes = collect_messages()
    ours.step = build_step(ours.method, ours.steppers, ON_CPU)
    assert not isinstance(ours.step, GraphedStep)
    assert_same(ours.train(2), theirs.train(2))
    assert notes == ["no CUDA graphs (runtime.cuda_graphs): cpu has none"]


def test_optimizers_can_be_recorded_only_where_graphs_are():
    for fused in (True, False):
        choices = replace(ON_CPU, fused_optimizer=fused)
        optimizer = chosen_steppers(tiny_method("cut"), choices)["generator"].optimizer
        assert optimizer.defaults["fused"] is fused
        assert not optimizer.defaults["capturable"]


def test_a_run_on_a_cpu_is_the_same_with_the_setting(pair, picture_root, tmp_path):
    sentence = "no CUDA graphs (runtime.cuda_graphs): cpu has none"
    weights, notes, counts = [], collect_messages(), []
    for setting in ("off", "on"):
        config = pair_config(picture_root, runtime={"cuda_graphs": setting, "prefetch": setting})
        start_run(config, run_dir=tmp_path / setting)
        counts.append(notes.count(sentence))
        weights.append(load_checkpoint(RunFolder(tmp_path / setting).last).weights)
    assert_same(*weights)
    assert counts == [0, 1]


def test_without_the_setting_nothing_is_said():
    run, notes = Run("cut", graphed=False), collect_messages()
    off = replace(ON_CPU, cuda_graphs=False)
    build_step(run.method, run.steppers, off)(tiny_batch())
    assert notes == []
    assert not run.method.draws.pins


def test_cuda_is_asked_for_what_its_documentation_prescribes(monkeypatch):
    """Which calls are made, in which order; what they do is known to a GPU alone."""
    made = []

    class Context:
        def __init__(self, *words, **options):
            self.title = " ".join([*map(str, words), *(f"{k}={v}" for k, v in options.items())])

        def __enter__(self):
            made.append(f"enter {self.title}")

        def __exit__(self, *_):
            made.append(f"leave {self.title}")

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            made.append(f"{self} waits for {other}")

        def __str__(self):
            return "default" if self.name == "default" else "own"

    class Graph:
        def replay(self):
            made.append("replay")

        def __str__(self):
            return "graph"

    cuda = torch.cuda
    monkeypatch.setattr(cuda, "Stream", Stream)
    monkeypatch.setattr(cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(cuda, "current_stream", lambda _: Stream("default"))
    monkeypatch.setattr(cuda, "synchronize", lambda _: made.append("synchronize"))
    for name in ("stream", "device", "graph"):
        monkeypatch.setattr(cuda, name, lambda *w, name=name, **o: Context(name, *w, **o))
    backend = CudaBackend(torch.device("cuda:1"))
    assert backend.warm_up(lambda: made.append("work") or 1) == 1
    assert made == [
        "own waits for default",
        "enter stream own",
        "work",
        "leave stream own",
        "default waits for own",
    ]
    made.clear()
    replay, result = backend.capture(lambda: made.append("work") or 2)
    replay()
    backend.start_over()
    assert result == 2
    assert made == [
        "enter device cuda:1",
        "enter stream default",
        "enter graph graph pool=pool stream=own capture_error_mode=thread_local",
        "work",
        "leave graph graph pool=pool stream=own capture_error_mode=thread_local",
        "leave stream default",
        "leave device cuda:1",
        "replay",
        "synchronize",
    ]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("case", ["cut", "fastcut", "qs-attn", "munit", "sincut"])
def test_a_gpu_replays_what_it_computes_kernel_by_kernel(case, record_property):
    name, changes = CASES[case]
    steps = 2 * WARM_UP + 6
    ours = Run(name, graphed=not IS_CUDA, device=GPU, **changes)
    theirs = Run(name, graphed=False, device=GPU, **changes)
    if IS_CUDA:
        ours.step = build_step(ours.method, ours.steppers, replace(ON_GPU, device=GPU))
    terms = list(zip(ours.train(steps), theirs.train(steps), strict=True))
    record_property("terms", max(distance(seen, expected) for seen, expected in terms))
    for seen, expected in terms:
        for term, value in expected.items():
            # The order in which a GPU adds up is not always the same, and Adam amplifies it.
            torch.testing.assert_close(seen[term], value, rtol=5e-2, atol=1e-3)
    assert torch.equal(ours.method.draws.state(), theirs.method.draws.state())
    assert ours.notes == []
