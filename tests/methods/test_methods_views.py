import pytest
import torch
from tiny import stand_in, tiny_batch, tiny_method

from i2icli.losses.attention import global_entropy, global_rows, local_rows
from i2icli.methods import METHODS
from i2icli.methods.shared.views import SIDES, PositionView, SimilarityView

SELECTIONS = ("global", "local", "local-global")


def attentive(**changes):
    return tiny_method("qs-attn", window=3, **changes).eval()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_views_hold_one_entry_a_picture_without_gradient(name):
    method = tiny_method(name).eval()
    method.take_pretrained({wanted: stand_in(wanted) for wanted in method.view_networks})
    views = method.views(tiny_batch(count=2).real_a)
    assert len(views) == 2
    assert len(views[0]) == len(views[1])
    layers = [view.layer for view in views[0]]
    assert len(set(layers)) == len(layers)
    for view in views[0]:
        held = [value for value in vars(view).values() if isinstance(value, torch.Tensor)]
        assert held
        assert not any(tensor.requires_grad for tensor in held)
        assert {tensor.dtype for tensor in held} <= {torch.float32, torch.int64}
        assert all(side > 0 for side in view.size)


def test_views_need_no_network_that_only_a_discriminator_looks_through():
    method = attentive(discriminator={"kind": "projected"})
    assert (method.pretrained, method.view_networks) == (("efficientnet-lite0",), ())
    method.take_pretrained({})
    assert method.views(tiny_batch(count=2).real_a)[0]


def test_a_method_without_attention_shows_nothing():
    assert tiny_method("cyclegan").views(tiny_batch(count=2).real_a) == [[], []]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_qs_attn_shows_the_places_that_a_training_step_selects(selection, monkeypatch):
    method = attentive(selection=selection)
    chosen = {}
    lowest = method.draws.lowest

    def spy(name, scores, *, count):
        chosen[name] = lowest(name, scores, count=count)
        return chosen[name]

    monkeypatch.setattr(method.draws, "lowest", spy)
    batch = tiny_batch(count=2)
    dict(method.losses(batch))
    trained = dict(chosen)
    views = method.views(batch.real_a)
    for picture in range(2):
        assert [view.layer for view in views[picture]] == [12, 13]
        for position, view in zip((3, 4), views[picture], strict=True):
            places, entropy = trained[f"nce.{position}"][picture], view.entropy.flatten()
            assert places.shape == view.places.shape
            # By their entropies: of two places with nearly the same either may come first.
            torch.testing.assert_close(entropy[view.places], entropy[places])
            assert (view.selection, view.window, view.layout) == (selection, 3, "paper")


def test_cut_shows_what_qs_attn_would_select():
    cut, attn = tiny_method("cut").eval(), tiny_method("qs-attn").eval()
    attn.load_state_dict(cut.state_dict())
    images = tiny_batch(count=1).real_a
    for ours, theirs in zip(cut.views(images)[0], attn.views(images)[0], strict=True):
        assert ours.layer == theirs.layer
        assert ours.selection == "global"
        assert torch.equal(ours.places, theirs.places)
        assert torch.equal(ours.entropy, theirs.entropy)


def test_the_translations_entropy_is_measured_in_its_own_features():
    (view,) = attentive(nce_layers=[0, 4, 8, 12]).views(tiny_batch(count=1).real_a)[0]
    expected = global_entropy(view.translation[None])[0].view_as(view.entropy)
    torch.testing.assert_close(view.translation_entropy, expected)
    assert not torch.allclose(view.translation_entropy, view.entropy)


@pytest.mark.parametrize("side", SIDES)
def test_rows_are_those_of_the_losses(side):
    (view, _) = attentive(selection="local-global").views(tiny_batch(count=1).real_a)[0]
    places = torch.tensor([0, 9, 63])
    features = view.features(side)[None]
    wanted = global_rows(features, places[None])[0].view(3, *view.entropy.shape)
    assert torch.equal(view.map_rows(side, places), wanted)
    near = local_rows(features, places[None], window=3, layout="paper")[0].view(3, 3, 3)
    assert torch.equal(view.window_rows(side, places), near)
    torch.testing.assert_close(near.sum((1, 2)), torch.ones(3))


def test_looking_draws_nothing_from_the_random_state():
    method = attentive()
    before = method.draws.state().clone()
    method.views(tiny_batch(count=1).real_a)
    assert torch.equal(method.draws.state(), before)


def similar(form, **changes):
    random = torch.Generator().manual_seed(4)
    source, translation = torch.randn((2, 5, 3, 4), generator=random)
    return SimilarityView("relu3_1", source, translation, form, **changes)


@pytest.mark.parametrize("side", SIDES)
def test_cosine_rows_are_cosines_of_features(side):
    view = similar("cosine")
    flat = view.features(side).flatten(1)
    for place, row in zip((0, 7), view.map_rows(side, torch.tensor([0, 7])), strict=True):
        wanted = torch.cosine_similarity(flat[:, place : place + 1], flat, dim=0).view(3, 4)
        assert torch.allclose(row, wanted, atol=1e-6)
        assert float(row.flatten()[place]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_tanh_rows_are_those_of_scaled_products(side):
    view = similar("tanh", scale=0.1)
    flat = view.features(side).flatten(1)
    wanted = torch.tanh(0.1 * flat.mT @ flat)[[0, 7]].view(2, 3, 4)
    assert torch.allclose(view.map_rows(side, torch.tensor([0, 7])), wanted, atol=1e-6)


def test_position_rows_are_soft_maxima_of_queries_times_keys():
    random = torch.Generator().manual_seed(4)
    queries, keys = torch.randn((2, 5, 3, 4), generator=random)
    (row,) = PositionView("position", queries, keys).map_rows(torch.tensor([6]))
    wanted = (queries.flatten(1)[:, 6] @ keys.flatten(1)).softmax(dim=0).view(3, 4)
    assert torch.allclose(row, wanted, atol=1e-6)
