"""Which losses see structure: the losses by their formulas, the statistics by hand."""

import numpy as np
import pytest
import torch
from random_weights import random_convolutions
from real_weights import real_home

from i2icli.losses.similarity import map_distance, similarity_maps
from i2icli.metrics import alignment
from i2icli.metrics.alignment import (
    LAYERS,
    LOSSES,
    StructureLosses,
    partners,
    separate_losses,
    separation,
)
from i2icli.metrics.perceptual import Lpips
from i2icli.networks.vgg import VGG16Features
from i2icli.pretrained.weights import load_weights

SIDE = 64


@pytest.fixture(scope="module")
def convolutions():
    return random_convolutions("vgg16", 2**0.5)


def build(convolutions):
    network = VGG16Features()
    network.load_convolutions(convolutions)
    return StructureLosses(network.eval(), Lpips("vgg", convolutions), seed=3)


@pytest.fixture
def losses(convolutions, monkeypatch):
    monkeypatch.setattr(alignment, "SIDE", SIDE)
    return build(convolutions)


def scene(seed):
    coarse = torch.rand((1, 3, 6, 6), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="nearest")[0]


def read(number):
    """Return a scene and the same in inverted colours, far from it by its pixels."""
    return scene(number), -scene(number)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_partners_are_one_cycle_through_all(count):
    following, place, visited = partners(count, seed=4), 0, []
    for _ in range(count):
        visited.append(place)
        place = following[place]
    assert place == 0
    assert sorted(visited) == list(range(count))


def test_partners_depend_on_the_seed():
    assert partners(10, seed=1) == partners(10, seed=1) != partners(10, seed=2)


def test_auc_counts_all_against_all_with_ties_half():
    found = separation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 0.0]))
    # 2: over 1, ties 2; 3: over 1 and 2, ties 3; 0: over none
    assert found.auc == pytest.approx((1.5 + 2.5 + 0) / 9)
    assert found.auc_interval.low <= found.auc <= found.auc_interval.high


def test_effect_is_the_difference_of_means_by_the_pooled_deviation():
    near, far = np.array([1.0, 2.0, 4.0]), np.array([3.0, 7.0, 5.0])
    spread = np.sqrt((near.var(ddof=1) + far.var(ddof=1)) / 2)
    assert separation(near, far).effect == pytest.approx((far.mean() - near.mean()) / spread)


def test_values_without_spread_have_no_effect_size():
    found = separation(np.ones(3), np.full(3, 2.0))
    assert found.auc == 1
    assert found.as_document()["d"] == {"value": None, "interval": None}


def test_losses_are_their_formulas(losses, convolutions):
    one, other = (part[None] for part in read(1))
    (found,) = losses.between(losses.see(one[0]), [losses.see(other[0])])
    assert set(found) == set(LOSSES)
    assert found["pixel"] == pytest.approx(float((one - other).abs().mean()))
    network = VGG16Features()
    network.load_convolutions(convolutions)
    network.requires_grad_(False)
    tapped = [network.eval()(images, ["relu3_3"])[0] for images in (one, other)]
    assert found["perceptual"] == pytest.approx(float((tapped[0] - tapped[1]).abs().mean()))
    lpips = Lpips("vgg", convolutions).distances(one, other)
    assert found["lpips"] == pytest.approx(float(lpips))
    features = [network(images, LAYERS) for images in (one, other)]
    distances, crossentropies = [], []
    for ours, theirs, places in zip(*features, losses._places, strict=True):
        maps = [similarity_maps(each, places, patch_size=999) for each in (ours, theirs)]
        distances.append(float(map_distance(*maps)))
        key, query = (
            torch.nn.functional.normalize(each.flatten(2)[0].mT[places], dim=1)
            for each in (ours, theirs)
        )
        logits = query @ key.mT / 0.07
        target = torch.arange(len(places))
        crossentropies.append(float(torch.nn.functional.cross_entropy(logits, target)))
    assert found["fsesim-cos"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert found["patchnce"] == pytest.approx(np.mean(crossentropies), rel=1e-3)


def test_self_similarity_sees_through_other_colours_where_pixels_do_not(losses):
    seen = []
    found = {
        loss.name: loss
        for loss in separate_losses(losses, read, 4, progress=lambda *pair: seen.append(pair))
    }
    assert list(found) == list(LOSSES)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {len(loss.aligned) for loss in found.values()} == {4}
    for other in ("unaligned", "same domain"):
        assert found["fsesim-cos"].separations[other].auc == 1
        assert found["pixel"].separations[other].auc < 0.1


def test_values_are_in_the_order_of_the_pairs(losses):
    pixel = separate_losses(losses, read, 3, seed=5)[0]
    for number, partner in enumerate(partners(3, seed=5)):
        (first, second), (other, others_second) = read(number), read(partner)
        expected = [float((first - each).abs().mean()) for each in (second, others_second, other)]
        values = [pixel.aligned, *pixel.others.values()]
        assert [float(each[number]) for each in values] == pytest.approx(expected)


@pytest.mark.slow
def test_with_the_real_network_structure_stands_out(monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(real_home("vgg16")))
    monkeypatch.setattr(alignment, "SIDE", SIDE)
    tensors, _ = load_weights("vgg16")
    found = {loss.name: loss for loss in separate_losses(build(tensors), read, 4)}
    assert found["fsesim-cos"].separations["same domain"].auc == 1
