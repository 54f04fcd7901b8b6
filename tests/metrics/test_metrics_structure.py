"""Structure distance: by its formula, and that it sees structure and not colour."""

import numpy as np
import pytest
import torch
from PIL import Image
from random_weights import random_convolutions
from real_weights import real_home
from torchvision.models import vgg16

from i2icli.errors import DataError, WeightsError
from i2icli.metrics.structure import SelfSimilarity, load_self_similarity, structure_distance
from i2icli.pictures.images import to_tensor, write_picture


@pytest.fixture(scope="module")
def network():
    return SelfSimilarity(random_convolutions("vgg16", 2**0.5))


def scene(seed, size=48):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def as_batch(*pictures):
    return torch.stack([to_tensor(np.ascontiguousarray(picture)) for picture in pictures])


def test_maps_are_cosines_of_the_features_of_relu4_3(network):
    picture = as_batch(scene(1))
    with torch.device("meta"):
        features = vgg16(weights=None, init_weights=False).features
    features.load_state_dict(
        {
            name.removeprefix("features."): v
            for name, v in random_convolutions("vgg16", 2**0.5).items()
        },
        assign=True,
    )
    x = (picture + 1) / 2 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    x = x / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        vectors = features[:23](x)[0].flatten(1).T
    assert isinstance(features[22], torch.nn.ReLU)
    expected = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    (found,) = network.maps(picture)
    assert found.shape == (36, 36)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_distance_is_the_mean_squared_difference_and_none_from_itself(network):
    first, second = as_batch(scene(1), scene(2)), as_batch(scene(1), scene(3))
    found = network.distances(first, second)
    assert found[0] == 0.0
    difference = (network.maps(first) - network.maps(second))[1]
    assert float(found[1]) == pytest.approx(float(difference.square().mean()))


def test_folder_gives_the_mean_with_its_protocol(network, tmp_path):
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", scene(number, 224))
        write_picture(tmp_path / "out" / f"{number}.png", scene(10 + number, 224))
    result = structure_distance(tmp_path / "in", tmp_path / "out", network=network, batch_size=2)
    alone = [
        float(network.distances(as_batch(scene(n, 224)), as_batch(scene(10 + n, 224))))
        for n in range(3)
    ]
    assert result.value == pytest.approx(np.mean(alone), rel=1e-4)
    assert result.name == "structure"
    assert result.counts == {"pairs": 3}
    assert result.protocol["features"] == "vgg16 relu4_3, not DINO"
    assert result.protocol["resize"] == "224x224 bicubic, antialiased"
    assert result.interval.low <= result.value <= result.interval.high


def test_a_picture_at_twice_its_size_keeps_its_structure(network, tmp_path):
    small = scene(1, 112)
    write_picture(tmp_path / "in" / "a.png", small)
    twice = np.array(Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC))
    write_picture(tmp_path / "same" / "a.png", twice)
    write_picture(tmp_path / "other" / "a.png", scene(2, 224))
    same, other = (
        structure_distance(tmp_path / "in", tmp_path / name, network=network).value
        for name in ("same", "other")
    )
    assert same < other / 100


def test_a_missing_translation_is_named(network, tmp_path):
    for name in ("in/a.png", "in/b.png", "out/a.png"):
        write_picture(tmp_path / name, scene(1))
    with pytest.raises(DataError, match="1 of 2 pictures .* have no partner"):
        structure_distance(tmp_path / "in", tmp_path / "out", network=network)


def test_without_weights_the_command_to_get_them_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="i2i weights get vgg16"):
        load_self_similarity()


@pytest.mark.slow
def test_real_weights_see_moved_things_more_than_changed_colours(monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(real_home("vgg16")))
    network = load_self_similarity()
    picture = scene(1, 224)
    recoloured, moved = picture[..., ::-1] // 2 + 60, np.roll(picture, 80, axis=1)
    recolour, move = (
        float(network.distances(as_batch(picture), as_batch(other)))
        for other in (recoloured, moved)
    )
    assert recolour < move / 2
