"""What every registered method must hold; a new paper is picked up by itself."""

from dataclasses import replace

import pytest
import torch
from tiny import batch_for, stand_in, tiny_batch, tiny_config, tiny_method

from i2icli.errors import ConfigError
from i2icli.methods import METHODS, build_method, misfit_of
from i2icli.methods.shared.configure import run_schema
from i2icli.runs.checkpoint import CheckpointState

pytestmark = pytest.mark.parametrize("name", sorted(METHODS))


def _weights(method, player):
    return method.players[player].trainable()


def drive(method, name, *, lr=1e-3):
    """Train one step by plain gradient descent; return what was yielded."""
    seen = []
    for player, terms in method.losses(batch_for(name)):
        weights = _weights(method, player)
        for weight in weights:
            weight.grad = None
        torch.autograd.backward(sum(terms.values()), inputs=weights)
        with torch.no_grad():
            for weight in weights:
                weight -= lr * weight.grad
        seen.append((player, {key: float(value.detach()) for key, value in terms.items()}))
    return seen


def test_every_trainable_weight_has_exactly_one_player(name):
    method = tiny_method(name)
    owned = [id(w) for player in method.players for w in _weights(method, player)]
    assert sorted(owned) == sorted(id(w) for w in method.parameters() if w.requires_grad)


def test_weights_of_a_checkpoint_are_held_to_the_configuration_without_building_it(name):
    config = tiny_config(name)
    weights = build_method(config).state_dict()
    state = CheckpointState(config={}, weights=weights, step=1)
    assert misfit_of(config, state) == ""
    first = next(iter(weights))
    assert f"{first} is on one side only" in misfit_of(
        config, replace(state, weights={n: w for n, w in weights.items() if n != first})
    )
    assert f"{first} has the type torch.int32" in misfit_of(
        config, replace(state, weights={**weights, first: weights[first].int()})
    )


def test_terms_are_finite_scalars_of_declared_players_in_order(name):
    method = tiny_method(name)
    players = []
    for player, terms in method.losses(batch_for(name)):
        players.append(player)
        assert terms
        for value in terms.values():
            assert value.shape == ()
            assert value.isfinite()
    assert list(dict.fromkeys(players)) == list(method.players)


def test_each_player_reaches_all_its_weights_and_changes_nobody_else(name):
    method = tiny_method(name)
    for player, terms in method.losses(batch_for(name)):
        before = {key: value.clone() for key, value in method.state_dict().items()}
        weights = _weights(method, player)
        gradients = torch.autograd.grad(sum(terms.values()), weights, retain_graph=False)
        assert all(g.isfinite().all() for g in gradients)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= 1e-3 * gradient
        mine = {id(w) for w in weights}
        changed = {
            key for key, value in method.state_dict().items() if not torch.equal(value, before[key])
        }
        foreign = {key for key, w in method.named_parameters() if id(w) not in mine}
        assert changed, player
        assert not changed & foreign


def test_losses_leave_the_batch_unchanged(name):
    method, batch = tiny_method(name), batch_for(name)
    for _ in method.losses(batch):
        pass
    for key, value in vars(batch_for(name)).items():
        assert not isinstance(value, torch.Tensor) or torch.equal(getattr(batch, key), value)


def test_translate_keeps_shape_and_range_in_each_direction(name):
    method, images = tiny_method(name), tiny_batch(size=40).real_a
    for direction in method.directions:
        with torch.inference_mode():
            translated = method.translate(images, direction=direction).images
        assert translated.shape == images.shape
        assert translated.abs().max() <= 1


def test_smallest_side_translates(name):
    method = tiny_method(name)
    side = method.min_size
    with torch.inference_mode():
        assert method.translate(torch.zeros(1, 3, side, side)).images.isfinite().all()


def test_config_round_trips_through_json(name):
    config = tiny_config(name)
    assert run_schema().model_validate_json(config.model_dump_json(exclude_none=True)) == config


def test_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = tiny_method(name)
    torch.rand(3)
    second = tiny_method(name)
    torch.set_rng_state(state)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_next_step_is_bitwise_equal_after_restoring_weights_and_memory(name):
    method = tiny_method(name)
    for _ in range(3):
        drive(method, name)
    copy = tiny_method(name)
    copy.load_state_dict(method.state_dict())
    copy.load_memory(method.memory())
    assert drive(method, name) == drive(copy, name)
    assert all(
        torch.equal(a, b)
        for a, b in zip(method.state_dict().values(), copy.state_dict().values(), strict=True)
    )


def test_one_picture_trains_as_well_as_two(name):
    method = tiny_method(name)
    for player, terms in method.losses(batch_for(name, count=1)):
        gradients = torch.autograd.grad(sum(terms.values()), _weights(method, player))
        assert all(g.isfinite().all() for g in gradients)


def test_the_structure_term_is_taken_up_or_refused(name):
    config = tiny_config(name)
    for kind in ("fixed", "learned"):
        structure = config.structure.model_copy(update={"kind": kind, "num_patches": 16})
        wanted = config.model_copy(update={"structure": structure})
        if METHODS[name].data == "labelled":
            with pytest.raises(ConfigError):
                build_method(wanted)
            continue
        method = build_method(wanted)
        method.take_pretrained({network: stand_in(network) for network in method.pretrained})
        owned = [id(w) for player in method.players for w in _weights(method, player)]
        assert sorted(owned) == sorted(id(w) for w in method.parameters() if w.requires_grad)
        terms = {term for _, found in drive(method, name) for term in found}
        assert any(term.startswith("structure") for term in terms)
