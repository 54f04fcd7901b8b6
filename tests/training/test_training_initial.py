import pytest
import torch
from engine_kit import pair_config

from i2icli.config.document import config_document
from i2icli.errors import CheckpointError, ConfigError
from i2icli.methods import build_method
from i2icli.runs.checkpoint import CheckpointState, load_checkpoint, save_checkpoint
from i2icli.training.initial import load_initial_weights
from i2icli.training.run import start_run

pytestmark = pytest.mark.usefixtures("pair")


def test_all_weights_of_the_same_method_are_loaded(two_steps, picture_root):
    method = build_method(pair_config(picture_root))
    loaded = load_initial_weights(method, two_steps / "checkpoints/last.pt")
    state = load_checkpoint(two_steps / "checkpoints/last.pt")
    assert set(loaded.loaded) == set(state.weights)
    assert loaded.step == 2
    assert (loaded.fresh, loaded.mismatched, loaded.unused) == ((), (), ())
    for name, value in method.state_dict().items():
        assert torch.equal(value, state.weights[name])


def test_weights_of_another_shape_are_named_with_both_shapes(two_steps, picture_root):
    method = build_method(pair_config(picture_root, method={"width": 6}))
    before = method.state_dict()["generator.0.weight"].clone()
    loaded = load_initial_weights(method, two_steps)
    assert ("generator.0.weight", (4, 3, 3, 3), (6, 3, 3, 3)) in loaded.mismatched
    assert "discriminator.weight" in loaded.loaded
    assert torch.equal(method.state_dict()["generator.0.weight"], before)


def test_weights_on_one_side_only_are_fresh_or_unused(two_steps, picture_root, tmp_path):
    state = load_checkpoint(two_steps / "checkpoints/last.pt")
    weights = dict(state.weights)
    weights["extra.weight"] = weights.pop("spare.weight")
    save_checkpoint(tmp_path / "other.pt", CheckpointState(config={}, weights=weights, step=1))
    loaded = load_initial_weights(build_method(pair_config(picture_root)), tmp_path / "other.pt")
    assert (loaded.fresh, loaded.unused) == (("spare.weight",), ("extra.weight",))


@pytest.mark.parametrize("has_key", [True, False])
def test_a_setting_that_changes_what_weights_mean_but_no_shape_is_said(
    picture_root, tmp_path, has_key
):
    networks = {"generator": {"width": 4, "blocks": 1}, "nce_layers": [0, 4], "name": "cut"}
    plain = pair_config(picture_root, method={**networks, "optimizer": {}})
    document = config_document(plain)
    if not has_key:  # as 0.1.0 wrote it
        del document["method"]["generator"]["residual"]
    weights = build_method(plain).state_dict()
    save_checkpoint(tmp_path / "plain.pt", CheckpointState(document, weights=weights, step=1))
    assert load_initial_weights(build_method(plain), tmp_path / "plain.pt").changed == ()
    networks["generator"]["residual"] = True
    method = build_method(pair_config(picture_root, method={**networks, "optimizer": {}}))
    loaded = load_initial_weights(method, tmp_path / "plain.pt")
    assert (loaded.fresh, loaded.mismatched, loaded.unused) == ((), (), ())
    said = "set otherwise than there: method.generator.residual: false -> true"
    assert any(said in line for line in loaded.lines())


def test_nothing_that_fits_is_an_error(picture_root, tmp_path):
    state = CheckpointState(config={}, weights={"other.weight": torch.ones(2)}, step=1)
    save_checkpoint(tmp_path / "other.pt", state)
    with pytest.raises(ConfigError, match="none of its 1 weights"):
        load_initial_weights(build_method(pair_config(picture_root)), tmp_path / "other.pt")


def test_run_from_weights_starts_at_step_0_with_fresh_optimizers(two_steps, picture_root, tmp_path):
    seen = []
    config = pair_config(picture_root, steps=1, checkpoint={"every_steps": 1})
    start_run(config, run_dir=tmp_path / "run", init_from=two_steps, on_loaded=seen.append)
    state = load_checkpoint(tmp_path / "run/checkpoints/last.pt")
    assert state.step == 1
    assert state.optimizers["generator"]["moments"]["generator.0.weight"]["step"] == 1
    start = load_checkpoint(two_steps / "checkpoints/last.pt").weights["generator.0.weight"]
    # Adam's first step moves every weight by the learning rate at the most.
    assert (state.weights["generator.0.weight"] - start).abs().max() <= 0.01 + 1e-6
    assert seen[0].source == two_steps / "checkpoints/last.pt"


def test_run_folder_without_a_checkpoint_is_named(picture_root, tmp_path):
    with pytest.raises(CheckpointError, match=r"is a folder but not a run"):
        start_run(pair_config(picture_root), run_dir=tmp_path / "run", init_from=tmp_path)
    assert not (tmp_path / "run").exists()


def test_run_killed_before_its_first_save_goes_on_with_the_given_weights(
    two_steps, picture_root, tmp_path, monkeypatch
):
    def die(_trainer):
        raise KeyboardInterrupt

    monkeypatch.setattr("i2icli.training.loop.Trainer.run", die)
    with pytest.raises(KeyboardInterrupt):
        start_run(pair_config(picture_root), run_dir=tmp_path / "run", init_from=two_steps)
    kept = load_checkpoint(tmp_path / "run/checkpoints/last.pt")
    given = load_checkpoint(two_steps / "checkpoints/last.pt")
    assert kept.step == 0
    assert all(torch.equal(kept.weights[name], given.weights[name]) for name in given.weights)
