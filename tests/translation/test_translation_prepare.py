import pytest
import torch
from echo import translate_tensor

from i2icli.config.sections import RuntimeConfig
from i2icli.methods import build_method, configure_run
from i2icli.system import choices as choices_module
from i2icli.system.choices import Work, choose
from i2icli.system.compiling import Compiled
from i2icli.system.cores import Load
from i2icli.system.messages import collect_messages
from i2icli.system.threads import ThreadsTrial
from i2icli.translation import prepare as prepare_module
from i2icli.translation.prepare import prepare

SMALL = (
    "method.generator.width=8",
    "method.generator.blocks=2",
    "method.discriminator.width=8",
    "method.nce_layers=[0,4,8]",
)
TRAINING, TRANSLATING = Work(), Work(trains=False)


@pytest.fixture
def method():
    return build_method(configure_run("cut", SMALL))


def is_last(method):
    weights = [weight for weight in method.parameters() if weight.dim() == 4]
    return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_channels_last_lays_out_weights_and_keeps_their_values(method):
    before = {name: weight.clone() for name, weight in method.state_dict().items()}
    prepare(method, RuntimeConfig(channels_last="on"), crop=32, work=TRAINING)
    assert is_last(method)
    assert method.memory_format == torch.channels_last
    for name, weight in method.state_dict().items():
        assert torch.equal(weight, before[name]), name
    prepare(method, RuntimeConfig(channels_last="off"), crop=32, work=TRAINING)
    assert all(weight.is_contiguous() for weight in method.parameters())


def test_channels_last_translates_the_same_up_to_rounding(method):
    pictures = torch.rand(2, 3, 32, 24, dtype=torch.float64) * 2 - 1
    method.double()
    usual = translate_tensor(method, pictures)
    prepare(method, RuntimeConfig(channels_last="on"), crop=32, work=TRANSLATING)
    other = translate_tensor(method, pictures)
    assert other.is_contiguous()
    torch.testing.assert_close(other, usual, rtol=0, atol=1e-6)


def test_channels_last_translates_a_batch_like_its_pictures(method):
    prepare(method, RuntimeConfig(channels_last="on"), crop=32, work=TRANSLATING)
    pictures = torch.rand(3, 3, 32, 24) * 2 - 1
    singly = torch.cat([translate_tensor(method, picture[None]) for picture in pictures])
    assert torch.equal(translate_tensor(method, pictures), singly)


def test_small_networks_are_not_tried(method):
    choices = prepare(method, RuntimeConfig(), crop=64, work=TRAINING)
    assert choices.reasons["channels_last"] == "networks too small to matter"


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trial_computes_and_leaves_the_method_alone(
    method, trains, precision, tmp_path, monkeypatch
):
    monkeypatch.setenv("I2I_HOME", str(tmp_path))
    monkeypatch.setattr(prepare_module, "_WORTH_TRYING", 0)
    runtime = RuntimeConfig(precision=precision)
    before = torch.get_rng_state()
    choices = prepare(method, runtime, crop=64, work=Work(trains=trains))
    assert "x in a trial" in choices.reasons["channels_last"]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None for weight in method.parameters())
    assert choices.channels_last is is_last(method)


@pytest.fixture
def crowd(monkeypatch):
    """A process of two threads beside a busy program; what a trial of threads was given."""
    tried = []

    def try_threads(once, load):
        once()
        tried.append(load)
        return ThreadsTrial(1, {2: 2.0, 1: 1.0}, load.others)

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(choices_module, "is_claimed", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(prepare_module, "try_threads", try_threads)
    monkeypatch.setattr(prepare_module, "look_at_load", lambda _: Load(1.0, usable=2, cpus=2))
    monkeypatch.setattr(prepare_module, "wait_briefly", lambda: tried.append("brief"))
    return tried


@pytest.mark.parametrize("work", [TRAINING, TRANSLATING])
def test_beside_others_threads_are_tried_by_work_that_leaves_the_method_alone(method, crowd, work):
    before = torch.get_rng_state()
    choices = prepare(method, RuntimeConfig(reuse_memory="off"), crop=64, work=work)
    assert choices.threads == 1
    assert crowd == ["brief", Load(1.0, usable=2, cpus=2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None for weight in method.parameters())


def test_on_a_quiet_machine_all_threads_are_taken(method, crowd, monkeypatch):
    monkeypatch.setattr(prepare_module, "look_at_load", lambda _: Load(0.4, usable=2, cpus=2))
    choices = prepare(method, RuntimeConfig(reuse_memory="off"), crop=64, work=TRAINING)
    assert (choices.threads, crowd) == (2, [])


def test_maps_that_a_step_keeps_grow_with_its_pixels_and_shrink_with_the_precision(
    method, monkeypatch
):
    asked = []

    def note(_runtime, _device, work):
        asked.append([work.kept_bytes(dtype) for dtype in (torch.float32, torch.bfloat16)])
        return choose(RuntimeConfig(), torch.device("cpu"))

    monkeypatch.setattr(prepare_module, "choose", note)
    for pixels in (64**2, 128**2, None):
        prepare(method, RuntimeConfig(), crop=64, work=Work(pixels=pixels))
    (small, halved), (large, _), (unknown, _) = asked
    # Six passes keep the 64 x 64 maps of the first and last layers, at the least.
    assert small > 6 * 2 * 4 * 64**2 * method.generator.model[1].out_channels
    assert large == 4 * small
    assert halved == small // 2
    assert unknown is None
    assert all(weight.device.type == "cpu" for weight in method.parameters())


def test_compiling_keeps_the_names_of_weights_and_can_be_done_again(method, monkeypatch):
    def no_compiler(function, **_):
        return function

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(prepare_module, "compiler_fault", lambda _: None)
    monkeypatch.setattr(prepare_module, "prepare_compiler", lambda: None)
    names = list(method.state_dict())
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    usual = translate_tensor(method, pictures)
    prepare(method, RuntimeConfig(compile="on"), crop=32, work=TRAINING)
    prepare(method, RuntimeConfig(compile="on"), crop=32, work=TRANSLATING)
    assert list(method.state_dict()) == names
    assert torch.equal(translate_tensor(method, pictures), usual)
    part = method.generator._run
    assert isinstance(part, Compiled)
    assert not isinstance(part.plain, Compiled)


def test_without_a_compiler_networks_stay_as_they_are(method, monkeypatch):
    monkeypatch.setattr(prepare_module, "compiler_fault", lambda _: "there is no C++ compiler")
    said = collect_messages()
    prepare(method, RuntimeConfig(compile="on"), crop=32, work=TRAINING)
    assert said == ["networks are not compiled: there is no C++ compiler"]
    assert not isinstance(method.generator._run, Compiled)
