"""Pictures are written in the best form of each format, whole or not at all."""

import errno
import os
import stat
import zlib
from pathlib import Path

import numpy as np
import pytest

from i2icli.errors import DataError, I2IError
from i2icli.pictures.encode import encode_png16, to_8_bits
from i2icli.pictures.images import read_picture, write_picture


def random(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(1).integers(0, top + 1, shape, dtype=dtype)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_give_back_every_pixel(tmp_path, suffix, channels):
    pixels = random(5, 7, channels)
    write_picture(tmp_path / f"a{suffix}", pixels)
    picture = read_picture(tmp_path / f"a{suffix}", channels=None)
    assert np.array_equal(picture.pixels, pixels)
    assert picture.alpha is None


@pytest.mark.parametrize(
    ("suffix", "name"), [(".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP")]
)
def test_lossy_formats_come_close(tmp_path, suffix, name):
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    pixels = np.stack(
        [np.tile(ramp, (32, 1)), np.tile(ramp[:, None], 32), np.full((32, 32), 90)], 2
    )
    write_picture(tmp_path / f"a{suffix}", pixels.astype(np.uint8))
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.format == name
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 3


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_quality_decides_the_size(tmp_path, suffix):
    for quality in (20, 95):
        write_picture(tmp_path / f"{quality}{suffix}", random(64, 64, 3), quality=quality)
    small, large = ((tmp_path / f"{q}{suffix}").stat().st_size for q in (20, 95))
    assert small < large / 1.5


@pytest.mark.parametrize(
    ("suffix", "channels"), [(".png", 1), (".png", 3), (".tiff", 1), (".tiff", 3), (".webp", 3)]
)
def test_alpha_is_attached_again(tmp_path, suffix, channels):
    pixels, alpha = random(5, 7, channels), random(5, 7)
    write_picture(tmp_path / f"a{suffix}", pixels, alpha=alpha)
    picture = read_picture(tmp_path / f"a{suffix}", channels=None)
    assert np.array_equal(picture.pixels, pixels) or suffix == ".webp"  # whose pixels are lossy
    assert np.array_equal(picture.alpha, alpha)


def test_alpha_is_laid_over_the_matte_where_the_format_has_none(tmp_path):
    for name, matte in (("white", (255, 255, 255)), ("blue", (0, 0, 255))):
        alpha = np.array([[0, 127, 255]], np.uint8)
        write_picture(
            tmp_path / f"{name}.bmp", np.zeros((1, 3, 3), np.uint8), alpha=alpha, matte=matte
        )
    white, blue = (read_picture(tmp_path / f"{name}.bmp") for name in ("white", "blue"))
    assert white.alpha is None
    assert white.pixels[0, :, 0].tolist() == [255, 128, 0]
    assert blue.pixels[0, 1].tolist() == [0, 0, 128]


def test_grey_stays_grey_over_a_grey_matte(tmp_path):
    write_picture(tmp_path / "a.jpg", random(8, 8, 1), alpha=random(8, 8))
    assert read_picture(tmp_path / "a.jpg", channels=None).pixels.shape == (8, 8, 1)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_grey_of_16_bits_gives_back_every_pixel(tmp_path, suffix):
    pixels = random(5, 7, 1, dtype=np.uint16)
    write_picture(tmp_path / f"a{suffix}", pixels)
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}", channels=1).pixels, pixels)


@pytest.mark.parametrize(("channels", "has_alpha"), [(1, True), (3, False), (3, True)])
def test_png_holds_16_bits_of_colour_and_alpha(channels, has_alpha):
    # Unfiltered by hand, since Pillow reads these in 8 bits only.
    pixels = random(4, 5, channels, dtype=np.uint16)
    alpha = random(4, 5, dtype=np.uint16) if has_alpha else None
    content = encode_png16(pixels, alpha)
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start], "big")
    lines = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + length]), np.uint8)
    lines = lines.reshape(4, -1)
    assert (lines[:, 0] == 2).all()
    rows = np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8)
    stored = rows.copy().view(">u2").reshape(4, 5, -1)
    assert np.array_equal(stored[..., :channels], pixels)
    if alpha is not None:
        assert np.array_equal(stored[..., channels], alpha)


@pytest.mark.parametrize(("channels", "has_alpha"), [(1, True), (3, False), (3, True)])
def test_pillow_reads_16_bit_png_files(tmp_path, channels, has_alpha):
    pixels = random(4, 5, channels, dtype=np.uint16)
    alpha = random(4, 5, dtype=np.uint16) if has_alpha else None
    write_picture(tmp_path / "a.png", pixels, alpha=alpha)
    picture = read_picture(tmp_path / "a.png", channels=None)
    assert np.abs(picture.pixels.astype(int) - to_8_bits(pixels)).max() <= 1
    if alpha is not None:
        assert np.abs(picture.alpha.astype(int) - to_8_bits(alpha)).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_16_bits_become_8_where_the_format_has_no_more(tmp_path, suffix):
    write_picture(tmp_path / f"a{suffix}", np.full((8, 8, 1), 257 * 77, np.uint16))
    pixels = read_picture(tmp_path / f"a{suffix}", channels=1).pixels
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 77).max() <= 1


def test_16_bit_colour_in_tiff_becomes_8_bits(tmp_path):
    pixels = random(4, 5, 3, dtype=np.uint16)
    write_picture(tmp_path / "a.tiff", pixels)
    assert np.array_equal(read_picture(tmp_path / "a.tiff").pixels, to_8_bits(pixels))


def test_scaling_to_8_bits_is_rounded_and_undoes_the_scaling_up():
    grey = np.arange(256, dtype=np.uint16)
    assert np.array_equal(to_8_bits(grey * 257), grey)
    assert to_8_bits(np.array([128, 129, 65535], np.uint16)).tolist() == [0, 1, 255]


def test_an_unknown_suffix_names_those_that_work(tmp_path):
    with pytest.raises(DataError, match=r"as \.gif: use one of \.bmp, \.jpeg, \.jpg, \.png"):
        write_picture(tmp_path / "a.gif", random(4, 4, 3))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_beyond_the_formats_size_says_to_use_png(tmp_path):
    with pytest.raises(DataError, match=r"70000 x 1 cannot be stored as JPEG .* use \.png"):
        write_picture(tmp_path / "a.jpg", np.zeros((1, 70000, 1), np.uint8))


def test_missing_folders_are_made(tmp_path):
    write_picture(tmp_path / "x" / "y" / "a.png", random(4, 4, 3))
    assert read_picture(tmp_path / "x" / "y" / "a.png").size == (4, 4)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(_self, _target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(I2IError, match=r"cannot write .*a\.png: No space left on device"):
        write_picture(path, random(4, 4, 3))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    original = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, mode="r", *rest: original(
            Path("/dev/full") if mode == "xb" else self, "wb" if mode == "xb" else mode, *rest
        ),
    )
    with pytest.raises(I2IError, match="No space left on device"):
        write_picture(tmp_path / "a.png", random(64, 64, 3))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_an_error_not_a_traceback(tmp_path):
    (tmp_path / "x").write_text("file")
    with pytest.raises(I2IError, match=r"cannot write .*a\.png"):
        write_picture(tmp_path / "x" / "a.png", random(4, 4, 3))


def test_written_files_have_the_usual_permissions(tmp_path):
    write_picture(tmp_path / "a.png", random(4, 4, 3))
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.png", "plain")}
    assert len(modes) == 1


def test_a_very_long_file_name_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_picture(path, random(4, 4, 3))
    assert read_picture(path).size == (4, 4)
