"""How a discriminator starts, what it is shown beside the new, and how long it is alone."""

import pytest
import torch
from tiny import batch_for, tiny_batch, tiny_method

from i2icli.config.method import AdversaryConfig
from i2icli.config.schedule import Moment
from i2icli.errors import ConfigError
from i2icli.methods import METHODS
from i2icli.methods.shared.configure import configure_run
from i2icli.methods.shared.draws import Draws, PastImages
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

CPU = torch.device("cpu")
NAMES = [
    name
    for name in sorted(METHODS)
    if isinstance(getattr(METHODS[name].Config(), "discriminator", None), AdversaryConfig)
]


def build(name, **settings):
    """Return a method in training, its discriminator small and else as asked."""
    known = type(METHODS[name].Config().discriminator).model_fields
    small = {"width": 4, "layers": 2, "scales": 2, **settings}
    fitting = {key: value for key, value in small.items() if key in known}
    return tiny_method(name, discriminator=fitting).train()


def test_past_pictures_of_eight_bits_come_back_exactly():
    levels = torch.arange(256).float().div(127.5).sub(1).view(1, 1, 16, 16)
    pool = PastImages(1)
    pool.recall(levels, Draws(0), "pool", count=1)
    again = pool.recall(levels, Draws(0), "pool", count=1)
    assert torch.equal(again.add(1).mul(127.5).round(), levels.add(1).mul(127.5).round())


@pytest.mark.parametrize("name", ["cut", "sesim"])
def test_past_pictures_stand_beside_those_of_their_size_alone(name):
    method = tiny_method(name, pool_size=8, beside=2).train()
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    shown = []
    method.discriminator.register_forward_pre_hook(lambda _, given: shown.append(given[0].shape))
    for seed, size in enumerate((64, 88, 64, 88)):
        batch = batch_for(name, count=1, size=size, seed=seed)
        train_step(method, batch, steppers, device=CPU, precision=torch.float32)
    assert max(shape[0] for shape in shown if shape[-1] == 88) == 4  # two new, two past
    assert max(shape[0] for shape in shown if shape[-1] == 64) == 4


def test_one_in_ten_pictures_takes_the_slot_of_another():
    pool, draws = PastImages(20, one_in=10), Draws(0)
    for number in range(1000):
        pool.recall(torch.full((1, 1, 1, 1), float(number)), draws, "pool", count=1)
    numbers = sorted(float(picture) for picture in pool.state())
    assert len(set(numbers)) == 20
    assert numbers[0] < 900 < numbers[-1]
    assert sum(number < 20 for number in numbers) <= 3  # of 20 slots 98 were given away


@pytest.mark.parametrize("name", NAMES)
def test_a_discriminator_may_learn_before_the_generator_moves(name):
    method = build(name, lead_steps=2)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    moved = []
    for number in (1, 2, 3):
        before = {key: value.clone() for key, value in method.named_parameters()}
        for stepper in steppers.values():
            stepper.set_learning_rate(Moment(number, 10))
        batch = batch_for(name)
        train_step(method, batch, steppers, device=CPU, precision=torch.float32)
        moved.append(
            {
                player
                for player, stepper in steppers.items()
                for key, weight in stepper.weights.items()
                if not torch.equal(weight, before[key])
            }
        )
    discriminators = {player for player in steppers if player.startswith("discriminator")}
    assert moved[0] == moved[1] == discriminators
    assert moved[2] > discriminators


def test_group_norm_takes_each_picture_alone_and_eight_groups():
    method = build("cut", width=8, norm="group")
    pictures = tiny_batch().real_b
    both = method.discriminator(torch.cat([pictures, pictures.flip(-1)]))
    assert torch.allclose(both[: len(pictures)], method.discriminator(pictures), atol=1e-6)
    groups = [m for m in method.discriminator.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels) for m in groups] == [(8, 16), (8, 32)]
    narrow = build("cut", width=2, norm="group")
    groups = [m for m in narrow.discriminator.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels) for m in groups] == [(4, 4), (8, 8)]


def test_a_discriminator_may_start_as_pytorch_has_it():
    deviations = {}
    for own in (False, True):
        torch.manual_seed(0)
        init = {"kind": "xavier", "gain": 0.02}
        method = tiny_method("cut", discriminator={"width": 32, "own_start": own}, init=init)
        deviations[own] = method.discriminator.model[0].weight.std().item()
    # uniform up to 1 / sqrt(3 * 4 * 4), and normal with 0.02 * sqrt(2 / (3 * 16 + 32 * 16))
    assert deviations[True] == pytest.approx(0.0833, rel=0.05)
    assert deviations[False] == pytest.approx(0.001195, rel=0.05)


def test_past_pictures_beside_the_new_ones_have_to_be_kept():
    with pytest.raises(ConfigError, match=r"method.pool_size keeps: set that to 200"):
        configure_run("cut", ["method.beside=2"])
