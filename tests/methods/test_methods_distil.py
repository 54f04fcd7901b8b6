"""The first steps of a run: a generator that learns to see before it meets the discriminator."""

from copy import deepcopy

import pytest
import torch
from tiny import batch_for, stand_in, tiny_method

from i2icli.config.schedule import Moment
from i2icli.errors import ConfigError
from i2icli.methods import build_method
from i2icli.methods.shared.configure import configure_run
from i2icli.networks.distiller import Distiller
from i2icli.system.ranks import Ranks
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

CPU = torch.device("cpu")
each_method = pytest.mark.parametrize("name", ["cut", "qs-attn", "sesim", "src-hdce"])


def build(name, *, distil=4, lead=2):
    """Return a method whose generator distils for so many steps."""
    discriminator = {"width": 4, "layers": 2, "lead_steps": lead}
    method = tiny_method(name, discriminator=discriminator, distil_steps=distil).train()
    networks = {each: stand_in(each) for each in method.pretrained}
    method.take_pretrained(networks)
    return method


def take(method, steppers, number, seed=0):
    """Take a step as a run does; return the names of its terms by player."""
    method.start_step(number)
    for stepper in steppers.values():
        stepper.set_learning_rate(Moment(number, 10))
    batch = batch_for(method.config.name, seed=seed)
    losses = train_step(method, batch, steppers, device=CPU, precision=torch.float32)
    return {player: list(terms) for player, terms in losses.items()}


@each_method
def test_the_generator_distils_then_the_discriminator_learns_then_they_meet(name):
    method = build(name)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    turns = [take(method, steppers, number) for number in range(1, 6)]
    assert turns[:2] == [{"generator": ["distil"]}] * 2
    assert turns[2:4] == [{"discriminator": ["fake", "real"], "generator": ["distil"]}] * 2
    assert "gan" in turns[4]["generator"]
    assert "distil" not in turns[4]["generator"]


def test_what_lies_behind_the_middle_block_stands_still_while_it_distils():
    method = build("cut")
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    model, middle = method.generator.model, method.generator.middle_block
    before = [{k: v.clone() for k, v in module.named_parameters()} for module in model]
    take(method, steppers, 1)
    moved = [
        any(not torch.equal(value, old[key]) for key, value in module.named_parameters())
        for module, old in zip(model, before, strict=True)
    ]
    has_weights = [bool(old) for old in before]
    assert moved[: middle + 1] == has_weights[: middle + 1]
    assert not any(moved[middle + 1 :])


@pytest.mark.parametrize(("blocks", "behind"), [(1, 0), (2, 1), (6, 3), (9, 4)])
def test_the_middle_block_has_half_of_the_blocks_behind_it(blocks, behind):
    generator = tiny_method("cut", generator={"width": 4, "blocks": blocks}, nce_layers=(4,))
    model = generator.generator.model
    numbers = [n for n, module in enumerate(model) if type(module).__name__ == "ResnetBlock"]
    assert numbers.index(generator.generator.middle_block) == blocks - 1 - behind


def test_a_generator_learns_to_predict_features():
    method = build("cut", distil=100, lead=0)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    errors = []
    for number in range(1, 61):
        method.start_step(number)
        for stepper in steppers.values():
            stepper.set_learning_rate(Moment(number, 10))
        losses = train_step(method, batch_for("cut"), steppers, device=CPU, precision=torch.float32)
        errors.append(float(losses["generator"]["distil"]))
    assert sum(errors[-5:]) < 0.9 * sum(errors[2:7])


@each_method
def test_distilling_goes_on_after_loading_as_without(name):
    first, second = build(name), build(name)
    ours = build_steppers(first, device=CPU, precision=torch.float32)
    theirs = build_steppers(second, device=CPU, precision=torch.float32)
    for number in (1, 2, 3):
        take(first, ours, number, seed=number)
    second.load_state_dict(first.state_dict())
    second.load_memory(first.memory())
    for title, stepper in ours.items():
        theirs[title].restore(deepcopy(stepper.state()))
    for number in (4, 5):
        assert take(first, ours, number, seed=number) == take(second, theirs, number, seed=number)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_features_count_alike_whatever_their_scale():
    torch.manual_seed(0)
    maps, features = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 4, 4)
    scale, shift = torch.tensor([1.0, 10.0, 0.1]), torch.tensor([0.0, 5.0, -3.0])
    one, other = Distiller(4, [3]), Distiller(4, [3])
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        plain = one(maps, [features])
        moved = other(maps, [features * scale[:, None, None] + shift[:, None, None]])
    assert moved.item() == pytest.approx(plain.item(), rel=0.05)
    assert 0.5 < plain.item() < 2.0  # of a guess that knows nothing


class Twins(Ranks):
    """Two processes with the same pictures."""

    def __init__(self):
        super().__init__(0, 2)

    def add_up(self, values):
        return 2 * values


def test_processes_follow_the_moments_of_the_whole_batch():
    maps, features = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 4, 4)
    one, other = Distiller(4, [3]), Distiller(4, [3])
    one(maps, [features])
    other(maps, [features], Twins())
    assert torch.equal(one.mean_0, other.mean_0)
    assert torch.allclose(one.mean_0, features.mean((0, 2, 3)))
    assert torch.allclose(one.square_0, features.square().mean((0, 2, 3)))


def test_evaluation_leaves_the_moments_as_they_are():
    distiller = Distiller(4, [3]).eval()
    distiller(torch.randn(1, 4, 8, 8), [torch.randn(1, 3, 4, 4)])
    assert float(distiller.steps) == 0
    assert float(distiller.mean_0.abs().sum()) == 0


def test_networks_for_single_pictures_do_not_distil():
    with pytest.raises(ConfigError, match=r"distil_steps is for ResNet generators"):
        build_method(configure_run("sincut", ["method.distil_steps=10"]))


def test_a_run_that_distils_needs_the_frozen_network():
    assert "efficientnet-lite0" in build("cut").pretrained
    vgg = configure_run("cut", ["method.distil_steps=10", 'method.discriminator.features="vgg16"'])
    assert build_method(vgg).pretrained == ("vgg16",)
