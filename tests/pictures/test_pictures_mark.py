"""The mark in what is written, and files that do not bear it."""

import io
import zipfile

import numpy as np
import pytest
from picture_folders import write_noise
from PIL import Image

from i2icli.errors import ConfigError
from i2icli.pictures import mark
from i2icli.pictures.encode import UNWRITABLE, WRITABLE, encode_picture, write_labels, write_picture
from i2icli.pictures.images import read_picture
from i2icli.pictures.mark import SOURCE_TYPE, bears_mark, refuse_foreign
from i2icli.pictures.tar_shards import ShardWriter
from i2icli.version import __version__

MARKED = [suffix for suffix in WRITABLE if suffix != ".bmp"]


def noise(channels, dtype, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (12, 10, channels)).astype(dtype)


@pytest.mark.parametrize("suffix", MARKED)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_the_mark_changes_no_pixel(tmp_path, suffix, channels, dtype, has_alpha):
    pixels = noise(channels, dtype)
    alpha = noise(1, dtype, seed=1)[..., 0] if has_alpha else None
    for name in ("plain", "marked"):
        path = tmp_path / f"{name}{suffix}"
        write_picture(path, pixels, alpha=alpha, is_marked=name == "marked")
    plain, marked = (
        read_picture(tmp_path / f"{name}{suffix}", channels=None) for name in ("plain", "marked")
    )
    assert np.array_equal(plain.pixels, marked.pixels)
    assert (plain.alpha is None) == (marked.alpha is None)
    if plain.alpha is not None:
        assert np.array_equal(plain.alpha, marked.alpha)
    assert bears_mark(tmp_path / f"marked{suffix}")
    assert not bears_mark(tmp_path / f"plain{suffix}")


@pytest.mark.parametrize("suffix", MARKED)
def test_other_programs_read_software_and_source_type(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_picture(path, noise(3, np.uint8), is_marked=True)
    with Image.open(path) as image:
        image.load()
        software = image.info.get("Software") or image.getexif()[0x0131]
        packet = image.info.get("xmp") or image.tag_v2[700]
    assert software == f"i2i {__version__}"
    text = packet.decode() if isinstance(packet, bytes) else packet
    assert f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"' in text
    assert SOURCE_TYPE.endswith("/compositeWithTrainedAlgorithmicMedia")


def test_label_maps_keep_their_ids_under_the_mark(tmp_path):
    ids = np.arange(120).reshape(12, 10)
    write_labels(tmp_path / "a.png", ids, [(1, 2, 3)], is_marked=True)
    assert bears_mark(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), ids)


def test_what_cannot_carry_the_mark_counts_as_foreign(tmp_path):
    write_picture(tmp_path / "a.bmp", noise(3, np.uint8), is_marked=True)
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert not any(map(bears_mark, tmp_path.iterdir()))


def test_a_mark_of_any_version_counts_and_another_program_does_not(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(mark, "SOFTWARE", "i2i 12.3.4")
        write_picture(tmp_path / "later.png", noise(3, np.uint8), is_marked=True)
    write_noise(tmp_path / "other.jpg", 8, 8)
    exif = Image.Exif()
    exif[0x0131] = "GIMP 3.0"
    with Image.open(tmp_path / "other.jpg") as image:
        image.save(tmp_path / "other.jpg", exif=exif)
    assert bears_mark(tmp_path / "later.png")
    assert not bears_mark(tmp_path / "other.jpg")


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_tar_shard_is_known_by_its_first_picture(tmp_path, is_marked):
    picture = encode_picture(noise(3, np.uint8), suffix=".png", is_marked=is_marked)
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.add({"0.json": b"{}"})
        writer.add({"1.png": picture})
        writer.finish()
    assert bears_mark(tmp_path / "s.tar") == is_marked


def test_arrays_pages_and_schemas_are_known_by_a_comment(tmp_path):
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2))
    (tmp_path / "foreign.npz").write_bytes(file.getvalue())
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = f"Software: i2i {__version__}".encode()
    (tmp_path / "own.npz").write_bytes(file.getvalue())
    (tmp_path / "own.html").write_text(f'<meta name="generator" content="i2i {__version__}">')
    (tmp_path / "foreign.html").write_text('<meta name="generator" content="Hugo 0.1">')
    (tmp_path / "own.json").write_text(f'{{"$comment": "Software: i2i {__version__}"}}')
    assert {p.name for p in tmp_path.iterdir() if bears_mark(p)} == {
        "own.npz", "own.html", "own.json",
    }  # fmt: skip


def test_a_refusal_names_five_and_the_count(tmp_path):
    for number in range(7):
        write_noise(tmp_path / f"{number}.png", 8, 8)
    write_picture(tmp_path / "own.png", noise(3, np.uint8), is_marked=True)
    with pytest.raises(ConfigError) as caught:
        refuse_foreign([*sorted(tmp_path.iterdir()), tmp_path / "absent.png"])
    message = str(caught.value)
    assert message.startswith("7 files would be replaced that i2i did not make")
    assert str(tmp_path / "4.png") in message
    assert str(tmp_path / "5.png") not in message
    assert "and 2 more" in message
    assert "--overwrite" in message


def test_no_kind_is_both_written_and_refused():
    assert not UNWRITABLE & set(WRITABLE)
