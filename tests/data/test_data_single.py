from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streams import stream_of

from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.folders import Domains, find_domains
from i2icli.data.loader import steps_per_epoch
from i2icli.data.single import PatchKey, SingleSet
from i2icli.data.training_set import open_training_set
from i2icli.errors import ConfigError, DataError
from i2icli.pictures.images import to_tensor, write_picture

WIDTH, HEIGHT = 64, 48


def place_picture():
    """Return a picture whose red and green say column and row."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([3 * columns, 3 * rows, 0 * rows], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Return a data set of one picture a domain, the second mirrored."""
    write_picture(tmp_path / "trainA/painting.png", place_picture())
    write_picture(tmp_path / "trainB/photo.png", place_picture()[:, ::-1])
    return tmp_path


def config_of(folder=None, **values):
    basis = {"preprocess": "zoom-and-patch", "interpolation": "bilinear", "crop": 16}
    root = None if folder is None else str(folder)
    return DataConfig(root=root, **{**basis, "batch_size": 4, "patches_per_epoch": 24, **values})


def build(folder, **values):
    config = config_of(folder, **values)
    return SingleSet(find_domains(config, "single"), config)


def batches(dataset, *, seed=0, epoch=1):
    keys = list(dataset.epoch_keys(seed=seed, epoch=epoch, jitter=True))
    size = dataset.config.batch_size
    groups = [keys[first : first + size] for first in range(0, len(keys), size)]
    return [dataset.collate([dataset[key] for key in group]) for group in groups]


def zoom_of(crop):
    """Return the zooms of a crop's columns and rows, read off its ramps, whichever way it lies."""
    grey = (crop + 1) * 127.5
    across = (grey[0, :, -5] - grey[0, :, 4]).abs().mean() / (grey.shape[2] - 9)
    down = (grey[1, -5, :] - grey[1, 4, :]).abs().mean() / (grey.shape[1] - 9)
    return 3 / float(across), 3 / float(down)


def test_an_epoch_has_as_many_crops_as_configured(folder):
    dataset = build(folder, patches_per_epoch=26)
    assert len(dataset) == 26
    assert steps_per_epoch(dataset, 4) == 6
    assert sum(1 for _ in dataset.epoch_keys(seed=0, epoch=1, jitter=True)) == 26


def test_crops_have_their_size_range_and_names(folder):
    batch = batches(build(folder))[0]
    assert batch.real_a.shape == batch.real_b.shape == (4, 3, 16, 16)
    assert -1 <= batch.real_a.min() <= batch.real_a.max() <= 1
    assert [Path(name).name for name in (*batch.names_a, *batch.names_b)] == (
        ["painting.png"] * 4 + ["photo.png"] * 4
    )


def test_crops_of_a_batch_share_a_zoom_of_each_side_and_batches_do_not(folder):
    dataset = build(folder, zoom_min=0.5, patches_per_epoch=80)
    seen = []
    for batch in batches(dataset):
        for crops in (batch.real_a, batch.real_b):
            zooms = [zoom_of(crop) for crop in crops]
            for zoom in zooms:
                assert zoom == pytest.approx(zooms[0], rel=0.1)
            seen.append(zooms[0])
    values = np.array(seen)
    assert 0.48 < values.min() < 0.6
    assert 0.9 < values.max() < 1.03
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.4  # the two sides are drawn apart
    assert abs(np.corrcoef(values[::2, 0], values[1::2, 0])[0, 1]) < 0.6  # and the domains


def test_crops_of_a_batch_lie_in_different_cells(folder):
    dataset = build(folder, zoom_min=1.0, flip=False, batch_size=12)
    for batch in batches(dataset):
        corners = {
            (int(c[0, 0, 0] * 127.5 + 128), int(c[1, 0, 0] * 127.5 + 128)) for c in batch.real_a
        }
        assert len(corners) == 12  # 4 x 3 cells of 16 pixels, each once


def test_more_crops_than_cells_use_each_cell_alike(folder):
    dataset = build(folder, zoom_min=1.0, flip=False, batch_size=24)
    crops = batches(dataset)[0].real_a.flatten(1)
    assert len(torch.unique(crops, dim=0)) == 12


def test_a_crop_is_the_released_resize_and_cut(folder):
    dataset = build(folder, flip=False)
    pixels, key = place_picture(), PatchKey(0, 1, 5)
    crop = dataset[key].real_a
    sizes = [(w, h) for w in range(21, WIDTH + 1) for h in range(16, HEIGHT + 1)]
    image = Image.fromarray(pixels)
    for width, height in sizes:
        zoomed = image.resize((width, HEIGHT), Image.Resampling.BILINEAR)
        zoomed = zoomed.resize((width, height), Image.Resampling.BILINEAR)
        whole = to_tensor(np.asarray(zoomed))
        windows = whole.unfold(1, 16, 1).unfold(2, 16, 1)
        if (windows == crop[:, None, None]).all(dim=(0, 3, 4)).any():
            return
    raise AssertionError("the crop is no part of the picture at any size")


def test_half_of_the_crops_are_mirrored(folder):
    crops = torch.cat([batch.real_a for batch in batches(build(folder, patches_per_epoch=200))])
    mirrored = (crops[:, 0, :, -1] < crops[:, 0, :, 0]).all(dim=1).float().mean()
    assert 0.35 < float(mirrored) < 0.65
    upright = torch.cat([batch.real_a for batch in batches(build(folder, flip=False))])
    assert (upright[:, 0, :, -1] > upright[:, 0, :, 0]).all()


def test_a_picture_smaller_than_the_crop_is_enlarged(tmp_path):
    for domain in ("trainA", "trainB"):
        write_picture(tmp_path / domain / "one.png", place_picture()[:12, :20])
    assert batches(build(tmp_path))[0].real_a.shape == (4, 3, 16, 16)


def test_a_key_decides_its_sample_whatever_came_before(folder):
    first, second = build(folder), build(folder)
    keys = list(first.epoch_keys(seed=3, epoch=2, jitter=True))
    there = [first[key].real_b for key in keys]
    back = [second[key].real_b for key in reversed(keys)]
    assert all(torch.equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_crops_change_with_seed_and_epoch(folder):
    dataset = build(folder)
    crops = [batches(dataset, seed=s, epoch=e)[0].real_a for s, e in ((0, 1), (1, 1), (0, 2))]
    assert not torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2])


def test_domains_are_cut_apart(tmp_path):
    for domain in ("trainA", "trainB"):
        write_picture(tmp_path / domain / "one.png", place_picture())
    batch = batches(build(tmp_path))[0]
    assert not torch.equal(batch.real_a, batch.real_b)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers_or_on_where_one_begins(folder, workers):
    dataset = build(folder)
    wanted = [*batches(dataset), *batches(dataset, epoch=2)]
    for start in (0, 5):
        with stream_of(build(folder), start_step=start, workers=workers) as stream:
            for batch in wanted[start:9]:
                loaded = next(stream)
                assert torch.equal(loaded.real_a, batch.real_a)
                assert torch.equal(loaded.real_b, batch.real_b)


def test_pictures_are_decoded_once(folder, monkeypatch):
    from i2icli.data import single

    read, paths = single.read_picture, []
    monkeypatch.setattr(
        single, "read_picture", lambda path, **kw: paths.append(path.name) or read(path, **kw)
    )
    batches(build(folder))
    assert sorted(paths) == ["painting.png", "photo.png"]


def test_direction_swaps_the_pictures(folder):
    sample = build(folder, direction="b2a")[PatchKey(0, 1, 0)]
    assert Path(sample.name_a).name == "photo.png"


def test_more_pictures_than_one_are_refused_with_the_way_out(folder):
    write_picture(folder / "trainB/other.png", place_picture())
    with pytest.raises(
        DataError,
        match=r"domain B has 2 training pictures \(other\.png, photo\.png\), but this method "
        r"trains on one picture of each: .*--set data\.domain_a=PICTURE",
    ):
        build(folder)


def test_two_pictures_can_be_named(folder):
    write_picture(folder / "trainB/other.png", place_picture())
    names = {
        "domain_a": str(folder / "trainA/painting.png"),
        "domain_b": str(folder / "trainB/other.png"),
    }
    config = config_of(**names, test_a=names["domain_a"])
    domains = find_domains(config, "single")
    assert [path.name for path in (*domains.train_a, *domains.train_b, *domains.test_a)] == [
        "painting.png",
        "other.png",
        "painting.png",
    ]
    with pytest.raises(DataError, match="is a file, not a folder"):
        find_domains(config)


def test_an_unreadable_picture_has_no_stand_in(folder):
    (folder / "trainB/photo.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"photo\.png"):
        build(folder)[PatchKey(0, 1, 0)]


def test_kinds_of_data_and_ways_to_crop_must_agree(folder):
    domains = find_domains(config_of(folder), "single")
    config, crops = config_of(folder), DataConfig(root=str(folder))
    assert isinstance(open_training_set("single", domains, config, LabelsConfig()), SingleSet)
    with pytest.raises(ConfigError, match='must be "zoom-and-patch", got "resize-and-crop"'):
        open_training_set("single", domains, crops, LabelsConfig())
    with pytest.raises(ConfigError, match="data.preprocess=resize-and-crop"):
        open_training_set("unpaired", domains, config, LabelsConfig())


def test_one_channel_stays_one_channel(folder):
    path = folder / "trainA/painting.png"
    domains = Domains(train_a=(path,), train_b=(path,))
    dataset = SingleSet(domains, config_of(folder, channels_a=1))
    sample = dataset[PatchKey(0, 1, 0)]
    assert (sample.real_a.shape[0], sample.real_b.shape[0]) == (1, 3)
