"""LPIPS: the package's own number, the range of its pictures, and the three uses.

The default ring has random convolutions, the slow tests have the real ones; I2I_LPIPS_EXAMPLES
names a folder with ex_ref.png, ex_p0.png and ex_p1.png of the LPIPS repository (its imgs/).
"""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_kit import GPU, needs_gpu
from random_weights import random_convolutions
from real_weights import real_home

from i2icli.errors import DataError, WeightsError
from i2icli.metrics import perceptual
from i2icli.metrics.perceptual import (
    MIN_SIDE,
    Lpips,
    load_lpips,
    lpips_content,
    lpips_diversity,
    lpips_paired,
)
from i2icli.pictures.images import read_picture, to_tensor, write_picture

EXAMPLES = os.environ.get("I2I_LPIPS_EXAMPLES")
NETS = {"alex": "alexnet", "vgg": "vgg16"}


def pixels(seed, size=(40, 36)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def pictures(*seeds):
    return torch.stack([to_tensor(pixels(seed)) for seed in seeds])


@pytest.fixture(scope="module")
def lpips():
    return Lpips("alex", random_convolutions("alexnet"))


@pytest.fixture
def folders(tmp_path):
    """Keep five pairs of three sizes."""
    for number, size in enumerate([(40, 36), (48, 40), (40, 36), (36, 40), (40, 36)]):
        write_picture(tmp_path / "in" / f"{number}.png", pixels(number, size))
        write_picture(tmp_path / "out" / f"{number}.bmp", pixels(100 + number, size))
    return tmp_path / "in", tmp_path / "out"


def plain_lpips(net, convolutions):
    """Build the package's network as its README does, and put the convolutions in."""
    import lpips as package

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", UserWarning)
        module = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    module.net.load_state_dict(
        {
            name: convolutions["features." + name.split(".", 1)[1]]
            for name in module.net.state_dict()
        }
    )
    return module


@pytest.mark.parametrize("net", NETS)
def test_distance_is_that_of_the_package(net):
    convolutions = random_convolutions(NETS[net])
    first, second = pictures(1, 2), pictures(3, 4)
    with torch.no_grad():
        expected = plain_lpips(net, convolutions)(first, second).reshape(-1).double()
    ours = Lpips(net, convolutions).distances(first, second)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


def test_a_picture_is_at_no_distance_from_itself_and_order_does_not_matter(lpips):
    first, second = pictures(1, 2), pictures(3, 4)
    assert lpips.distances(first, first).tolist() == [0.0, 0.0]
    there, back = lpips.distances(first, second), lpips.distances(second, first)
    torch.testing.assert_close(there, back)
    assert float(there.min()) > 0.0


def test_pictures_from_0_to_1_would_give_another_number(lpips):
    first, second = pictures(1), pictures(2)
    right = float(lpips.distances(first, second))
    wrong = float(lpips.distances((first + 1) / 2, (second + 1) / 2))
    assert abs(wrong / right - 1) > 0.05


def test_pictures_from_0_to_255_are_refused(lpips):
    with pytest.raises(ValueError, match=r"pictures in \[-1, 1\]"):
        lpips.distances(pictures(1) * 127.5 + 127.5, pictures(2))
    with pytest.raises(ValueError, match="shapes differ"):
        lpips.distances(pictures(1), pictures(2, 3))


def test_building_draws_nothing_and_asks_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    before = torch.random.get_rng_state()
    Lpips("vgg", random_convolutions("vgg16"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("net", NETS)
def test_the_smallest_side_is_the_smallest_that_works(net):
    network = Lpips(net, random_convolutions(NETS[net]))
    side = MIN_SIDE[net]
    assert network.distances(torch.zeros(1, 3, side, 64), torch.ones(1, 3, side, 64)).isfinite()
    with pytest.raises(RuntimeError, match="too small"):
        network.distances(torch.zeros(1, 3, side - 1, 64), torch.ones(1, 3, side - 1, 64))


def test_content_is_the_mean_over_pairs_whatever_their_sizes_and_batches(lpips, folders):
    inputs, outputs = folders
    alone = []
    for path in sorted(inputs.iterdir()):
        first, second = (
            to_tensor(read_picture(p).pixels)[None] for p in (path, outputs / f"{path.stem}.bmp")
        )
        alone.append(float(lpips.distances(first, second)))
    told = []
    result = lpips_content(
        inputs, outputs, lpips=lpips, batch_size=2, progress=lambda *step: told.append(step)
    )
    assert result.value == pytest.approx(np.mean(alone), rel=1e-5)
    assert result.parts["standard deviation"] == pytest.approx(np.std(alone, ddof=1), rel=1e-4)
    assert told[-1] == (5, 5)
    pairs = perceptual.match_folders(inputs, outputs)
    each = perceptual.measure_pairs(pairs, lpips=lpips, batch_size=2)
    np.testing.assert_allclose(each, alone, rtol=1e-5)


def test_a_number_says_its_protocol_count_and_interval(lpips, folders):
    result = lpips_content(*folders, lpips=lpips)
    assert result.name == "lpips"
    assert result.counts == {"pairs": 5}
    assert result.protocol == {
        "kind": "content",
        "net": "alex",
        "version": "0.1",
        "range": "[-1, 1]",
        "resize": "none",
        "size": "36x40 to 40x48 (3 sizes)",
        "input_format": "PNG",
        "output_format": "BMP",
    }
    assert result.interval.low < result.value < result.interval.high


def test_paired_and_content_differ_by_their_kind_alone(lpips, folders):
    inputs, outputs = folders
    content, paired = (
        lpips_content(inputs, outputs, lpips=lpips),
        lpips_paired(outputs, inputs, lpips=lpips),
    )
    assert paired.value == pytest.approx(content.value, rel=1e-6)
    assert (content.protocol["kind"], paired.protocol["kind"]) == ("content", "paired")
    assert paired.about["truth"] == str(inputs)


def test_a_translation_of_another_size_is_named(lpips, folders):
    write_picture(folders[1] / "3.bmp", pixels(1, (72, 80)))
    with pytest.raises(DataError, match=r"3\.png is 40x36 and .*3\.bmp 80x72: .* resizes none"):
        lpips_content(*folders, lpips=lpips)


def test_too_small_pictures_are_named(lpips, tmp_path):
    write_picture(tmp_path / "in" / "a.png", pixels(1, (30, 64)))
    with pytest.raises(DataError, match=r"a\.png is 64x30: LPIPS with alex needs pictures of 31"):
        lpips_content(tmp_path / "in", tmp_path / "in", lpips=lpips)


def test_one_pair_has_no_interval(lpips, tmp_path):
    write_picture(tmp_path / "in" / "a.png", pixels(1))
    result = lpips_content(tmp_path / "in", tmp_path / "in", lpips=lpips)
    assert (result.value, result.interval, result.parts) == (
        0.0,
        None,
        {"standard deviation": None},
    )


def test_diversity_is_the_mean_over_pairs_of_styles_then_over_inputs(lpips, tmp_path):
    for number, name in enumerate(["horse_a", "horse_b"]):
        for style in range(3):
            write_picture(tmp_path / f"{name}_{style}.png", pixels(10 * number + style))
    by_hand = [
        float(lpips.distances(a[None], b[None]))
        for one, two, three in (pictures(0, 1, 2), pictures(10, 11, 12))
        for a, b in ((one, two), (one, three), (two, three))
    ]
    result = lpips_diversity(tmp_path, lpips=lpips)
    assert result.value == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert result.counts == {"inputs": 2, "styles": 3}
    assert result.protocol["kind"] == "diversity"
    assert (result.protocol["size"], result.protocol["output_format"]) == ("36x40", "PNG")
    assert result.protocol["pairs"] == "all of an input"


def test_equal_styles_have_no_diversity(lpips, tmp_path):
    for style in (1, 2, 10):
        write_picture(tmp_path / f"horse_2_style{style:02d}.png", pixels(1))
    result = lpips_diversity(tmp_path, lpips=lpips)
    assert (result.value, result.counts) == (0.0, {"inputs": 1, "styles": 3})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a_0", "a_1", "b"], r"b\.png has no style number"),
        (["a_0", "a_1", "b_0"], r"holds 1 translation\(s\) of b, .* make 2 of each"),
        (["a_0", "b_0"], r"holds 1 translation\(s\) of a, .* make 2 of each"),
        (["a_0", "a_1", "a_2", "b_0", "b_1"], r"2 translation\(s\) of b, .* make 3 of each"),
    ],
)
def test_styles_must_be_told_by_their_names_and_equally_many(lpips, tmp_path, names, message):
    for name in names:
        write_picture(tmp_path / f"{name}.png", pixels(1))
    with pytest.raises(DataError, match=message):
        lpips_diversity(tmp_path, lpips=lpips)


def test_without_weights_the_command_to_get_them_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="i2i weights get alexnet") as caught:
        load_lpips("alex")
    assert caught.value.exit_code == 4


@pytest.fixture
def real(monkeypatch):
    """Use the real weights; skip without them."""
    monkeypatch.setenv("I2I_HOME", str(real_home("alexnet", "vgg16")))


@pytest.mark.slow
@pytest.mark.skipif(EXAMPLES is None, reason="I2I_LPIPS_EXAMPLES names no folder of pictures")
def test_example_pair_of_the_lpips_repository_has_its_published_distances(real):
    lpips = load_lpips("alex")
    ref, p0, p1 = (
        to_tensor(read_picture(Path(str(EXAMPLES)) / f"ex_{name}.png").pixels)[None]
        for name in ("ref", "p0", "p1")
    )
    assert float(lpips.distances(ref, p0)) == pytest.approx(0.722, abs=5e-4)
    assert float(lpips.distances(ref, p1)) == pytest.approx(0.138, abs=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "expected"), [("alex", 0.577882), ("vgg", 0.716363)])
def test_real_weights_give_the_distances_recorded_from_the_package(real, net, expected):
    row = np.arange(64)
    waves = np.sin(row[:, None] / 5.0) + np.cos(row / 7.0)
    first = np.repeat(((waves + 2) * 63).astype(np.uint8)[..., None], 3, axis=2)
    second = first[::-1].copy()
    second[..., 2] = 255 - second[..., 2]
    lpips = load_lpips(net)
    distance = lpips.distances(to_tensor(first)[None], to_tensor(second)[None])
    assert float(distance) == pytest.approx(expected, rel=1e-4)
    assert len(lpips.weights.sha256) == 64


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_gives_the_distance_of_the_cpu(lpips):
    there = Lpips("alex", random_convolutions("alexnet"), device=GPU)
    first, second = pictures(1, 2), pictures(3, 4)
    torch.testing.assert_close(
        there.distances(first, second), lpips.distances(first, second), rtol=1e-4, atol=0
    )
