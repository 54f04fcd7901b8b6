import pytest
import torch
from pydantic import ValidationError
from test_methods_contract import drive
from tiny import TinyVGG, tiny_batch, tiny_config

from i2icli.config.method import StructureConfig
from i2icli.errors import ConfigError
from i2icli.losses.similarity import map_contrast, map_distance, similarity_maps
from i2icli.methods import build_method
from i2icli.methods.shared.draws import Draws
from i2icli.methods.shared.structure import StructureTerm, jitter_colours
from i2icli.networks.vgg import VGG16Features, vgg16_channels

KINDS = ["fixed", "learned"]


def term(**changes):
    torch.manual_seed(3)
    return StructureTerm(StructureConfig(**{"kind": "fixed", "num_patches": 9, **changes}))


def build(name, kind, **changes):
    config = tiny_config(name, **changes)
    structure = config.structure.model_copy(update={"kind": kind, "num_patches": 16})
    method = build_method(config.model_copy(update={"structure": structure}))
    method.take_pretrained({"vgg16": TinyVGG()})
    return method


def test_the_loss_is_the_weighted_mean_of_the_layers_distances():
    batch, network = tiny_batch(), TinyVGG()
    structure = term(weight=3.0, compare="l1", patch_size=3)
    loss = structure.loss(network, batch.real_a, batch.real_b, Draws(5), name="s")
    draws, layers, distances = Draws(5), structure.config.layers, []
    pairs = zip(network(batch.real_a, layers), network(batch.real_b, layers), strict=True)
    for source, target in pairs:
        places = draws.places("", count=9, total=source.shape[2] * source.shape[3])
        maps = [similarity_maps(each, places, patch_size=3) for each in (source, target)]
        distances.append(map_distance(*maps, compare="l1"))
    torch.testing.assert_close(loss, 3.0 * sum(distances) / 3)


def test_gradient_reaches_the_translation_and_neither_source_nor_network():
    batch, network = tiny_batch(), TinyVGG()
    source, translated = batch.real_a.requires_grad_(), batch.real_b.requires_grad_()
    term(kind="learned").loss(network, source, translated, Draws(), name="s").backward()
    assert source.grad is None
    assert translated.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in network.parameters())


def test_the_contrast_trains_the_head_alone():
    batch, structure = tiny_batch(), term(kind="learned")
    translated = (batch.real_a * 0.5).requires_grad_()
    arguments = (TinyVGG(), batch.real_a, translated, batch.real_b, Draws())
    structure.contrast(*arguments, name="s").backward()
    assert translated.grad is None
    assert all(weight.grad.isfinite().all() for weight in structure.parameters())


def test_the_contrast_is_against_the_other_picture_upside_down_and_mirrored():
    batch, network = tiny_batch(), TinyVGG()
    structure = term(kind="learned", augment=False, layers=["relu3_1"])
    seen = structure.contrast(
        network, batch.real_a, batch.real_a * 0.9, batch.real_b, Draws(5), name="s"
    )
    pictures = (batch.real_a, batch.real_a * 0.9, batch.real_b.flip(2).flip(3))
    features = [structure.head(network(each, ["relu3_1"]))[0] for each in pictures]
    places = Draws(5).places("", count=9, total=64)
    maps = [similarity_maps(each, places, patch_size=64) for each in features]
    torch.testing.assert_close(seen, map_contrast(*maps, temperature=0.07))


def test_augmenting_tells_every_source_by_two_appearances_from_two_strangers():
    batch, network = tiny_batch(), TinyVGG()
    structure = term(kind="learned", layers=["relu3_1"])
    given = batch.real_a, batch.real_a * 0.9, batch.real_b
    seen = structure.contrast(network, *given, Draws(5), name="s")
    draws = Draws(5)
    source, target, other = structure._contrasted(*given, draws, "s")
    pictures = (torch.cat([source, source]), target, other)
    features = [structure.head(network(each, ["relu3_1"]))[0] for each in pictures]
    places = draws.places("", count=9, total=64)
    maps = [similarity_maps(each, places, patch_size=64) for each in features]
    torch.testing.assert_close(seen, map_contrast(*maps, temperature=0.07))


def test_augmenting_doubles_targets_by_the_source_and_the_other_in_other_colours():
    batch, structure = tiny_batch(), term(kind="learned")
    source, target, other = structure._contrasted(
        batch.real_a, batch.real_a * 0.9, batch.real_b, Draws(1), "s"
    )
    assert torch.equal(source, batch.real_a)
    assert torch.equal(target[:2], batch.real_a * 0.9)
    assert torch.equal(other[:2], batch.real_b.flip(2, 3))
    draws = Draws(1)
    assert torch.equal(target[2:], jitter_colours(batch.real_a, draws, ""))
    assert torch.equal(other[2:], jitter_colours(batch.real_b, draws, "").flip(2, 3))


def test_jitter_changes_each_picture_in_its_own_way_and_stays_in_range():
    image = tiny_batch(count=1).real_a
    images = image.repeat(3, 1, 1, 1)
    jittered = jitter_colours(images, Draws(2), "j")
    assert jittered.shape == images.shape
    assert jittered.abs().max() <= 1
    assert not torch.allclose(jittered[0], images[0], atol=0.02)
    assert not torch.allclose(jittered[0], jittered[1], atol=0.02)
    assert torch.equal(jittered, jitter_colours(images, Draws(2), "j"))


class Middling(Draws):
    """Draws the middle of every range, which changes no colour."""

    def uniform(self, _name, *, low, high):
        return (low + high) / 2


def test_jitter_in_the_middle_of_its_ranges_changes_nothing():
    images = tiny_batch().real_a
    torch.testing.assert_close(jitter_colours(images, Middling(), "j"), images, atol=1e-5, rtol=0)


def test_grey_pictures_are_compared_as_colour_ones():
    batch, network = tiny_batch(), TinyVGG()
    grey = batch.real_a[:, :1]
    losses = [
        term().loss(network, source, batch.real_b, Draws(), name="s")
        for source in (grey, grey.repeat(1, 3, 1, 1))
    ]
    torch.testing.assert_close(losses[0], losses[1])  # one is not contiguous: other kernels


def test_a_picture_of_the_other_domain_may_have_another_size():
    batch = tiny_batch()
    arguments = (TinyVGG(), batch.real_a, batch.real_a, tiny_batch(size=40).real_b, Draws())
    assert term(kind="learned").contrast(*arguments, name="s").isfinite()


def test_the_head_starts_small_and_fits_the_real_network():
    structure = term(kind="learned")
    network = VGG16Features()
    network.load_state_dict(
        {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    )
    features = structure.features(network, torch.zeros(1, 3, 32, 32))
    assert [each.shape[1] for each in features] == [64, 128, 128]
    names = list(network.names)
    shapes = [each.shape[1] for each in network(torch.zeros(1, 3, 16, 16), names)]
    assert vgg16_channels(names) == shapes
    weights = torch.cat([w.flatten() for w in structure.parameters() if w.dim() > 1])
    assert float(weights.std().detach()) == pytest.approx(0.02, rel=0.05)


def test_layers_that_do_not_ascend_are_refused():
    with pytest.raises(ValidationError, match="must be layers of VGG16 from the first on"):
        StructureConfig(layers=("relu4_1", "relu3_1"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "terms"), [("cut", ["structure"]), ("cyclegan", ["structure_a2b", "structure_b2a"])]
)
def test_a_method_takes_the_term_up(name, terms, kind):
    method, seen = build(name, kind), []
    for player, values in method.losses(tiny_batch()):
        seen.append(player)
        found = [key for key in values if key.startswith("structure")]
        assert found == (terms if player.startswith("generator") else [])
        weights = method.players[player].trainable()
        gradients = torch.autograd.grad(sum(values.values()), weights)
        assert all(gradient.isfinite().all() for gradient in gradients)
    assert list(dict.fromkeys(seen)) == list(method.players)
    assert ("structure" in seen) == (kind == "learned")
    owned = sum(len(player.trainable()) for player in method.players.values())
    assert owned == sum(1 for _ in method.parameters())


def test_cyclegan_trains_the_head_on_both_directions():
    method = build("cyclegan", "learned")
    terms = [values for player, values in method.losses(tiny_batch()) if player == "structure"]
    assert [list(each) for each in terms] == [["contrast_a2b"], ["contrast_b2a"]]


def test_a_mirrored_step_compares_with_the_mirrored_source(monkeypatch):
    method, sources = build("cut", "fixed", flip_equivariance=True), []
    monkeypatch.setattr(method.draws, "flip", lambda _name: True)

    def seen(_network, source, translated, *_, **__):
        sources.append(source)
        return translated.mean()

    monkeypatch.setattr(method.structure, "loss", seen)
    batch = tiny_batch()
    list(method.losses(batch))
    assert torch.equal(sources[0], batch.real_a.flip(-1))


def test_the_methods_own_initialisation_leaves_the_head_alone():
    method = build("cyclegan", "learned", init={"kind": "normal", "gain": 0.5})
    weights = torch.cat([w.flatten() for w in method.structure.parameters() if w.dim() > 1])
    assert float(weights.std().detach()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("name", ["sesim", "cyclegan", "cut"])
def test_a_learned_term_goes_on_bit_for_bit_from_weights_and_memory(name):
    method, copy = build(name, "learned"), build(name, "learned")
    drive(method, name)
    copy.load_state_dict(method.state_dict())
    copy.load_memory(method.memory())
    assert drive(method, name) == drive(copy, name)


def test_terms_are_in_single_precision_under_autocast():
    method = build("sesim", "learned")
    turns = method.losses(tiny_batch())
    while True:
        with torch.autocast("cpu", torch.bfloat16):
            turn = next(turns, None)
        if turn is None:
            break
        player, terms = turn
        if player != "discriminator":
            value = terms.get("contrast", terms.get("structure"))
            assert value.dtype == torch.float32
            gradients = torch.autograd.grad(value, method.players[player].trainable())
            assert all(gradient.isfinite().all() for gradient in gradients)


def test_sesim_without_a_structure_term_is_refused():
    with pytest.raises(ConfigError, match='structure.kind must be "fixed" or "learned", got'):
        build("sesim", "none")


def test_a_method_that_segments_refuses_the_term():
    with pytest.raises(ConfigError, match="translates no pictures that could keep a structure"):
        build("danet", "fixed")


def test_sesim_updates_the_head_then_discriminator_then_generator():
    assert list(build("sesim", "learned").players) == ["structure", "discriminator", "generator"]
    assert list(build("sesim", "fixed").players) == ["discriminator", "generator"]


def test_sesim_shows_its_discriminator_past_translations():
    method = build("sesim", "fixed")
    for _ in method.losses(tiny_batch()):
        pass
    assert len(method.memory()["pools"]["fake_b"]) == 2


@pytest.mark.parametrize("normalise", [True, False])
def test_views_are_the_maps_that_the_term_compares(normalise):
    config = tiny_config("sesim")
    changes = {"normalise": normalise, "kind": "learned"}
    structure = config.structure.model_copy(update=changes)
    method = build_method(config.model_copy(update={"structure": structure}))
    network = TinyVGG()
    method.take_pretrained({"vgg16": network})
    images = tiny_batch().real_a
    views = method.views(images)
    assert [[view.layer for view in each] for each in views] == [list(structure.layers)] * 2
    places = torch.tensor([3, 8])
    sides = {"source": images, "translation": method.translate(images).images}
    for side, pictures in sides.items():
        features = method.structure.features(network, pictures)
        for number, each in enumerate(features):
            maps = similarity_maps(each, places, patch_size=99, normalise=normalise)
            for picture in range(2):
                rows = views[picture][number].map_rows(side, places).flatten(1)
                torch.testing.assert_close(rows, maps[picture].detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["cyclegan", "munit", "cut", "attention-guided", "sincut"])
def test_a_method_shows_the_maps_of_its_term_after_its_own(name):
    method, images = build(name, "fixed").eval(), tiny_batch().real_a
    own = build(name, "none").eval().views(images)
    for direction in method.directions:
        views = method.views(images, direction=direction)
        assert len(views) == len(own) == 2
        for shown, alone in zip(views, own, strict=True):
            assert [view.layer for view in shown[: len(alone)]] == [v.layer for v in alone]
            assert [v.layer for v in shown[len(alone) :]] == ["relu3_1", "relu4_1", "relu4_3"]
