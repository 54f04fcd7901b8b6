import io

import pytest
import torch
from plain_data import assert_same
from recording import CPU
from tiny import batch_for, tiny_method

from i2icli.config.schedule import Moment
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

WAYS = {
    "plain": {"fused": False},
    "fused": {"fused": True},
    "capturable": {"fused": True, "capturable": True},
}


def build(name, way, **options):
    method = tiny_method(name).double().train()
    for network in method._pretrained.values():
        network.double()
    options = {"precision": torch.float32, **WAYS[way], **options}
    return method, build_steppers(method, device=CPU, **options)


def train(method, steppers, name, steps):
    from dataclasses import replace

    for step in steps:
        batch = batch_for(name, seed=step)
        floats = {
            key: value.double()
            for key, value in vars(batch).items()
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        }
        for stepper in steppers.values():
            stepper.set_learning_rate(Moment(step, 4))
        train_step(method, replace(batch, **floats), steppers, device=CPU, precision=torch.float32)


def assert_near(ours, theirs, tolerance):
    other = theirs.state_dict()
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, other[key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["cut", "danet"])
def test_fused_updates_are_the_plain_ones_up_to_rounding(name):
    plain, fused = build(name, "plain"), build(name, "fused")
    for method, steppers in (plain, fused):
        train(method, steppers, name, range(1, 4))
    assert_near(fused[0], plain[0], 1e-9)


def test_a_learning_rate_on_the_device_is_the_schedule_s_in_float32():
    plain, recorded = build("cut", "plain"), build("cut", "capturable")
    for method, steppers in (plain, recorded):
        train(method, steppers, "cut", range(1, 4))
    assert_near(recorded[0], plain[0], 1e-7)
    stepper, last = recorded[1]["generator"], Moment(1000, 4)
    rate = stepper.optimizer.param_groups[0]["lr"]
    stepper.set_learning_rate(last)
    assert stepper.optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(stepper.learning_rate(last), rel=1e-6)


def test_optimizers_are_built_as_asked():
    for way, options in WAYS.items():
        optimizer = build("cut", way)[1]["generator"].optimizer
        group = optimizer.param_groups[0]
        assert (group["fused"], group["foreach"]) == (options["fused"], False)
        assert group["capturable"] == options.get("capturable", False)
        assert isinstance(group["lr"], torch.Tensor) == group["capturable"]


def test_groups_with_rates_of_their_own_have_learning_rates_of_their_own():
    name = "danet"
    optimizer = build(name, "plain")[1]
    groups = [g for s in optimizer.values() if s.optimizer for g in s.optimizer.param_groups]
    for stepper in optimizer.values():
        stepper.set_learning_rate(Moment(1, 4))
    assert len({group["rate"] for group in groups}) > 1
    assert len({group["lr"] for group in groups}) > 1


@pytest.mark.parametrize("after", list(WAYS))
@pytest.mark.parametrize("before", list(WAYS))
def test_a_checkpoint_goes_on_with_any_optimizer(before, after):
    first, steppers = build("cut", before)
    train(first, steppers, "cut", range(1, 4))
    file = io.BytesIO()
    torch.save({name: stepper.state() for name, stepper in steppers.items()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    second, restored = build("cut", after)
    second.load_state_dict(first.state_dict())
    second.load_memory(first.memory())
    for name, stepper in restored.items():
        stepper.restore(saved[name])
    train(first, steppers, "cut", range(4, 6))
    train(second, restored, "cut", range(4, 6))
    if before == after:
        assert_same(first.state_dict(), second.state_dict())
    else:
        assert_near(second, first, 1e-6)


def test_counts_of_steps_of_a_plain_optimizer_are_on_the_cpu():
    _, steppers = build("cut", "plain")
    method, fused = build("cut", "fused")
    train(method, fused, "cut", range(1, 2))
    state = fused["generator"].state()
    on_device = {
        name: {**moments, "step": moments["step"].to("meta")}
        for name, moments in state["moments"].items()
    }
    with pytest.raises(NotImplementedError, match="meta"):  # there is no way back from "meta"
        steppers["generator"].restore({"moments": on_device})
    steppers["generator"].restore(state)
    optimizer = steppers["generator"].optimizer
    assert optimizer is not None
    assert {moments["step"].device for moments in optimizer.state.values()} == {CPU}


def test_float16_takes_a_fused_optimizer_with_its_scaler():
    name = "cut"
    methods = []
    for way in ("plain", "fused"):
        method = tiny_method(name).train()
        steppers = build_steppers(method, device=CPU, precision=torch.float16, **WAYS[way])
        for step in range(1, 3):
            batch = batch_for(name, seed=step)
            train_step(method, batch, steppers, device=CPU, precision=torch.float16)
        methods.append(method)
    assert_near(methods[1], methods[0], 1e-5)
