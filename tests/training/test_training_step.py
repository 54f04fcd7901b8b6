import pytest
import torch
from engine_kit import PairConfig, PairMethod

from i2icli.config.method import AdamConfig
from i2icli.config.schedule import LinearSchedule, Moment
from i2icli.config.sections import LeversConfig
from i2icli.data.batch import Batch
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

CPU = torch.device("cpu")
FAST = AdamConfig(lr=0.01)


def make_method(**options):
    torch.manual_seed(0)
    return PairMethod(PairConfig(optimizer=FAST, **options)).train()


def make_batch(seed=1):
    random = torch.Generator().manual_seed(seed)
    real_a, real_b = (torch.rand((2, 3, 8, 8), generator=random) * 2 - 1 for _ in "ab")
    return Batch(real_a, real_b)


def step(method, batch=None, precision=torch.float32):
    steppers = build_steppers(method, device=CPU, precision=precision)
    return train_step(method, batch or make_batch(), steppers, device=CPU, precision=precision)


def weights(method, part):
    return {
        name: value.clone() for name, value in method.state_dict().items() if name.startswith(part)
    }


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


class Watched(PairMethod):
    """Notes the weights as they are when the losses of a player were asked for and used."""

    def losses(self, batch):
        self.seen = []
        self.grads = []
        turns = super().losses(batch)
        for turn in turns:
            self._note()
            yield turn
        self._note()
        self.is_exhausted = True

    def _note(self):
        self.seen.append((weights(self, "discriminator"), weights(self, "generator")))
        grad = self.discriminator.weight.grad
        self.grads.append(None if grad is None else grad.clone())


def watched():
    torch.manual_seed(0)
    return Watched(PairConfig(optimizer=FAST))


def test_step_updates_each_player_before_the_losses_go_on():
    method = watched()
    step(method)
    (d0, g0), (d1, g1), (d2, g2) = method.seen
    assert not same(d0, d1)
    assert same(g0, g1)
    assert not same(g1, g2)
    assert same(d1, d2)


def test_step_leaves_no_gradient_in_the_weights_of_another_player():
    method = watched()
    step(method)
    _, before, after = method.grads
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)


def test_plain_step_throws_the_gradients_of_others_away_and_comes_to_the_same_weights():
    sparing, plain = watched(), watched()
    plain.use_levers(LeversConfig(freeze_others=False))
    step(sparing)
    step(plain)
    assert same(sparing.state_dict(), plain.state_dict())
    assert plain.discriminator.weight.grad is None
    assert plain.generator[0].weight.grad is not None


@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_plain_step_is_the_same_whatever_gradients_were_left(precision):
    sparing, plain = make_method(), make_method()
    plain.use_levers(LeversConfig(freeze_others=False))
    for weight in plain.parameters():
        weight.grad = torch.full_like(weight, 9.0)
    step(sparing, precision=precision)
    step(plain, precision=precision)
    ours, theirs = sparing.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if "spare" not in name)


def test_step_equals_the_loop_written_out_by_hand():
    ours, theirs = make_method(), make_method()
    steppers = build_steppers(ours, device=CPU, precision=torch.float32)
    adams = {
        "discriminator": torch.optim.Adam(theirs.discriminator.parameters(), 0.01, (0.5, 0.999)),
        "generator": torch.optim.Adam(theirs.generator.parameters(), 0.01, (0.5, 0.999)),
    }
    for seed in range(3):
        train_step(ours, make_batch(seed), steppers, device=CPU, precision=torch.float32)
        for player, terms in theirs.losses(make_batch(seed)):
            theirs.zero_grad()
            sum(terms.values()).backward()
            adams[player].step()
    assert same(ours.state_dict(), theirs.state_dict())


def test_step_returns_detached_terms_by_player():
    losses = step(make_method())
    assert {player: list(terms) for player, terms in losses.items()} == {
        "discriminator": ["fake", "real"],
        "generator": ["gan", "near"],
    }
    assert not any(value.requires_grad for terms in losses.values() for value in terms.values())


def test_step_leaves_weights_that_no_loss_reaches_without_gradient_and_state():
    method = make_method()
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    train_step(method, make_batch(), steppers, device=CPU, precision=torch.float32)
    assert method.spare.weight.grad is None
    names = set(steppers["generator"].state()["moments"])
    assert names == {f"generator.{index}.{kind}" for index in (0, 2) for kind in ("weight", "bias")}


def test_step_skips_frozen_weights_of_a_player():
    method = make_method()
    method.generator[0].requires_grad_(False)
    before = weights(method, "generator")
    step(method)
    after = weights(method, "generator")
    assert torch.equal(before["generator.0.weight"], after["generator.0.weight"])
    assert not torch.equal(before["generator.2.weight"], after["generator.2.weight"])


def test_step_skips_a_player_without_trainable_weights_and_goes_on():
    method = watched()
    method.generator.requires_grad_(False)
    method.spare.requires_grad_(False)
    before = weights(method, "generator")
    losses = step(method)
    assert same(before, weights(method, "generator"))
    assert "gan" in losses["generator"]
    assert method.is_exhausted


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_step_runs_forward_under_autocast_and_backward_outside_it(precision):
    method = make_method()
    forward = []
    backward = []
    method.generator[0].register_forward_hook(lambda _m, _i, out: forward.append(out.dtype))
    method.generator[2].register_full_backward_hook(
        lambda *_: backward.append(torch.is_autocast_enabled("cpu"))
    )
    step(method, precision=precision)
    assert forward == [precision]
    assert backward == [False]
    assert method.generator[0].weight.dtype == torch.float32


def test_float16_step_is_left_out_when_its_gradient_overflows():
    method = make_method()
    steppers = build_steppers(method, device=CPU, precision=torch.float16)
    scaler = steppers["generator"].scaler
    assert scaler is not None
    method.generator[0].weight.register_hook(lambda grad: grad * float("inf"))
    before, scale = weights(method, "generator"), scaler.get_scale()
    train_step(method, make_batch(), steppers, device=CPU, precision=torch.float16)
    assert same(before, weights(method, "generator"))
    assert scaler.get_scale() == scale / 2


def test_stepper_takes_the_rate_of_the_epoch_from_the_schedule():
    torch.manual_seed(0)
    schedule = LinearSchedule(epochs=2, epochs_decay=3)
    method = PairMethod(PairConfig(optimizer=FAST, schedule=schedule))
    stepper = build_steppers(method, device=CPU, precision=torch.float32)["generator"]
    assert stepper.optimizer is not None
    rates = []
    for epoch in range(1, 6):
        stepper.set_learning_rate(Moment(step=7 * epoch, steps_per_epoch=7))
        rates.append(stepper.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.01, 0.0075, 0.005, 0.0025])


def test_stepper_state_restores_the_optimizer_bit_for_bit():
    ours, theirs = make_method(), make_method()
    first = build_steppers(ours, device=CPU, precision=torch.float16)
    train_step(ours, make_batch(1), first, device=CPU, precision=torch.float16)
    second = build_steppers(theirs, device=CPU, precision=torch.float16)
    theirs.load_state_dict(ours.state_dict())
    theirs.draws.restore(ours.draws.state())
    for name, stepper in second.items():
        stepper.restore(first[name].state())
    for method, stepping in ((ours, first), (theirs, second)):
        train_step(method, make_batch(2), stepping, device=CPU, precision=torch.float16)
    assert same(ours.state_dict(), theirs.state_dict())
