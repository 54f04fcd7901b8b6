import errno
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from streams import stream_of

from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.folders import find_domains
from i2icli.data.pixel_cache import FOLDER, PIXELS
from i2icli.data.training_set import open_training_set
from i2icli.data.unpaired import UnpairedSet
from i2icli.datasets import pixel_cache as pixel_cache_build
from i2icli.datasets.pixel_cache import build_caches
from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.pictures.images import write_picture
from i2icli.training.data import fingerprint

_KINDS = (
    "resize-and-crop",
    "scale-width-and-crop",
    "scale-shorter-and-crop",
    "scale-width",
    "resize",
    "crop",
    "none",
)


@pytest.fixture
def root(tmp_path):
    """Pictures of several shapes, grey and 16-bit ones among them."""
    random = np.random.default_rng(0)
    shapes = ((30, 44, 3), (51, 26, 3), (20, 20, 3), (37, 37, 1))
    for part in ("trainA", "trainB"):
        for number, shape in enumerate(shapes):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            write_picture(tmp_path / "set" / part / "deep" / f"{number}.png", pixels)
        deep = random.integers(0, 65536, (25, 33, 1), dtype=np.uint16)
        write_picture(tmp_path / "set" / part / "16.png", deep)
    return tmp_path / "set"


def settings(root, **values):
    return DataConfig(**{"root": str(root), "resize": 24, "crop": 16, **values})


def open_set(config):
    found = open_training_set("unpaired", find_domains(config), config, LabelsConfig())
    assert isinstance(found, UnpairedSet)
    return found


def crops(dataset, *, jitter=True):
    keys = dataset.epoch_keys(seed=1, epoch=2, jitter=jitter)
    return [crop for key in keys for crop in (dataset[key].real_a, dataset[key].real_b)]


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def forbid_reading(monkeypatch):
    def read(*_, **__):
        raise AssertionError("a file was read")

    monkeypatch.setattr("i2icli.data.unpaired.read_picture", read)


def pixel_files(root):
    return sorted((root / FOLDER).glob(f"*/{PIXELS}"))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("preprocess", _KINDS)
def test_crops_are_those_of_the_files_bit_for_bit(root, preprocess, interpolation, monkeypatch):
    config = settings(
        root, preprocess=preprocess, interpolation=interpolation, jitter_in_decay=False
    )
    wanted = [crops(open_set(config), jitter=jitter) for jitter in (True, False)]
    build_caches(config)
    forbid_reading(monkeypatch)
    dataset = open_set(config)
    for jitter, files in zip((True, False), wanted, strict=True):
        assert_equal(crops(dataset, jitter=jitter), files)
    assert dataset.notes == (f"training pictures come from the cache in {root / FOLDER}",)


@pytest.mark.parametrize("values", [{"direction": "b2a", "channels_a": 1}, {"resize_height": 31}])
def test_swapped_domains_grey_and_odd_sizes_are_kept_too(root, values, monkeypatch):
    config = settings(root, **values)
    wanted = crops(open_set(config))
    build_caches(config)
    forbid_reading(monkeypatch)
    assert_equal(crops(open_set(config)), wanted)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_the_loader_are_the_same(root, workers):
    config = settings(root, batch_size=2)

    def batches():
        with stream_of(open_set(config), workers=workers) as stream:
            return [next(stream).real_b for _ in range(4)]

    before = batches()
    build_caches(config)
    assert_equal(batches(), before)


def test_a_run_finds_the_same_data_with_and_without_a_cache(root):
    config = settings(root)
    before = fingerprint(find_domains(config))
    build_caches(config)
    assert fingerprint(find_domains(config)) == before


def test_a_picture_that_changed_is_read_from_its_file_and_counted(root):
    config = settings(root, pairing="ordered")
    build_caches(config)
    write_picture(root / "trainA/deep/1.png", np.zeros((30, 30, 3), np.uint8))
    dataset = open_set(config)
    assert any("1 of 5 pictures changed since" in note for note in dataset.notes)
    assert any((crop == -1).all() for crop in crops(dataset))
    # One that changes while training is noticed as well.
    write_picture(root / "trainB/deep/2.png", np.full((30, 30, 3), 255, np.uint8))
    assert any((crop == 1).all() for crop in crops(dataset))


def test_a_picture_replaced_at_the_same_size_and_time_is_read_from_its_file(root):
    config = settings(root, pairing="ordered")
    path = root / "trainA/deep/2.png"
    Image.new("RGB", (20, 20), (9, 9, 9)).save(path, compress_level=0)
    before = path.stat()
    build_caches(config)
    Image.new("RGB", (20, 20), (0, 0, 0)).save(path, compress_level=0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    dataset = open_set(config)
    assert any((crop == -1).all() for crop in crops(dataset))
    assert any("1 of 5 pictures changed since" in note for note in dataset.notes)


def test_pictures_that_came_later_are_read_from_their_files(root):
    config = settings(root)
    build_caches(config)
    write_picture(root / "trainA/0.png", np.full((30, 30, 3), 255, np.uint8))
    dataset = open_set(config)
    assert any("1 pictures are not in" in note for note in dataset.notes)
    names = {dataset[key].name_a: dataset[key] for key in keys_of(dataset)}
    assert (names[str(root / "trainA/0.png")].real_a == 1).all()
    os.rename(root / FOLDER, root.parent / "away")
    assert_equal(crops(dataset_without := open_set(config)), crops(dataset))
    assert dataset_without.notes == ()


def keys_of(dataset):
    return list(dataset.epoch_keys(seed=1, epoch=2, jitter=True))


def test_other_settings_read_the_files_and_say_so(root):
    build_caches(settings(root))
    config = settings(root, resize=28)
    (note,) = open_set(config).notes
    assert "there is none of trainA for 28 x 28, bicubic, colour" in note
    assert "`i2i data cache` with the run's preset and settings makes it" in note
    build_caches(config)
    assert len(open_set(config).notes) == len(open_set(settings(root)).notes) == 1


def test_a_cache_of_one_size_serves_the_half_without_jitter_from_files(root):
    config = settings(root, jitter_in_decay=False)
    wanted = crops(open_set(config), jitter=False)
    build_caches(settings(root))
    dataset = open_set(config)
    assert "for 16 x 16" in dataset.notes[1]
    assert_equal(crops(dataset, jitter=False), wanted)


def test_damaged_pixels_are_noticed_and_not_used(root, caplog):
    config = settings(root)
    wanted = crops(open_set(config))
    build_caches(config)
    for file in pixel_files(root):
        content = bytearray(file.read_bytes())
        content[1000] ^= 1
        file.write_bytes(content)
    assert_equal(crops(open_set(config)), wanted)
    assert "is damaged (pixels are not what was written)" in caplog.text


@pytest.mark.parametrize("name", ["pixels.u8", "index.npz", "about.json"])
def test_a_cut_or_missing_part_makes_a_cache_unusable(root, name):
    config = settings(root)
    wanted = crops(open_set(config))
    build_caches(config)
    first, second = sorted((root / FOLDER).glob(f"*/{name}"))
    first.write_bytes(first.read_bytes()[:-7])
    second.unlink()
    dataset = open_set(config)
    assert "is damaged" in dataset.notes[0]
    assert "is missing" in dataset.notes[0]
    assert_equal(crops(dataset), wanted)


def test_a_full_disk_leaves_nothing_and_an_older_cache_stays(root, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pixel_cache_build.np, "savez", full)
    with pytest.raises(I2IError, match=r"No space left on device; make room\. Nothing half-made"):
        build_caches(settings(root))
    assert not (root / FOLDER).exists()
    monkeypatch.undo()
    build_caches(settings(root))
    before = sorted((root / FOLDER).rglob("*"))
    monkeypatch.setattr(pixel_cache_build.np, "savez", full)
    os.utime(root / "trainA/16.png")
    with pytest.raises(I2IError):
        build_caches(settings(root))
    assert sorted((root / FOLDER).rglob("*")) == before


def test_making_it_again_does_nothing_until_a_picture_changes(root):
    config = settings(root)
    assert [one.was_there for one in build_caches(config)] == [False, False]
    assert [one.was_there for one in build_caches(config)] == [True, True]
    os.utime(root / "trainA/16.png", (1, 1))
    assert [one.was_there for one in build_caches(config)] == [False, True]
    assert len(pixel_files(root)) == 2
    assert len(open_set(config).notes) == 1


def test_unreadable_pictures_are_named_and_skipped_as_without_a_cache(root):
    (root / "trainB/deep/0.png").write_bytes(b"x")
    config = settings(root)
    wanted = crops(open_set(config))
    (_, built) = build_caches(config)
    assert built.pictures == 4
    assert "0.png" in built.failed[0]
    assert_equal(crops(open_set(config)), wanted)
    strict = open_set(settings(root, corrupt="error"))
    with pytest.raises(DataError, match=r"0\.png"):
        crops(strict)


def test_the_limit_on_pixels_holds_for_kept_pictures(root, monkeypatch):
    config = settings(root, corrupt="error")
    build_caches(config)
    monkeypatch.setenv("I2I_MAX_PIXELS", "500")
    with pytest.raises(DataError, match="more than the limit of 500"):
        crops(open_set(config))


def test_sizes_drawn_at_random_cannot_be_kept(root):
    with pytest.raises(ConfigError, match="draws the size of every crop anew"):
        build_caches(settings(root, preprocess="random-scale-and-crop"))
    assert not (root / FOLDER).exists()


def test_a_cache_needs_a_root(root):
    plain = DataConfig(domain_a=str(root / "trainA"), domain_b=str(root / "trainB"))
    with pytest.raises(ConfigError, match="holds trainA and trainB"):
        build_caches(plain)


def test_pixels_do_not_travel_to_other_processes(root):
    config = settings(root)
    build_caches(config)
    dataset = open_set(config)
    wanted = crops(dataset)  # which maps them
    packed = pickle.dumps(dataset)
    assert len(packed) < pixel_files(root)[0].stat().st_size
    assert_equal(crops(pickle.loads(packed)), wanted)
