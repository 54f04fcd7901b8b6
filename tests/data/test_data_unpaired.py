from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from i2icli.config.sections import DataConfig
from i2icli.data.folders import Domains
from i2icli.data.unpaired import SampleKey, UnpairedSet
from i2icli.errors import DataError
from i2icli.pictures.images import from_tensor, write_picture


def build(folder, a, b, **values):
    """Make a set whose pictures are each of one grey level: index for A, 100 + index for B."""
    lists = []
    for name, count, base in (("a", a, 0), ("b", b, 100)):
        files = [folder / name / f"{index:03}.png" for index in range(count)]
        for index, file in enumerate(files):
            write_picture(file, np.full((12, 12, 3), base + index, np.uint8))
        lists.append(tuple(files))
    config = DataConfig(**{"resize": 10, "crop": 8, **values})
    return UnpairedSet(Domains(*lists), config)


def epoch(dataset, number=1, seed=0, start=0):
    return list(dataset.epoch_keys(seed=seed, epoch=number, jitter=True, start=start))


def test_an_epoch_has_the_length_of_the_larger_domain(tmp_path):
    for a, b in ((3, 7), (7, 3)):
        dataset = build(tmp_path / f"{a}", a, b)
        assert len(dataset) == 7
        assert len(epoch(dataset)) == 7


def test_every_picture_of_a_larger_domain_a_comes_once_an_epoch(tmp_path):
    keys = epoch(build(tmp_path, 9, 4))
    assert sorted(key.picture_a for key in keys) == list(range(9))


def test_a_smaller_domain_a_comes_round_evenly(tmp_path):
    counts = Counter(key.picture_a for key in epoch(build(tmp_path, 3, 7)))
    assert counts == {0: 3, 1: 2, 2: 2}


def test_the_order_changes_with_epoch_and_seed_and_nothing_else(tmp_path):
    dataset = build(tmp_path, 20, 20)
    orders = [
        tuple(key.picture_a for key in epoch(dataset, number, seed))
        for number, seed in ((1, 0), (2, 0), (1, 1))
    ]
    assert len(set(orders)) == 3
    assert epoch(dataset) == epoch(dataset)


def test_partners_are_drawn_uniformly_and_anew(tmp_path):
    dataset = build(tmp_path, 4, 4)
    counts = Counter(
        (key.picture_a, key.picture_b) for number in range(1, 401) for key in epoch(dataset, number)
    )
    assert len(counts) == 16
    assert min(counts.values()) > 65  # 100 expected


def test_ordered_pairing_goes_through_both_lists(tmp_path):
    keys = epoch(build(tmp_path, 3, 5, pairing="ordered"))
    assert [key.picture_a for key in keys] == [0, 1, 2, 0, 1]
    assert [key.picture_b for key in keys] == [0, 1, 2, 3, 4]


def test_an_epoch_can_start_in_its_middle(tmp_path):
    dataset = build(tmp_path, 6, 9)
    assert epoch(dataset, start=4) == epoch(dataset)[4:]


def test_a_sample_holds_the_pictures_of_its_key(tmp_path):
    dataset = build(tmp_path, 4, 4)
    sample = dataset[SampleKey(seed=0, epoch=1, number=0, picture_a=2, picture_b=3)]
    assert (from_tensor(sample.real_a) == 2).all()
    assert (from_tensor(sample.real_b) == 103).all()
    assert sample.real_a.shape == (3, 8, 8)
    assert sample.name_a.endswith("a/002.png")
    assert sample.name_b.endswith("b/003.png")
    assert sample.skipped == ()


def test_crops_of_the_two_domains_are_drawn_apart(tmp_path):
    """The same picture in both domains comes out differently placed."""
    picture = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    write_picture(tmp_path / "p.png", picture)
    config = DataConfig(resize=10, crop=4)
    dataset = UnpairedSet(Domains((tmp_path / "p.png",), (tmp_path / "p.png",)), config)
    samples = [dataset[SampleKey(0, 1, place, 0, 0)] for place in range(20)]
    assert sum(torch.equal(s.real_a, s.real_b) for s in samples) < 5
    assert not torch.equal(samples[0].real_a, samples[1].real_a)


def test_channels_are_those_configured(tmp_path):
    dataset = build(tmp_path, 1, 1, channels_a=1, channels_b=3)
    sample = dataset[epoch(dataset)[0]]
    assert sample.real_a.shape == (1, 8, 8)
    assert sample.real_b.shape == (3, 8, 8)


def test_without_jitter_the_whole_picture_is_the_crop(tmp_path):
    gradient = np.tile(np.arange(0, 240, 20, dtype=np.uint8)[:, None, None], (1, 12, 3))
    write_picture(tmp_path / "p.png", gradient)
    config = DataConfig(resize=12, crop=4, flip=False)
    dataset = UnpairedSet(Domains((tmp_path / "p.png",), (tmp_path / "p.png",)), config)
    whole = dataset[SampleKey(0, 9, 0, 0, 0, jitter=False)]
    cut = dataset[SampleKey(0, 9, 0, 0, 0, jitter=True)]
    spans = [
        (from_tensor(t).max() - from_tensor(t).min()).item() for t in (whole.real_a, cut.real_a)
    ]
    assert spans[0] > 140
    assert spans[1] == 60


def test_an_unreadable_picture_is_replaced_by_the_next_and_reported(tmp_path):
    dataset = build(tmp_path, 4, 4)
    Path(dataset.files["a"][3]).write_bytes(b"broken")
    sample = dataset[SampleKey(0, 1, 0, 3, 1)]
    assert sample.name_a.endswith("a/000.png")
    assert len(sample.skipped) == 1
    assert str(Path(dataset.files["a"][3])) in sample.skipped[0]


def test_an_unreadable_picture_is_an_error_when_configured(tmp_path):
    dataset = build(tmp_path, 4, 4, corrupt="error")
    Path(dataset.files["b"][2]).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"b/002\.png is not a JPEG"):
        dataset[SampleKey(0, 1, 0, 0, 2)]


@pytest.mark.parametrize(("count", "words"), [(3, "3 training pictures"), (12, "10 training")])
def test_too_many_unreadable_pictures_in_a_row_are_an_error(tmp_path, count, words):
    dataset = build(tmp_path, count, 2)
    for file in dataset.files["a"]:
        Path(file).write_bytes(b"broken")
    with pytest.raises(DataError, match=f"{words}.* in a row cannot be read, the last: .*png"):
        dataset[SampleKey(0, 1, 0, 1, 0)]


def test_pictures_that_went_away_are_counted(tmp_path):
    dataset = build(tmp_path, 24, 2)
    for file in dataset.files["a"][:12]:
        Path(file).unlink()
    with pytest.raises(DataError, match=r"; 12 of 24 are not there any more$"):
        dataset[SampleKey(0, 1, 0, 0, 0)]
