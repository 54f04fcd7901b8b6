"""What `auto` comes to, and what is said about it."""

import pytest
import torch

from i2icli.config.sections import RuntimeConfig
from i2icli.system import choices, threads
from i2icli.system.choices import Choices, Work, choose
from i2icli.system.threads import ThreadsTrial
from i2icli.system.trial import Trial

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(autouse=True)
def _gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU X")
    monkeypatch.setattr(choices, "compiler_fault", lambda _: None)
    monkeypatch.setattr(choices, "is_claimed", lambda: True)
    monkeypatch.setattr(choices, "keeping_fault", lambda: None)


def work(*, gain=None, **options):
    trial = Trial(gain, "" if gain else "too small")
    return Work(try_layout=lambda *_: trial, **options)


def test_on_a_cpu_memory_is_kept_and_maps_are_recomputed():
    chosen = choose(RuntimeConfig(), CPU, work(steps=10**6))
    on = [name for name in RuntimeConfig.model_fields if getattr(chosen, name, None) is True]
    assert on == ["recompute", "reuse_memory", "fused_optimizer"]
    # A scaler wants the plain loop there.
    assert not choose(RuntimeConfig(precision="float16"), CPU, work()).fused_optimizer


@pytest.mark.parametrize(("free", "is_on"), [(16_001, False), (15_999, True), (None, True)])
def test_maps_are_recomputed_where_they_would_take_a_sixteenth_of_the_memory(
    free, is_on, monkeypatch
):
    monkeypatch.setattr(choices, "free_bytes", lambda _: free)
    assert choose(RuntimeConfig(), CPU, work(kept_bytes=lambda _: 1000)).recompute is is_on
    assert not choose(
        RuntimeConfig(), CPU, work(kept_bytes=lambda _: 10**12, trains=False)
    ).recompute
    assert choose(RuntimeConfig(recompute="on"), CPU, work(kept_bytes=lambda _: 1)).recompute


def test_on_a_gpu_long_runs_get_all_but_the_untried():
    chosen = choose(RuntimeConfig(), CUDA, work(steps=10**6, gain=1.2))
    on = [name for name in RuntimeConfig.model_fields if getattr(chosen, name, None) is True]
    assert on == ["compile", "channels_last", "fused_optimizer", "prefetch"]
    assert "runtime.cuda_graphs=on" in chosen.reasons["cuda_graphs"]


@pytest.mark.parametrize(("options", "name"), [({"steps": 4999}, "compile"), ({}, "compile")])
def test_what_does_not_pay_is_off(options, name):
    assert not getattr(choose(RuntimeConfig(), CUDA, work(**options)), name)


def test_translating_needs_nothing_that_is_for_training():
    for device in (CPU, CUDA):
        chosen = choose(RuntimeConfig(), device, work(trains=False, gain=1.5))
        assert chosen.channels_last
        for name in ("compile", "recompute", "cuda_graphs", "fused_optimizer", "prefetch"):
            assert not getattr(chosen, name), name


@pytest.mark.parametrize(("gain", "is_on"), [(0.9, False), (1.02, False), (1.04, True)])
def test_channels_last_takes_a_clear_gain_in_a_trial(gain, is_on):
    chosen = choose(RuntimeConfig(), CPU, work(gain=gain))
    assert chosen.channels_last is is_on
    assert chosen.reasons["channels_last"] == f"{gain:.2f}x in a trial"


def test_layout_is_the_usual_one_where_the_gain_is_within_the_spread():
    close = Work(try_layout=lambda *_: Trial(1.2, spread=0.3))
    chosen = choose(RuntimeConfig(), CPU, close)
    assert not chosen.channels_last
    assert chosen.reasons["channels_last"] == "1.20x in a trial, 30% spread"
    assert "trial" not in chosen.describe()


def test_layout_that_a_trial_beside_other_programs_left_off_is_said():
    disturbed = Work(try_layout=lambda *_: Trial(1.2, spread=0.3, others=1.5, is_quiet=False))
    said = choose(RuntimeConfig(), CPU, disturbed).describe()
    assert "no channels last (auto: 1.20x in a trial, 30% spread, beside 1.5 busy core(s))" in said


def test_what_is_set_is_not_tried():
    def refuse(*_):
        raise AssertionError("tried")

    for value in ("on", "off"):
        runtime = RuntimeConfig(channels_last=value, compile=value)
        chosen = choose(runtime, CPU, Work(try_layout=refuse))
        assert chosen.channels_last is chosen.compile is (value == "on")
        assert not {"channels_last", "compile"} & set(chosen.reasons)


def test_run_goes_on_by_the_choices_that_it_began_with():
    began = choose(RuntimeConfig(threads=1, fused_optimizer="on"), CPU, work(gain=1.5)).kept()
    assert began == {
        "device": "cpu",
        "threads": 1,
        "channels_last": True,
        "compile": False,
        "cuda_graphs": False,
        "fused_optimizer": True,
    }
    chosen = choose(RuntimeConfig(), CPU, work(gain=0.5, earlier=began))
    assert chosen.kept() == began
    assert chosen.reasons["channels_last"] == "as this run began"
    assert chosen.describe().count("as this run began") == 2  # of what is on: threads are as many


@pytest.mark.parametrize("kept", [{}, {"device": "cpu", "channels_last": True, "compile": False}])
@pytest.mark.parametrize(("device", "is_fused"), [(CPU, False), (CUDA, True)])
def test_run_of_an_old_version_keeps_what_that_chose(kept, device, is_fused, monkeypatch):
    kept = {**kept, **({"device": device.type} if kept else {})}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    chosen = choose(RuntimeConfig(), device, work(gain=0.5, earlier=kept))
    assert (chosen.threads, chosen.cuda_graphs, chosen.fused_optimizer) == (7, False, is_fused)
    assert chosen.channels_last is bool(kept)


@pytest.fixture
def _four_threads_on_eight_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(choices, "usable_cores", lambda: 8)


@pytest.mark.usefixtures("_four_threads_on_eight_cores")
@pytest.mark.parametrize(
    ("kept", "threads", "said"),
    [
        (4, 4, None),
        (2, 2, "2 thread(s) (auto: as this run began)"),
        (8, 8, "8 thread(s) (auto: as this run began)"),
        (9, 4, "4 thread(s) (auto: this run began with 9, and 8 core(s) are usable here)"),
    ],
)
def test_run_keeps_its_threads_where_there_are_as_many_cores(kept, threads, said):
    earlier = {"device": "cpu", "threads": kept}
    chosen = choose(RuntimeConfig(), CPU, work(earlier=earlier))
    assert chosen.threads == threads
    assert ("thread" in chosen.describe()) is (said is not None)
    assert said is None or said in chosen.describe()
    assert choose(RuntimeConfig(threads=3), CPU, work(earlier=earlier)).threads == 3
    assert choose(RuntimeConfig(), CUDA, work(earlier=earlier)).threads == 4


@pytest.mark.usefixtures("_four_threads_on_eight_cores")
def test_layouts_are_tried_with_the_threads_of_the_run():
    tried = []

    def try_layout(precision, threads):
        tried.append((precision, threads))
        return Trial(2.0)

    choose(RuntimeConfig(threads=2), CPU, Work(try_layout=try_layout))
    choose(RuntimeConfig(), CPU, Work(try_layout=try_layout, earlier={"threads": 5}))
    assert tried == [(torch.float32, 2), (torch.float32, 5)]


@pytest.fixture
def _own_threads(monkeypatch):
    for name in threads._VARIABLES:
        monkeypatch.delenv(name, raising=False)


def beside_others(_precision):
    return ThreadsTrial(3, {4: 0.2, 3: 0.1}, others=1.0)


@pytest.mark.usefixtures("_four_threads_on_eight_cores", "_own_threads")
@pytest.mark.parametrize("trains", [True, False])
def test_threads_are_tried_where_others_take_the_cores(trains):
    chosen = choose(RuntimeConfig(), CPU, Work(trains=trains, try_threads=beside_others))
    assert chosen.threads == chosen.kept()["threads"] == 3
    words = "3 thread(s) (auto: 2.00x as fast as 4 in a trial beside 1.0 busy core(s))"
    assert words in chosen.describe()
    quiet = choose(RuntimeConfig(), CPU, Work(trains=trains, try_threads=lambda _: None))
    assert quiet.threads == 4
    assert "threads" not in quiet.reasons


@pytest.mark.usefixtures("_four_threads_on_eight_cores", "_own_threads")
def test_threads_are_not_tried_where_they_are_said(monkeypatch):
    def count(runtime=RuntimeConfig(), device=CPU, **options):  # noqa: B008
        return choose(runtime, device, Work(try_threads=beside_others, **options)).threads

    assert count(RuntimeConfig(threads=2)) == 2
    assert count(earlier={"device": "cpu", "threads": 5}) == 5
    assert count(device=CUDA) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert count() == 4
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(choices, "is_claimed", lambda: False)
    assert count() == 4
    monkeypatch.setattr(choices, "is_claimed", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert count() == 1


def test_run_that_moves_to_another_kind_of_device_chooses_anew():
    began = {"device": "cuda", "channels_last": True, "compile": True}
    chosen = choose(RuntimeConfig(), CPU, work(gain=0.5, earlier=began))
    assert not chosen.channels_last
    assert not chosen.compile


def test_configuration_outweighs_how_a_run_began():
    began = {"device": "cpu", "channels_last": True, "fused_optimizer": False, "threads": 1}
    runtime = RuntimeConfig(channels_last="off", fused_optimizer="on", threads=2)
    chosen = choose(runtime, CPU, work(earlier=began))
    assert (chosen.channels_last, chosen.fused_optimizer, chosen.threads) == (False, True, 2)
    assert not {"channels_last", "fused_optimizer", "threads"} & set(chosen.reasons)


def test_choices_of_the_machine_that_decide_the_rounding_are_told_as_settings(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    chosen = choose(RuntimeConfig(), CPU, work(gain=1.5))
    assert chosen.again() == (
        "--set runtime.device=cpu --set runtime.precision=float32 --set runtime.threads=3 "
        "--set runtime.channels_last=on --set runtime.compile=off "
        "--set runtime.fused_optimizer=on"
    )
    on_gpu = choose(RuntimeConfig(compile="off"), CUDA, work(gain=1.0))
    assert {"cuda_graphs", "fused_optimizer"} <= set(on_gpu.pins)
    assert "compile" not in on_gpu.pins


def test_settings_of_the_user_and_of_no_effect_are_not_told():
    runtime = RuntimeConfig(
        device="cpu",
        precision="float32",
        threads=2,
        channels_last="off",
        compile="off",
        fused_optimizer="on",
    )
    assert choose(runtime, CPU).again() == ""
    translating = choose(RuntimeConfig(), CUDA, work(trains=False, gain=1.5)).pins
    assert set(translating) == {"device", "precision", "threads", "channels_last", "compile"}


def test_levers_that_came_after_a_run_are_told_as_settings(monkeypatch):
    runtime = RuntimeConfig(levers={"lean_norm": False, "batch_passes": False})
    monkeypatch.setattr(choices, "FIRST_LEVERS", ("batch_passes",))
    assert "--set runtime.levers.lean_norm=false" in choose(runtime, CPU).again()
    assert "batch_passes" not in choose(runtime, CPU).again()


def test_translating_leaves_threads_to_the_process(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert choose(RuntimeConfig(threads=2), CPU, work(trains=False)).threads == 3


def test_process_that_is_not_ours_keeps_its_malloc(monkeypatch):
    monkeypatch.setattr(choices, "is_claimed", lambda: False)
    chosen = choose(RuntimeConfig(), CPU)
    assert not chosen.reuse_memory
    assert chosen.reasons["reuse_memory"] == "the process is not i2i's own"
    assert choose(RuntimeConfig(reuse_memory="on"), CPU).reuse_memory


def test_no_compiler_is_said(monkeypatch):
    monkeypatch.setattr(choices, "compiler_fault", lambda _: "there is no C++ compiler")
    chosen = choose(RuntimeConfig(), CUDA, work(steps=10**6))
    assert not chosen.compile
    assert chosen.reasons["compile"] == "there is no C++ compiler"


@pytest.mark.parametrize(
    ("has_units", "words"),
    [(True, "this CPU computes bfloat16 about 1.5 times as fast"), (False, "has no bfloat16")],
)
def test_cpu_stays_exact_and_says_what_it_could(has_units, words, monkeypatch):
    monkeypatch.setattr("i2icli.system.device.has_fast_bfloat16", lambda: has_units)
    chosen = choose(RuntimeConfig(), CPU)
    assert chosen.precision == torch.float32
    assert words in chosen.describe()


def test_description_names_what_is_on_with_its_reason():
    said = choose(RuntimeConfig(recompute="off"), CUDA, work(steps=9000, gain=1.5)).describe()
    assert said == (
        "cuda:0 (GPU X), bfloat16 (auto: this GPU has bfloat16 units), compiled networks "
        "(auto: a long run on a GPU), channels last (auto: 1.50x in a trial), no CUDA graphs "
        "(auto: not yet tried on a GPU; `--set runtime.cuda_graphs=on` may be much faster here), "
        "fused optimizer, batches copied ahead"
    )


def test_description_leaves_out_what_is_off_for_nothing_to_do():
    off = dict.fromkeys(("recompute", "reuse_memory", "fused_optimizer"), "off")
    chosen = choose(RuntimeConfig(precision="float32", **off), CPU, work(gain=0.97))
    assert chosen.reasons["channels_last"] == "0.97x in a trial"
    assert chosen.describe() == "cpu, float32"


def test_choices_have_a_field_for_every_switch():
    switches = {
        name
        for name, field in RuntimeConfig.model_fields.items()
        if field.default == "auto" and name not in ("device", "precision", "workers")
    }
    assert switches <= set(Choices.__dataclass_fields__)
