"""Pictures matched by name, read ahead in batches; intervals by resampling."""

import numpy as np
import pytest

from i2icli.errors import DataError
from i2icli.metrics.picture_sets import batch_by_size, load_ahead, match_folders
from i2icli.metrics.results import bootstrap_interval, mean_interval
from i2icli.pictures.images import write_picture

FLAT = np.zeros((4, 4, 3), np.uint8)


def write(folder, *names):
    for name in names:
        write_picture(folder / name, FLAT)
    return folder


def test_suffixes_may_differ_and_subfolders_count(tmp_path):
    first = write(tmp_path / "a", "one.png", "sub/two.png")
    second = write(tmp_path / "b", "sub/two.bmp", "one.tif")
    pairs = match_folders(first, second)
    assert [pair.name for pair in pairs] == ["one", "sub/two"]
    assert [pair.second.name for pair in pairs] == ["one.tif", "two.bmp"]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_picture_without_partner_is_named_whichever_folder_it_is_in(tmp_path, swapped):
    full, short = write(tmp_path / "full", "one.png", "two.png"), write(tmp_path / "c", "one.png")
    folders = (short, full) if swapped else (full, short)
    with pytest.raises(DataError, match=r"1 of 2 pictures in .*full have no partner .*: two \("):
        match_folders(*folders)


def test_other_names_are_shown_beside_those_expected(tmp_path):
    first = write(tmp_path / "a", *(f"{n}.png" for n in range(5)))
    second = write(tmp_path / "b", "0_zebra.png")
    with pytest.raises(DataError, match=r"0, 1, 2, \.\.\. \(names there look like 0_zebra\)"):
        match_folders(first, second)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    first = write(tmp_path / "a", "one.png", "one.bmp")
    with pytest.raises(DataError, match=r"holds both one\.bmp and one\.png"):
        match_folders(first, first)


def test_a_folder_without_pictures_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures in .*empty"):
        match_folders(write(tmp_path / "a", "one.png"), tmp_path / "empty")


def test_batches_hold_one_size_and_every_picture_once():
    sizes = [(64, 32), (32, 32), (64, 32), (64, 32), (32, 64)]
    batches = batch_by_size(sizes, 2)
    assert sorted(place for batch in batches for place in batch) == [0, 1, 2, 3, 4]
    assert all(len({sizes[place] for place in batch}) == 1 for batch in batches)
    assert max(len(batch) for batch in batches) == 2


def test_batches_of_large_pictures_are_small():
    assert [len(batch) for batch in batch_by_size([(512, 512)] * 8, 16)] == [4, 4]
    assert [len(batch) for batch in batch_by_size([(4096, 4096)] * 2, 16)] == [1, 1]


def test_loading_ahead_keeps_the_order_and_gives_on_what_goes_wrong():
    assert list(load_ahead([1, 2, 3], lambda n: n * n)) == [(1, 1), (2, 4), (3, 9)]
    assert list(load_ahead([], lambda n: n)) == []
    results = load_ahead([1, 0], lambda n: 1 / n)
    assert next(results) == (1, 1.0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_interval_of_a_mean_is_that_of_the_normal_law_for_many_pictures():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    interval = mean_interval(values)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_is_the_same_each_time_and_absent_for_one_picture():
    values = np.arange(5.0)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values[:1]) is None


def test_draws_for_which_the_statistic_is_undefined_are_left_out():
    interval = bootstrap_interval(lambda times: 1.0 if times[0] else float("nan"), 2)
    assert (interval.low, interval.high) == (1.0, 1.0)
    assert bootstrap_interval(lambda times: float("nan"), 2) is None
