import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from echo import SMALL, Echo, noise, save_fresh
from PIL import Image

from i2icli.cli.app import main
from i2icli.errors import ConfigError, I2IError
from i2icli.methods import build_method, configure_run
from i2icli.networks.tiles import cut_tiles
from i2icli.pictures.images import Picture, to_tensor
from i2icli.system import memory as memory_module
from i2icli.system.memory import LiveBytes, in_words, parse_bytes, resident_bytes
from i2icli.system.messages import collect_messages
from i2icli.translation import large as large_module
from i2icli.translation.large import LargePictures, TilesOptions, parse_tiles
from i2icli.translation.pictures import translate_images
from i2icli.translation.pipeline import BatchRunner
from i2icli.translation.scale import AS_IS, Scale, TrainingSize
from i2icli.translation.tiling_fast import _weights, measure_fast, reduced, run_fast


def build(preset="cyclegan", *overrides):
    torch.manual_seed(0)
    method = build_method(configure_run(preset, [*SMALL, *overrides])).eval()
    for weights in method.parameters():
        torch.nn.init.normal_(weights, 0, 0.15)
    return method.requires_grad_(False)


def pictures_of(method, *, scale=AS_IS, **options):
    return LargePictures(
        method,
        "b2a" if "b2a" in method.directions else "a2b",
        precision=torch.float32,
        options=TilesOptions(**options),
        scale=scale,
    )


@pytest.mark.parametrize("size", [(61, 83), (64, 64), (7, 300)])
@pytest.mark.parametrize("bits", [8, 16])
def test_exact_tiles_give_the_translation_of_the_whole(size, bits):
    method, said = build(), collect_messages()
    picture = Picture(noise(*size, bits=bits))
    tiled = pictures_of(method, tiles="exact").translate(picture, "exact")
    (whole,) = translate_images(method, [to_tensor(picture.pixels)[None]], "b2a")
    assert tiled.images.shape == whole.images.shape
    assert (tiled.images - whole.images).abs().max() < 1e-4 < 2 / 255
    assert said == [
        f"a picture ({size[1]} x {size[0]} pixels): it goes in exact tiles, which give what the "
        "whole would give"
    ]


@pytest.mark.parametrize("residual", ["true", "false"])
@pytest.mark.parametrize("tiles", ["exact", "fast"])
def test_tiles_at_a_scale_give_what_the_whole_gives_at_it(residual, tiles):
    norm = "none" if tiles == "fast" else "instance"  # fast tiles are exact without statistics
    method = build(
        "cyclegan", f"method.generator.residual={residual}", f"method.generator.norm={norm}"
    )
    picture, scale = Picture(noise(74, 91)), Scale(factor=1.7)
    tiled = pictures_of(method, tiles=tiles, scale=scale).translate(picture, tiles)
    images = [to_tensor(picture.pixels)[None]]
    (whole,) = translate_images(method, images, "b2a", scale=scale)
    assert tiled.images.shape == whole.images.shape == (1, 3, 74, 91)
    assert (tiled.images - whole.images).abs().max() < 1e-3 < 2 / 255


def test_memory_is_that_of_the_size_that_the_network_works_at():
    allowed = resident_bytes() + (150 << 20)
    picture = Picture(np.zeros((1600, 1600, 3), np.uint8), path=Path("sea.png"))
    options = {"precision": torch.float32, "batch_size": 1}
    scale = Scale(TrainingSize(64))
    runner = BatchRunner(
        build(), "a2b", tiles=TilesOptions("auto", allowed), scale=scale, **options
    )
    said = collect_messages()
    (made,) = runner.translate([picture])
    assert made.images.shape == (1, 3, 1600, 1600)
    assert said == []  # no tiles
    tight = TilesOptions("auto", resident_bytes() + (20 << 20))
    runner = BatchRunner(build(), "a2b", tiles=tight, scale=scale, **options)
    with pytest.raises(I2IError, match=r"too little for sea\.png, 1600 x 1600 pixels"):
        runner.translate([picture])


def test_a_picture_goes_in_tiles_where_the_whole_does_not_fit(monkeypatch):
    large = pictures_of(build(), memory=10 << 30)
    need = large.needed(1)
    monkeypatch.setattr(large_module, "_SURELY", 2 * need)
    free = 1000 * need / 0.8
    monkeypatch.setattr(large_module, "free_bytes", lambda _device: int(free) + 10)
    assert [large.way((1, pixels, 8)) for pixels in (400, 999, 1001)] == ["whole", "whole", "exact"]


def test_what_the_process_holds_counts_in_the_memory_that_is_allowed():
    method = build()
    tight = pictures_of(method, memory=resident_bytes() + (1 << 20))
    assert tight.way((1024, 1024, 8)) == "exact"
    assert pictures_of(method, memory=1 << 50).way((64, 64, 8)) == "whole"
    assert pictures_of(method, memory=1, tiles="off").way((1024, 1024, 8)) == "whole"


def test_the_need_of_a_whole_picture_grows_with_its_pixels_and_channels():
    narrow, wide = (
        pictures_of(build("cyclegan", f"method.generator.width={width}")) for width in (4, 8)
    )
    assert narrow.needed(2000) == pytest.approx(2 * narrow.needed(1000))
    assert 1.5 < wide.needed(1000) / narrow.needed(1000) < 2.1


@pytest.mark.parametrize("tiles", ["exact", "fast"])
def test_tiles_are_refused_for_methods_that_cannot_work_in_them(tiles):
    attentive = build("cyclegan", "method.generator.attention=dual")
    for method in (attentive, Echo()):
        with pytest.raises(ConfigError, match=rf"--tiles {tiles} is for .* residual generator"):
            pictures_of(method, tiles=tiles)


def test_too_large_a_picture_for_a_method_without_tiles_is_refused_if_memory_was_bounded():
    attentive = build("cyclegan", "method.generator.attention=dual")
    bounded = pictures_of(attentive, memory=resident_bytes() + (1 << 20))
    with pytest.raises(I2IError, match=r"2048 x 1024 pixels needs .*cannot work in tiles"):
        bounded.way((1024, 2048, 8))


def test_a_bound_below_the_picture_itself_is_refused():
    picture = Picture(noise(64, 64), path=Path("sea.png"))
    large = pictures_of(build(), memory=1000)
    with pytest.raises(I2IError, match=r"too little for sea.png, 64 x 64 pixels"):
        large.translate(picture, "exact")


def test_where_memory_runs_out_after_all_a_picture_is_done_in_tiles(monkeypatch):
    method, said = build(), collect_messages()
    runner = BatchRunner(method, "a2b", precision=torch.float32, batch_size=2)
    pictures = [Picture(noise(40, 40, seed=seed)) for seed in (0, 1)]
    wanted = translate_images(method, [to_tensor(one.pixels)[None] for one in pictures])
    monkeypatch.setattr(runner, "_try", lambda _batch, _style: None)
    made = runner.translate(pictures)
    assert "going on with 1" in said[0]
    assert all("exact tiles" in sentence for sentence in said[1:])
    for one, whole in zip(made, wanted, strict=True):
        torch.testing.assert_close(one.images, whole.images, rtol=0, atol=1e-4)


def test_weights_of_fast_tiles_add_up_to_one():
    total = torch.zeros(300, 500)
    for tile in cut_tiles(300, 500, side=64, halo=64):
        rows, columns = tile.rows, tile.columns
        part = _weights(rows, 300)[:, None] * _weights(columns, 500)
        total[rows.first : rows.last, columns.first : columns.last] += part
    torch.testing.assert_close(total, torch.ones_like(total))


def test_fast_tiles_are_exact_where_there_is_no_norm_and_they_see_far_enough():
    network = build("cyclegan", "method.generator.norm=none").generator_of("a2b")
    torch.manual_seed(0)
    image = torch.rand(3, 200, 264) * 2 - 1
    result = run_fast(network, image, side=96, pixels=64 * 64)
    torch.testing.assert_close(result, network(image[None])[0][0], rtol=0, atol=1e-5)


def test_fast_tiles_have_no_error_but_that_of_statistics_and_the_measurement_finds_it():
    network = build().generator_of("a2b")
    torch.manual_seed(0)
    image = torch.rand(3, 200, 264) * 2 - 1
    before = network(image[None])[0][0]
    same = run_fast(network, image, side=96, pixels=200 * 264)
    torch.testing.assert_close(same, before, rtol=0, atol=1e-4)
    found = measure_fast(network, image, side=96, pixels=100 * 132)
    assert 0.1 < found.mean < found.largest < 255
    assert found.size == (100, 132)
    assert measure_fast(network, image, side=96, pixels=10**6).largest < 0.05
    assert torch.equal(network(image[None])[0][0], before)  # its norms are its own again


def test_a_reduced_picture_keeps_its_shape_and_enough_pixels():
    image = torch.rand(3, 400, 800)
    assert reduced(image, 20_000).shape == (3, 100, 200)
    assert reduced(image, 10).shape == (3, 64, 64)
    assert reduced(image, 10**6) is image


def test_live_bytes_count_what_is_alive_at_once():
    with LiveBytes() as live:
        values = torch.zeros(1000)
        other = values + 1
        del values
        view = other.view(10, 100)
        view.add_(1)
        last = view * 2
        del other, view, last
    assert live.peak == 8000
    assert live.largest == 4000


def test_memory_is_told_where_the_c_library_cannot_be_asked(monkeypatch):
    def refuse(_):  # as ctypes does on Windows for a library without a name
        raise TypeError("argument of type 'NoneType' is not iterable")

    before = resident_bytes()
    monkeypatch.setattr(memory_module.ctypes, "CDLL", refuse)
    assert resident_bytes() >= before // 2
    monkeypatch.setattr(memory_module.Path, "is_file", lambda _: False)
    assert resident_bytes() > 0
    monkeypatch.setitem(sys.modules, "resource", None)  # as where there is no such module
    assert resident_bytes() == 0


def test_a_bound_ends_the_keeping_of_freed_memory(monkeypatch):
    calls = []
    monkeypatch.setattr(large_module, "return_freed_memory", lambda: calls.append("returned"))
    pictures_of(build())
    assert not calls
    pictures_of(build(), memory=1 << 30)
    assert calls


def test_fast_tiles_that_are_mostly_overlap_say_so():
    assert large_module._advice(256) == ""
    assert "tiles of 100 pixels only" in large_module._advice(100)


def test_fast_tiles_leave_room_for_the_kernels_of_their_libraries():
    method = build()
    held = resident_bytes()
    tight = pictures_of(method, tiles="fast", memory=held + large_module._FAST_LIBRARIES // 2)
    with pytest.raises(I2IError, match="too little for fast tiles.*--tiles exact"):
        tight.translate(Picture(noise(300, 300)), "fast")


def test_amounts_of_memory_are_read_and_said():
    read = [parse_bytes(text) for text in ("4G", "1.5GiB", "800m", "1000", "2 kB")]
    assert read == [4 << 30, 3 << 29, 800 << 20, 1000, 2048]
    assert [in_words(count) for count in (3 << 29, 5 << 20)] == ["1.5 GiB", "5 MiB"]
    for wrong in ("", "much", "-1G", "0", "4X"):
        with pytest.raises(ConfigError, match="is no amount of memory: use 4G"):
            parse_bytes(wrong)
    with pytest.raises(ConfigError, match="--tiles 'some' is not known"):
        parse_tiles("some", None)


def test_the_command_says_that_it_works_in_tiles_and_by_how_much_they_differ(
    tmp_path, monkeypatch, capsys
):
    save_fresh(tmp_path / "last.pt")
    Image.fromarray(noise(300, 310)).save(tmp_path / "in.png")
    monkeypatch.setattr(large_module, "_STATISTICS_PIXELS", 128 * 128)

    def made(tiles):
        words = ["translate", tmp_path / "last.pt", tmp_path / "in.png", tmp_path / f"{tiles}.png"]
        monkeypatch.setattr(
            "sys.argv", ["i2i", *map(str, words), "--tiles", tiles, "--memory", "1T"]
        )
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        pixels = np.asarray(Image.open(tmp_path / f"{tiles}.png")).astype(int)
        return pixels, capsys.readouterr().err

    whole, nothing = made("off")
    exact, announced = made("exact")
    fast, measured = made("fast")
    assert "tiles" not in nothing
    assert "goes in exact tiles" in announced
    assert abs(exact - whole).max() <= 1
    assert "fast tiles differ from the whole picture by" in measured
    assert fast.shape == whole.shape
