import errno

import pytest
import torch
from torch import nn

from i2icli.errors import I2IError
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.stylegan2 import StyleGAN2Generator
from i2icli.translation import row_maps
from i2icli.translation.row_maps import FileMap, MapStore, MemoryMap
from i2icli.translation.row_ops import Chain, row_ops
from i2icli.translation.tiling import Moments, Room, run_in_bands, tileable

VARIANTS = {
    "cut": {},
    "cyclegan": {"antialias_down": False, "antialias_up": False},
    "mixed": {"antialias_up": False},
    "dropout": {"dropout": True},
    "batch": {"norm": "batch"},
    "none": {"norm": "none"},
    "residual": {"residual": True},
}


def build(blocks=2, **options):
    """Return a generator whose weights are far from zero, so that faults at borders show."""
    torch.manual_seed(0)
    network = ResnetGenerator(width=4, blocks=blocks, **options).eval()
    for weights in network.parameters():
        nn.init.normal_(weights, 0, 0.15)
    return network.requires_grad_(False)


def picture(height, width, *, seed=0):
    torch.manual_seed(seed)
    return torch.rand(3, height, width) * 2 - 1


@pytest.mark.parametrize("bands", [1 << 30, 150_000, 60_000], ids=["one", "some", "many"])
@pytest.mark.parametrize("size", [(16, 16), (64, 48), (100, 36)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_bands_give_what_the_whole_gives(variant, size, bands):
    network, image = build(**VARIANTS[variant]), picture(*size)
    least = 15
    if variant in ("batch", "none"):  # few maps are stored, so bands overlap by much
        bands, least = max(bands, 120_000), 8
    counted = []
    result, _ = run_in_bands(
        network, image, Room(bands, 1 << 30), on_band=lambda: counted.append(1)
    )
    torch.testing.assert_close(result, network(image[None])[0][0], rtol=0, atol=5e-5)
    if size != (16, 16) and bands < 1 << 30:
        assert len(counted) > least  # more than one a stored map


@pytest.mark.parametrize("residual", [False, True])
def test_bands_of_float64_differ_from_the_whole_by_rounding_only(residual):
    network, image = build(residual=residual).double(), picture(52, 40).double()
    result, _ = run_in_bands(network, image, Room(60_000, 1 << 30))
    wanted = network(image[None])[0][0]
    torch.testing.assert_close(result, wanted.float(), rtol=0, atol=1e-7)


def test_maps_on_disk_change_nothing():
    network, image = build(), picture(64, 48)
    in_memory, none = run_in_bands(network, image, Room(150_000, 1 << 30))
    on_disk, spilled = run_in_bands(network, image, Room(150_000, 0))
    assert torch.equal(on_disk, in_memory)
    assert none == 0
    assert spilled > 8 * 64 * 48 * 4


def test_bands_under_autocast_are_as_close_to_the_whole_as_half_precision_is():
    network, image = build(), picture(64, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, _ = run_in_bands(network, image, Room(150_000, 0))
        whole = network(image[None])[0][0].float()
    assert result.dtype == torch.float32
    exact = network(image[None])[0][0]
    assert (result - exact).abs().mean() < 2 * (whole - exact).abs().mean()


def test_a_picture_of_one_band_too_many_is_refused_with_what_it_needs():
    with pytest.raises(I2IError, match=r"needs .* at once, and there are .*--memory"):
        run_in_bands(build(), picture(64, 48), Room(1000, 1 << 30))


def test_generators_with_attention_and_others_cannot_be_done_in_bands():
    assert tileable(build())
    assert not tileable(build(attention="dual"))
    assert not tileable(StyleGAN2Generator(3, 3))
    assert not tileable(None)


def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(I2IError, match="a generator with GELU cannot be translated in tiles"):
        row_ops(nn.GELU())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 2, 5, stride=3, padding=2),
        nn.Conv2d(3, 2, 4, stride=2, padding=1),
        nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1),
        nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1),
        nn.ReflectionPad2d(3),
    ],
    ids=lambda layer: f"{type(layer).__name__}{getattr(layer, 'kernel_size', '')}",
)
@torch.inference_mode()
def test_every_row_of_a_layer_is_that_of_the_whole(layer):
    image = picture(13, 11)
    whole = layer(image[None])
    chain = Chain(MemoryMap(image), row_ops(layer))
    assert chain.shapes[-1] == whole.shape[1:]
    for first in range(whole.shape[2]):
        for last in range(first + 1, whole.shape[2] + 1):
            rows = chain.rows(first, last, torch.device("cpu"))
            torch.testing.assert_close(rows, whole[:, :, first:last])


def test_moments_of_parts_are_those_of_the_whole_far_from_zero():
    torch.manual_seed(0)
    rows = torch.randn(1, 5, 30, 7, dtype=torch.float64) + 1e4
    moments = Moments()
    for part in rows.split([1, 20, 9], dim=2):
        moments.add(part)
    normalised = moments.norm()(rows)
    wanted = nn.functional.instance_norm(rows)
    torch.testing.assert_close(normalised, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_file_gives_back_the_rows_that_were_written(dtype):
    whole = torch.randn(1, 3, 10, 4).to(dtype)
    stored = FileMap((3, 10, 4), dtype)
    for first in (7, 0, 3):
        stored.write(first, whole[:, :, first : first + 4])
    assert torch.equal(stored.read(0, 10), whole)
    assert torch.equal(stored.read(4, 5), whole[:, :, 4:5])
    stored.free()


def test_a_store_keeps_maps_in_memory_as_long_as_there_is_room():
    store = MapStore(in_memory=1000)
    first = store.make((1, 10, 20), torch.float32)
    second = store.make((1, 10, 20), torch.float32)
    assert (type(first), type(second)) == (MemoryMap, FileMap)
    store.free(first)
    store.free(second)
    assert type(store.make((1, 10, 20), torch.float32)) is MemoryMap
    assert store.spilled == 800


def test_a_full_disk_is_named_with_what_to_do(monkeypatch):
    usage = row_maps.shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(row_maps.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(I2IError, match=r"has no room for a feature map of 1 x 10 x 20.*TMPDIR"):
        MapStore(0).make((1, 10, 20), torch.float32)


def test_a_disk_that_fills_up_meanwhile_is_named_too(monkeypatch):
    class Full:
        def seek(self, _place):
            pass

        def write(self, _content):
            raise OSError(errno.ENOSPC, "No space left on device")

    stored = FileMap((1, 4, 4), torch.float32)
    stored.free()
    monkeypatch.setattr(stored, "_file", Full())
    with pytest.raises(I2IError, match="TMPDIR"):
        stored.write(0, torch.zeros(1, 1, 4, 4))
