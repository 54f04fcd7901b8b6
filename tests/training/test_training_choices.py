from functools import partial

import pytest
import torch
from engine_kit import pair_config, state_of
from plain_data import assert_same

from i2icli.config.document import config_document, write_toml
from i2icli.methods import configure_run, restore_config
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.system import choices as choices_module
from i2icli.system.messages import collect_messages
from i2icli.system.trial import Trial
from i2icli.training.run import resume_run, start_run
from i2icli.translation import prepare as prepare_module

pytestmark = pytest.mark.usefixtures("pair")


def set_trial(monkeypatch, gain):
    monkeypatch.setattr(prepare_module, "_try_layout", lambda *_, **__: Trial(gain))


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_resumed_run_goes_on_in_the_layout_that_it_began_in(
    picture_root, tmp_path, gain, monkeypatch
):
    config = partial(pair_config, picture_root)
    set_trial(monkeypatch, gain)
    start_run(config(steps=6), run_dir=tmp_path / "through")
    start_run(config(steps=3), run_dir=tmp_path / "run")
    set_trial(monkeypatch, 1 / gain)
    resume_run(tmp_path / "run", steps=6)
    state = load_checkpoint(tmp_path / "run/checkpoints/last.pt")
    assert state.choices["channels_last"] is (gain > 1)
    assert_same(*(state_of(tmp_path / n, "meters", "config") for n in ("through", "run")))


@pytest.fixture
def _threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(choices_module, "usable_cores", lambda: 8)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_resumed_run_computes_by_the_choices_of_its_beginning(picture_root, tmp_path, monkeypatch):
    config = partial(pair_config, picture_root)
    set_trial(monkeypatch, 2.0)
    for name, steps in (("through", 6), ("run", 3)):
        torch.set_num_threads(2)
        start_run(config(steps=steps), run_dir=tmp_path / name)
    began = load_checkpoint(tmp_path / "run/checkpoints/last.pt").choices
    set_trial(monkeypatch, 0.5)
    torch.set_num_threads(1)
    monkeypatch.setattr(choices_module, "compiler_fault", lambda _: "no compiler here")
    resume_run(tmp_path / "run", steps=6)
    assert torch.get_num_threads() == began["threads"] == 2
    assert began["channels_last"]
    assert load_checkpoint(tmp_path / "run/checkpoints/last.pt").choices == began
    assert_same(*(state_of(tmp_path / n, "meters", "config") for n in ("through", "run")))


@pytest.mark.usefixtures("_threads")
def test_two_runs_of_equal_choices_are_equal_to_the_bit(picture_root, tmp_path, monkeypatch):
    set_trial(monkeypatch, 2.0)
    torch.set_num_threads(2)
    settings = config_document(pair_config(picture_root, steps=4, runtime={"precision": "auto"}))
    messages = collect_messages()
    start_run(restore_config(settings), run_dir=tmp_path / "chosen")
    (line,) = [line for line in messages if line.startswith("the same choices again: ")]
    pinned = line.partition(": ")[2].removeprefix("--set ").split(" --set ")
    assert pinned == [
        "runtime.precision=float32",
        "runtime.threads=2",
        "runtime.channels_last=on",
        "runtime.compile=off",
        "runtime.fused_optimizer=on",
    ]
    preset = tmp_path / "preset.toml"
    preset.write_text(write_toml(settings), encoding="utf-8")
    set_trial(monkeypatch, 0.5)
    torch.set_num_threads(1)
    start_run(configure_run(str(preset), pinned), run_dir=tmp_path / "pinned")
    assert_same(*(state_of(tmp_path / n, "config") for n in ("chosen", "pinned")))
    kept = [load_checkpoint(tmp_path / n / "checkpoints/last.pt") for n in ("chosen", "pinned")]
    assert kept[0].choices == kept[1].choices


@pytest.mark.parametrize("first", ["on", "off"])
def test_run_may_change_its_layout_on_its_way(picture_root, tmp_path, first):
    config = pair_config(picture_root, steps=2, runtime={"channels_last": first})
    start_run(config, run_dir=tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    other = "off" if first == "on" else "on"
    text = path.read_text(encoding="utf-8")
    assert f'channels_last = "{first}"' in text
    path.write_text(text.replace(f'channels_last = "{first}"', f'channels_last = "{other}"'))
    assert resume_run(tmp_path / "run", steps=4).step == 4
    state = load_checkpoint(tmp_path / "run/checkpoints/last.pt")
    kernels = [weight for weight in state.weights.values() if weight.dim() == 4]
    is_last = [w.is_contiguous(memory_format=torch.channels_last) for w in kernels]
    assert state.choices["channels_last"] is (other == "on")
    assert all(is_last) or other == "off"
