"""Other discriminators than the papers': every kind, in every method that has patches to tell."""

import pytest
import torch
from lever_kit import BOTH, HELD, PROJECTED
from tiny import batch_for, stand_in, tiny_batch, tiny_method

from i2icli.config.method import AdversaryConfig, PatchDiscriminatorConfig
from i2icli.config.sections import LeversConfig
from i2icli.errors import ConfigError
from i2icli.losses.augment import diff_augment
from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss
from i2icli.methods import METHODS, build_method
from i2icli.methods.shared.adversarial import Seen
from i2icli.methods.shared.configure import configure_run
from i2icli.networks.spectral import SpectralConv
from i2icli.training.optimizers import build_steppers
from i2icli.training.step import train_step

CPU = torch.device("cpu")
PATCH = {"spectral_norm": True, **HELD}
KINDS = {"patch": PATCH, "projected": PROJECTED, "both": BOTH}


def seen_twice(method):
    """Return pictures of both domains in float64 as the discriminator sees them."""
    batch = tiny_batch()
    return method.see(batch.real_a.double(), "a"), method.see(batch.real_b.double(), "b")


def has_adversary(name):
    return isinstance(getattr(METHODS[name].Config(), "discriminator", None), AdversaryConfig)


NAMES = [name for name in sorted(METHODS) if has_adversary(name)]
SMALL = ("method.generator.width=4", "method.generator.blocks=9", "method.discriminator.width=4")
each_kind = pytest.mark.parametrize("kind", KINDS)
each_method = pytest.mark.parametrize("name", NAMES)


def build(name, settings, **changes):
    """Return a method with a small discriminator of those settings."""
    config = METHODS[name].Config().discriminator
    small = {"width": 4, "layers": 2, "scales": 2, **settings}
    fitting = {key: value for key, value in small.items() if key in type(config).model_fields}
    return tiny_method(name, discriminator=fitting, **changes).train()


def test_methods_with_patch_discriminators_are_named():
    assert [
        *("attention-guided", "cut", "cyclegan", "munit", "qs-attn", "sesim", "src-hdce")
    ] == NAMES


@each_kind
@each_method
def test_every_kind_steps_and_reaches_all_weights(name, kind):
    method = build(name, KINDS[kind])
    owned = [id(w) for player in method.players.values() for w in player.trainable()]
    assert sorted(owned) == sorted(id(w) for w in method.parameters() if w.requires_grad)
    for player, terms in method.losses(batch_for(name)):
        weights = method.players[player].trainable()
        assert ("r1" in " ".join(terms)) == player.startswith("discriminator")
        for gradient in torch.autograd.grad(sum(terms.values()), weights):
            assert gradient.isfinite().all()


@each_kind
@each_method
def test_a_step_after_loading_is_the_step_without(name, kind):
    settings = {**KINDS[kind], "r1_every": 2}
    first, second = build(name, settings), build(name, settings)
    batches = [batch_for(name, seed=seed) for seed in range(4)]
    for batch in batches[:2]:
        step(first, batch)
    second.load_state_dict(first.state_dict())
    second.load_memory(first.memory())
    for batch in batches[2:]:
        ours, theirs = step(first, batch), step(second, batch)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def step(method, batch):
    """Train one step by plain descent, which keeps no state; return the terms."""
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    for stepper in steppers.values():
        for group in stepper.optimizer.param_groups:
            group["lr"] = 1e-4
    losses = train_step(method, batch, steppers, device=CPU, precision=torch.float32)
    return {f"{p}/{term}": value for p, terms in losses.items() for term, value in terms.items()}


@each_method
def test_by_default_a_discriminator_sees_pictures_as_they_are(name):
    method = build(name, {})
    assert method.adversary.model_dump(exclude=set(method.adversary.own())) == (
        AdversaryConfig().model_dump()
    )
    batch = tiny_batch()
    assert method.see(batch.real_b, "real").parts[0] is batch.real_b
    assert not any(isinstance(part, SpectralConv) for part in method.modules())


def test_the_frozen_network_sees_a_translation_once_a_step():
    method = build("cut", {"kind": "both"})
    seen = []
    network = stand_in("efficientnet-lite0")
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    method.take_pretrained({"efficientnet-lite0": network})
    shown = []
    method.discriminator.register_forward_pre_hook(
        lambda _, given: shown.append([part.detach() for part in given])
    )
    for _ in method.losses(tiny_batch()):
        pass
    assert len(seen) == 2  # translations, real pictures
    of_both, of_fakes = shown
    for one, other in zip(of_both, of_fakes, strict=True):
        assert torch.equal(one[: len(other)], other)


def test_both_players_see_the_same_augmented_translation():
    method = build("cut", {"augment": "diffaugment"})
    shown = []
    method.discriminator.register_forward_pre_hook(
        lambda _, given: shown.append(given[0].detach().clone())
    )
    for _ in method.losses(tiny_batch()):
        pass
    assert torch.equal(shown[0][:2], shown[1])


def test_gradient_reaches_the_generator_through_the_frozen_network():
    method = build("cut", {"kind": "projected"}, lambda_nce=0.0)
    turns = dict(method.losses(tiny_batch()))
    weights = list(method.generator.parameters())
    for gradient in torch.autograd.grad(turns["generator"]["gan"], weights):
        assert gradient.any()
    network = method.network("efficientnet-lite0")
    assert not any(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize("mode", ["lsgan", "hinge", "nonsaturating"])
def test_losses_of_parts_are_their_weighted_mean(mode):
    method = build("cut", {"kind": "both", "projected_weight": 3.0}).double()
    method.take_pretrained({"efficientnet-lite0": stand_in("efficientnet-lite0").double()})
    fake, real = seen_twice(method)
    terms = method.discriminate(method.discriminator, {"fake": fake, "real": real}, mode=mode)
    for name, seen in (("fake", fake), ("real", real)):
        heads = method.discriminator.projected(seen.parts[1:])
        assert len(heads) == 4
        patch = method.discriminator.patch(seen.parts[0])

        def loss(maps, name=name):
            return discriminator_gan_loss(maps, is_real=name == "real", mode=mode)

        expected = 0.75 * sum(loss(each) for each in heads) / 4 + 0.25 * loss(patch)
        torch.testing.assert_close(terms[name], 0.5 * expected)
    heads, patch = method.discriminator(*fake.parts)
    fooled = sum(generator_gan_loss(each, mode=mode) for each in heads) / 4
    expected = 0.75 * fooled + 0.25 * generator_gan_loss(patch, mode=mode)
    torch.testing.assert_close(method.fool(method.discriminator, fake, mode=mode), expected)


def test_grey_pictures_are_coloured_for_the_frozen_network():
    method = build("cut", {"kind": "projected"})
    grey = tiny_batch().real_b[:, :1]
    ours = method.see(grey, "x").parts
    theirs = method.see(grey.repeat(1, 3, 1, 1), "x").parts
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_augmentation_draws_for_each_picture_and_keeps_grey_ones_grey():
    method = build("cut", {"augment": "diffaugment", "augment_gray": 1.0, "augment_strength": 0.5})
    images = tiny_batch(count=4).real_b
    first, second = (method.see(images, "x").parts[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.allclose(first, first.mean(dim=1, keepdim=True).expand_as(first), atol=1e-6)
    method.draws.shares = lambda name, shape: torch.full(shape, 0.5)
    ours = method.see(images, "x").parts[0]
    expected = diff_augment(images, torch.full((4, 9), 0.5), strength=0.5, grey=1.0)
    assert torch.equal(ours, expected)


def test_the_discriminator_has_its_own_learning_rate():
    players = build("cut", {"lr": 5e-5}).players
    assert players["discriminator"].optimizer.lr == 5e-5
    assert players["generator"].optimizer.lr == 2e-4
    both = build("cyclegan", {"lr": 5e-5}).players
    assert both["discriminators"].optimizer.lr == 5e-5


def test_the_penalty_comes_in_one_of_so_many_steps_with_so_many_times_the_weight():
    method = build("cut", {"r1": 0.5, "r1_every": 4}).double()
    fake, real = seen_twice(method)
    seen = {"fake": fake, "real": real}
    rows = [method.discriminate(method.discriminator, seen, mode="hinge") for _ in range(60)]
    with_slope = [row for row in rows if "r1" in row]
    assert 5 < len(with_slope) < 30
    torch.testing.assert_close(with_slope[0]["real"], rows[0]["real"])
    points = real.parts[0].clone().requires_grad_()
    means = method.discriminator(points).mean(dim=(1, 2, 3)).sum()
    (slope,) = torch.autograd.grad(means, points)
    expected = 0.5 * 4 * 0.5 * slope.square().sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(with_slope[0]["r1"].detach(), expected)


def test_spectral_norms_are_bettered_once_a_step():
    method = build("cut", {"spectral_norm": True})
    layers = [part for part in method.modules() if isinstance(part, SpectralConv)]
    assert len(layers) == 4
    passes = []
    layers[0].iterate = lambda: passes.append(1)
    for _ in method.losses(tiny_batch()):
        pass
    assert passes == [1]


def test_random_projections_belong_to_the_checkpoint_and_follow_the_seed():
    first, second = build("cut", PROJECTED), build("cut", PROJECTED)
    name = "discriminator.projected.channels_0"
    assert torch.equal(first.state_dict()[name], second.state_dict()[name])
    assert name not in dict(first.named_parameters())
    assert "efficientnet" not in " ".join(first.state_dict())


def test_past_translations_are_seen_anew_and_present_ones_are_not():
    method = build("sesim", {"kind": "projected"}, pool_size=0)
    fake = tiny_batch().real_a
    seen = method.see(fake, "fake_b")
    shown = method.see_past(seen, fake, "fake_b")
    assert all(torch.equal(one, other) for one, other in zip(seen.parts, shown.parts, strict=True))
    assert isinstance(shown, Seen)
    kept = build("sesim", {"kind": "projected"}, pool_size=2)
    first = kept.see_past(seen, fake, "fake_b")
    later = [kept.see_past(seen, fake + 1, "fake_b").parts[0] for _ in range(12)]
    pairs = [(one, other) for maps in later for one in maps for other in first.parts[0]]
    assert any(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


@each_kind
@pytest.mark.parametrize("name", ["cut", "sesim"])
def test_past_pictures_of_both_domains_stand_beside_the_new_ones(name, kind):
    method = build(name, KINDS[kind], pool_size=3, beside=2)
    shown = []
    method.discriminator.register_forward_pre_hook(
        lambda _, given: shown.append(len(given[0])), prepend=True
    )
    method.levers = LeversConfig(batch_passes=False)
    counts = []
    for seed in range(4):
        shown.clear()
        step(method, batch_for(name, seed=seed))
        counts.append(list(shown))
    batch = len(batch_for(name).real_a)
    past = [min(2 * batch, kept) for kept in (0, *(min(3, batch * (n + 1)) for n in range(3)))]
    assert [sorted(each) for each in counts] == [
        sorted([batch + more, batch + more, batch]) for more in past
    ]
    kept = method.memory()["pools"]
    assert {key: len(pictures) for key, pictures in kept.items()} == {"fake_b": 3, "real_b": 3}
    assert all(picture.dtype == torch.float16 for picture in kept["real_b"])


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"taps": [1, 2]}, r"taps counts only where something looks through the frozen network"),
        ({"head_width": 8}, r'head_width counts only with .*kind = "projected" or "both"'),
        ({"features": "vgg16"}, "features counts only where something looks"),
        ({"kind": "projected", "patch_weight": 2.0}, r'patch_weight counts .*kind = "both"'),
        ({"augment_gray": 0.5}, r'augment_gray counts only with .*augment = "diffaugment"'),
        ({"r1_every": 2}, "r1_every counts only with method.discriminator.r1"),
        ({"kind": "both", "taps": [2, 1]}, "must ascend, none twice"),
        ({"kind": "both", "taps": [5]}, "taps"),
        ({"kind": "critic"}, 'must be "patch", "projected" or "both"'),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings, fault):
    overrides = [f"method.discriminator.{key}={value}" for key, value in settings.items()]
    with pytest.raises(ConfigError, match=fault):
        build_method(configure_run("cut", [*overrides, *SMALL]))


@pytest.mark.parametrize("preset", ["sincut", "single-image-sesim"])
@pytest.mark.parametrize("key", ["kind=projected", "spectral_norm=true", "r1=1"])
def test_single_image_methods_refuse_by_name(preset, key):
    name = key.partition("=")[0]
    sentence = rf"preset '{preset}': method\.discriminator\.{name} = .*: it is for .* patches, and"
    with pytest.raises(ConfigError, match=sentence):
        configure_run(preset, [f"method.discriminator.{key}"])


def test_configurations_of_patch_discriminators_build_their_networks_alone():
    own = {"width", "layers", "antialias", "norm", "own_start"}
    assert set(PatchDiscriminatorConfig().own()) == own


@pytest.mark.parametrize("name", ["cut", "qs-attn", "sesim", "src-hdce", "sincut"])
def test_past_translations_and_a_sliced_distance_come_to_every_one_way_method(name):
    method = tiny_method(name, pool_size=2, sliced_wasserstein=1.0).train()
    other = tiny_method(name, pool_size=2, sliced_wasserstein=1.0).train()
    assert "efficientnet-lite0" in method.pretrained
    for seed in range(3):
        terms = step(method, batch_for(name, seed=seed))
        assert terms["generator/sliced"] > 0
    assert len(method.pools["fake_b"].state()) == 2
    other.load_state_dict(method.state_dict())
    other.load_memory(method.memory())
    ours, theirs = (step(each, batch_for(name, seed=9)) for each in (method, other))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_sliced_distance_reaches_the_generator_and_compares_past_steps_as_constants():
    method = tiny_method("cut", sliced_wasserstein=2.0, lambda_gan=0.0, lambda_nce=0.0).train()
    weights = list(method.generator.parameters())
    for count in (1, 2):
        turns = dict(method.losses(tiny_batch()))
        assert list(turns["generator"]) == ["sliced"]
        for gradient in torch.autograd.grad(turns["generator"]["sliced"], weights):
            assert gradient.any()
        state = method.sliced.state()
        assert len(state) == count
        assert [rows.shape[2] for rows in state[0]] == [24, 40, 112, 320]
        assert not any(rows.requires_grad for rows in state[-1])
    for _ in range(30):
        for _ in method.losses(tiny_batch()):
            pass
    assert len(method.sliced.state()) == 24


def test_by_default_one_way_methods_keep_nothing():
    method = tiny_method("cut")
    assert method.memory()["pools"] == {}
    assert "sliced" not in method.memory()
    assert method.pretrained == ()
