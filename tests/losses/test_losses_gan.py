from math import exp, log

import pytest
import torch

from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss

LOGITS = [2.0, -0.5, 0.25, -3.0]


def softplus(value):
    return log(1 + exp(value))


REAL = {
    "lsgan": lambda x: (x - 1) ** 2,
    "vanilla": lambda x: softplus(-x),
    "nonsaturating": lambda x: softplus(-x),
    "hinge": lambda x: max(0.0, 1 - x),
    "wgangp": lambda x: -x,
}
FAKE = {
    "lsgan": lambda x: x**2,
    "vanilla": softplus,
    "nonsaturating": softplus,
    "hinge": lambda x: max(0.0, 1 + x),
    "wgangp": lambda x: x,
}
WANTED = {**REAL, "hinge": lambda x: -x}
each_mode = pytest.mark.parametrize("mode", list(REAL))


def logits():
    return torch.tensor(LOGITS, dtype=torch.float64).view(2, 1, 1, 2)


@each_mode
def test_discriminator_loss_is_the_mean_of_its_formula(mode):
    for is_real, formula in ((True, REAL[mode]), (False, FAKE[mode])):
        loss = discriminator_gan_loss(logits(), is_real=is_real, mode=mode)
        assert loss.shape == ()
        assert loss.item() == pytest.approx(sum(map(formula, LOGITS)) / 4)


@each_mode
def test_generator_loss_is_the_mean_of_its_formula(mode):
    loss = generator_gan_loss(logits(), mode=mode)
    assert loss.item() == pytest.approx(sum(map(WANTED[mode], LOGITS)) / 4)


@each_mode
def test_losses_of_several_scales_are_summed(mode):
    scales = [logits(), 2 * logits()[:, :, :, :1]]
    each = [generator_gan_loss(scale, mode=mode) for scale in scales]
    assert generator_gan_loss(scales, mode=mode).item() == pytest.approx(float(sum(each)))
    each = [discriminator_gan_loss(scale, is_real=False, mode=mode) for scale in scales]
    total = discriminator_gan_loss(scales, is_real=False, mode=mode)
    assert total.item() == pytest.approx(float(sum(each)))


@each_mode
def test_losses_stay_finite_at_extreme_logits(mode):
    extreme = torch.tensor([-1e4, 1e4], requires_grad=True)
    total = generator_gan_loss(extreme, mode=mode)
    total = total + discriminator_gan_loss(extreme, is_real=False, mode=mode)
    (gradient,) = torch.autograd.grad(total, extreme)
    assert total.isfinite()
    assert gradient.isfinite().all()


@each_mode
def test_losses_of_half_precision_logits_are_float32(mode):
    with torch.autocast("cpu", torch.bfloat16):
        loss = generator_gan_loss(logits().bfloat16(), mode=mode)
        judged = discriminator_gan_loss(logits().bfloat16(), is_real=True, mode=mode)
    assert loss.dtype == judged.dtype == torch.float32
