"""Registered data sets: what is known of them, and how they come here."""

import re
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from i2icli.datasets.catalogue import CATALOGUE, DataSet, find_data_set
from i2icli.datasets.obtain import obtain
from i2icli.errors import ConfigError, DataError, WeightsError
from i2icli.system.download import Patience

TINY = DataSet("tiny", "red, blue", counts=(2, 1, None, 1))


def picture(value=0):
    stream = BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def make_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, picture(number))
    return path


@pytest.fixture(autouse=True)
def _own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))


@pytest.fixture
def tiny_zip(tmp_path):
    names = ["tiny/trainA/1.png", "tiny/trainA/2.png", "tiny/trainB/1.png", "tiny/testB/1.png"]
    return make_zip(tmp_path / "tiny.zip", names)


def test_an_archive_goes_to_the_home_and_its_counts_are_compared(tiny_zip, tmp_path):
    result = obtain(TINY, archive=tiny_zip)
    assert result.folder == tmp_path / "home/datasets/tiny"
    assert result.counts == {"trainA": 2, "trainB": 1, "testA": 0, "testB": 1}
    assert result.differences == ()
    assert not result.was_there
    assert tiny_zip.exists()


def test_a_set_that_is_here_is_left_as_it_is(tiny_zip):
    folder = obtain(TINY, archive=tiny_zip).folder
    (folder / "trainA" / "1.png").unlink()
    again = obtain(TINY, is_offline=True)
    assert again.was_there
    assert again.differences == ("trainA holds 1 pictures, 2 are registered",)


def test_other_counts_are_said_and_unknown_ones_are_not(tmp_path):
    made = make_zip(tmp_path / "a.zip", ["trainA/1.png", "trainB/1.png", "testA/1.png"])
    result = obtain(TINY, archive=made, folder=tmp_path / "out")
    assert result.differences == (
        "trainA holds 1 pictures, 2 are registered",
        "testB holds 0 pictures, 1 are registered",
    )


def test_an_archive_of_something_else_is_refused(tmp_path):
    made = make_zip(tmp_path / "a.zip", ["photos/1.png", "paintings/1.png"])
    with pytest.raises(DataError, match=r"no pictures in trainA \(at its top: paintings, photos\)"):
        obtain(TINY, archive=made)
    assert not list((tmp_path / "home/datasets").iterdir())


def test_an_archive_of_another_layout_is_arranged(tmp_path):
    names = [f"afhq/{split}/{kind}/1.png" for split in ("train", "val") for kind in ("cat", "dog")]
    result = obtain(CATALOGUE["cat2dog"], archive=make_zip(tmp_path / "a.zip", names))
    assert set(result.counts.values()) == {1}


def test_a_folder_in_use_is_left_alone(tiny_zip, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="is not empty and nothing is overwritten"):
        obtain(TINY, archive=tiny_zip, folder=tmp_path / "out")


def test_offline_names_the_address_and_the_way_out():
    with pytest.raises(WeightsError, match=r"--from FILE\.zip \(from https://.*/horse2zebra\.zip"):
        obtain(CATALOGUE["horse2zebra"], is_offline=True)


def test_a_set_without_an_address_says_how_to_get_it():
    with pytest.raises(WeightsError, match=r"Register at https://www\.cityscapes-dataset\.com"):
        obtain(CATALOGUE["cityscapes"])


def test_a_failed_download_offers_the_archive_option():
    gone = replace(TINY, urls=("http://127.0.0.1:9/tiny.zip",))
    with pytest.raises(WeightsError, match=r"i2i data get tiny --from FILE\.zip"):
        obtain(gone, patience=Patience(attempts=1, pause=0.0, timeout=60.0))


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_registered_sets_are_well_formed(name):
    data_set = CATALOGUE[name]
    assert data_set.name == name
    assert data_set.urls or data_set.instructions
    assert data_set.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", data_set.sha256)
    # What comes over an unencrypted connection must be checked by its sum.
    assert data_set.sha256 or not any(url.startswith("http:") for url in data_set.urls)


def test_horse2zebra_has_the_counts_of_the_papers():
    assert find_data_set("horse2zebra").counts == (1067, 1334, 120, 140)


@pytest.mark.parametrize(
    ("typed", "meant"), [("hors2zebra", "horse2zebra"), ("afhq", "cat2dog"), ("xyz", "--list")]
)
def test_an_unknown_name_gets_a_suggestion(typed, meant):
    with pytest.raises(ConfigError, match=meant):
        find_data_set(typed)
