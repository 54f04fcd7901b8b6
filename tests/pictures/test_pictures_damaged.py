"""What cannot be read is named; no half picture, no bomb, no traceback."""

import errno
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.images import max_pixels, read_picture, read_size


def noise(side=64):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def picture(tmp_path, request):
    path = tmp_path / f"picture{request.param}"
    noise().save(path)
    return path


def giant_png(path, width, height):
    """Write a PNG of a few bytes whose header promises a huge picture."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    "picture", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif"], indirect=True
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused_and_named(picture, share):
    content = picture.read_bytes()
    picture.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=str(picture)) as caught:
        read_picture(picture)
    assert "i2i data check" in str(caught.value)


@pytest.mark.parametrize("picture", [".png"], indirect=True)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_changed_bit_is_noticed_where_the_format_has_checksums(picture, share):
    content = bytearray(picture.read_bytes())
    content[int(len(content) * share)] ^= 1
    picture.write_bytes(content)
    with pytest.raises(DataError, match=f"{picture} is damaged or incomplete"):
        read_picture(picture)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.jpg", b"this is no picture", "is not a JPEG, PNG, WebP, BMP, TIFF or GIF picture"),
        ("empty.png", b"", r"is empty \(0 bytes\)"),
        ("page.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not a JPEG"),
        ("start.png", b"\x89PNG\r\n\x1a\n", "its beginning is damaged"),
    ],
)
def test_what_is_no_picture_is_refused_and_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} {words}|{name} .*{words}"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, r"x\.png is a folder, not a picture"),
        (
            lambda path: path.symlink_to("gone.png"),
            r"x\.png is a link to gone\.png, which does not",
        ),
        (lambda path: path.symlink_to(path), r"x\.png"),
        (lambda path: None, r"x\.png does not exist"),
    ],
    ids=["folder", "broken link", "link to itself", "missing"],
)
@pytest.mark.parametrize("read", [read_picture, read_size])
def test_a_path_that_leads_to_no_file_says_where(tmp_path, make, words, read):
    make(tmp_path / "x.png")
    with pytest.raises(DataError, match=words):
        read(tmp_path / "x.png")


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    noise().save(tmp_path / "x.png")

    def refuse(self, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*x\.png: Permission denied$"):
        read_picture(tmp_path / "x.png")


def test_a_picture_beyond_memory_is_named(tmp_path, monkeypatch):
    noise().save(tmp_path / "x.png")

    def fail(_self):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(DataError, match=r"x\.png does not fit into memory"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("read", [read_picture, read_size])
@pytest.mark.parametrize("width", [10_000, 60_000])  # Pillow would warn of one, refuse the other
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, monkeypatch, read, width):
    monkeypatch.setenv("I2I_MAX_PIXELS", "90_000_000")
    path = giant_png(tmp_path / "bomb.png", width, 10_000)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} has {width} x 10000 = {width * 10000} pixels, more than the limit of 90000000; "
        f"if it is what it should be, set I2I_MAX_PIXELS={width * 10000}"
    )


def test_pillows_own_limit_does_not_apply_below_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    noise().save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").size == (64, 64)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_the_limit_lets_large_photographs_pass():
    assert max_pixels() >= 16384 * 16384


@pytest.mark.parametrize("value", ["many", "0", "-5", "1.5"])
def test_a_wrong_limit_is_a_fault_of_the_configuration(monkeypatch, value):
    monkeypatch.setenv("I2I_MAX_PIXELS", value)
    with pytest.raises(ConfigError, match=f"I2I_MAX_PIXELS is '{value}'"):
        max_pixels()


def test_many_threads_read_at_once(tmp_path):
    path = tmp_path / "a.png"
    noise().save(path)
    results = []
    limit = Image.MAX_IMAGE_PIXELS

    def read():
        for _ in range(20):
            results.append(read_picture(path).pixels)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert all(np.array_equal(result, results[0]) for result in results)
    assert limit == Image.MAX_IMAGE_PIXELS
