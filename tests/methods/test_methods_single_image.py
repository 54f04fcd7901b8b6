import pytest
import torch
from echo import translate_tensor
from pydantic import ValidationError
from tiny import batch_for, tiny_batch, tiny_config, tiny_method

from i2icli.config.method import Task
from i2icli.errors import ConfigError
from i2icli.losses.gan import discriminator_gan_loss
from i2icli.methods import METHODS, build_method, configure_run
from i2icli.methods.shared.draws import Draws
from i2icli.networks import stylegan2

NAMES = ("sincut", "single-image-sesim")


class Recorded(Draws):
    """Remembers what was drawn."""

    def __init__(self):
        super().__init__(5)
        self.noise = {}
        self.shares = []

    def normal(self, name, shape, *, parts=1):
        self.noise[name] = super().normal(name, shape)
        return self.noise[name]

    def uniform(self, name, *, low, high):
        self.shares.append(super().uniform(name, low=low, high=high))
        return self.shares[-1]


def recorded(name, **changes):
    method = tiny_method(name, **changes)
    method.draws = Recorded()
    return method


def turns(method, name):
    return dict(method.losses(batch_for(name)))


def sources_of(name):
    batch = batch_for(name)
    return torch.cat([batch.real_a, batch.real_b]) if name == "sincut" else batch.real_a


@pytest.mark.parametrize("name", NAMES)
def test_presets_hold_the_released_values(name):
    config = configure_run(name)
    data, method = config.data, config.method
    crop = {"sincut": 64, "single-image-sesim": 128}[name]
    assert METHODS[name].data == "single"
    assert tiny_config(name).data.preprocess == data.preprocess == "zoom-and-patch"
    assert data.interpolation == "bilinear"
    assert (data.crop, data.batch_size, data.patches_per_epoch) == (crop, 16, 100_000)
    assert data.zoom_min == pytest.approx(1 / 3)
    assert (method.optimizer.beta1, method.optimizer.beta2) == (0.0, 0.99)
    assert method.gan_mode == "nonsaturating"
    epochs = {"sincut": 16, "single-image-sesim": 8}[name]
    assert method.schedule.total_steps(100_000 // 16) == epochs * 6250


def test_presets_differ_where_the_papers_do():
    cut, sesim = (configure_run(name) for name in NAMES)
    assert (cut.method.optimizer.lr, sesim.method.optimizer.lr) == (2e-3, 1e-3)
    nce = (cut.method.lambda_nce, cut.method.num_patches, cut.method.nce_layers)
    assert nce == (4.0, 1, (0, 2, 4))
    assert (cut.structure.kind, sesim.structure.kind) == ("none", "fixed")
    assert sesim.structure.weight == 10


@pytest.mark.parametrize("name", NAMES)
def test_training_translates_with_drawn_noise(name):
    method = recorded(name)
    for weight_name, weight in method.named_parameters():
        if weight_name.endswith("noise.weight"):
            torch.nn.init.constant_(weight, 1.0)
    seen = turns(method, name)
    noise = list(method.draws.noise.values())
    sources = sources_of(name)
    assert [tuple(part.shape) for part in noise] == method.generator.noise_shapes(sources)
    fake = method.generator(sources, noise=noise)[0][:2].detach()
    loss = discriminator_gan_loss(method.discriminator(fake), is_real=False, mode="nonsaturating")
    torch.testing.assert_close(seen["discriminator"]["fake"], 0.5 * loss)


@pytest.mark.parametrize("name", NAMES)
def test_translation_draws_nothing(name):
    method = tiny_method(name)
    before, state = method.memory()["draws"], torch.get_rng_state()
    images = tiny_batch().real_a
    assert torch.equal(method.translate(images).images, method.translate(images).images)
    assert torch.equal(method.memory()["draws"], before)
    assert torch.equal(torch.get_rng_state(), state)


def test_sincut_is_clamped_in_translation_only():
    method, images = tiny_method("sincut"), 4 * tiny_batch().real_a
    free = method.generator(images)[0]
    assert free.abs().max() > 1
    torch.testing.assert_close(method.translate(images).images, free.clamp(-1, 1))


def test_sincut_penalises_the_slope_at_real_crops():
    method, real = tiny_method("sincut", lambda_r1=3.0), batch_for("sincut").real_b
    terms = turns(method, "sincut")["discriminator"]
    points = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(method.discriminator(points).sum(), points)
    wanted = 3.0 * 0.5 * slope.square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(terms["r1"], wanted)
    assert "r1" not in turns(tiny_method("sincut", lambda_r1=0.0), "sincut")["discriminator"]


def test_sincut_keeps_pictures_of_b_as_they_are():
    method = recorded("sincut", lambda_identity=2.0)
    terms = turns(method, "sincut")["generator"]
    noise = list(method.draws.noise.values())
    same = method.generator(sources_of("sincut"), noise=noise)[0][2:]
    wanted = 2.0 * (same - batch_for("sincut").real_b).abs().mean()
    torch.testing.assert_close(terms["idt"], wanted)
    assert list(terms) == ["gan", "nce", "nce_identity", "idt"]


def test_sincut_takes_negatives_from_the_whole_batch():
    alone, together = (
        tiny_method("sincut", batch_negatives=wanted, num_patches=1) for wanted in (False, True)
    )
    # one patch a crop: without the others there is nothing to mistake it for
    assert turns(alone, "sincut")["generator"]["nce"] < 1e-3
    assert turns(together, "sincut")["generator"]["nce"] > 0.05


def test_sesim_penalises_the_slope_between_real_and_fake():
    name = "single-image-sesim"
    method, real = recorded(name, lambda_gradient=2.0), batch_for(name).real_b
    terms = turns(method, name)["discriminator"]
    fake = method.generator(batch_for(name).real_a, noise=list(method.draws.noise.values()))[0]
    share = torch.tensor(method.draws.shares).view(2, 1, 1, 1)
    points = (share * real + (1 - share) * fake.detach()).requires_grad_()
    (slope,) = torch.autograd.grad(method.discriminator(points).sum(), points)
    lengths = slope.square().sum((1, 2, 3)).sqrt()
    torch.testing.assert_close(terms["penalty"], 2.0 * (lengths - 1).square().mean())
    assert "penalty" not in turns(tiny_method(name, lambda_gradient=0.0), name)["discriminator"]


def test_sesim_is_bounded_in_training_too():
    method = tiny_method("single-image-sesim")
    assert method.generator(9 * tiny_batch().real_a)[0].abs().max() <= 1
    assert list(turns(method, "single-image-sesim")["generator"]) == ["gan", "structure"]


@pytest.mark.parametrize("name", NAMES)
def test_channels_follow_the_crop(name):
    config = METHODS[name].Config()
    first = [
        METHODS[name](config, Task(crop=crop, structure=configure_run(name).structure))
        for crop in (64, 128)
    ]
    wide, narrow = (method.generator.feature_channels([1])[0] for method in first)
    assert wide == 2 * narrow


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_that_cannot_be_judged_is_refused(name):
    config = configure_run(name, ["data.crop=96"])
    with pytest.raises(ConfigError, match=r"data\.crop must be a power of two.*got 96"):
        build_method(config)


def test_contradicting_settings_of_sincut_are_refused():
    with pytest.raises(ValidationError, match=r"names module 6, but an encoder of 3 blocks"):
        METHODS["sincut"].Config(nce_layers=(0, 6))
    with pytest.raises(ValidationError, match=r"lambda_identity \(1\.0\) needs method\.nce_id"):
        METHODS["sincut"].Config(nce_identity=False)
    assert METHODS["sincut"].Config(nce_identity=False, lambda_identity=0.0).lambda_identity == 0


@pytest.mark.parametrize("name", NAMES)
def test_large_pictures_are_translated_in_tiles(name, monkeypatch):
    method, images = tiny_method(name), tiny_batch(count=1, size=203).real_a
    for weight_name, weight in method.named_parameters():
        if weight_name.endswith("noise.weight"):
            torch.nn.init.constant_(weight, 0.3)
    whole = translate_tensor(method, images)
    monkeypatch.setattr(stylegan2, "_MOST_PIXELS", 1000)
    monkeypatch.setattr(stylegan2, "_TILE", 64)
    seen = []
    forward = stylegan2.StyleGAN2Generator.forward
    monkeypatch.setattr(
        stylegan2.StyleGAN2Generator,
        "forward",
        lambda self, part, *rest, **named: (
            seen.append(part.shape) or forward(self, part, *rest, **named)
        ),
    )
    tiled = translate_tensor(method, images)
    assert len(seen) == 16
    assert tiled.shape == images.shape
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
