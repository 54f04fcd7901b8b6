"""The demo set: the truth is what A shows, and the folder is complete, current and shared."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image

from i2icli.datasets.demo import demo_set as demo
from i2icli.datasets.demo.demo_set import DemoPlan, demo_folder, make_demo_set
from i2icli.datasets.demo.render import render_both, render_scene
from i2icli.datasets.demo.scene import draw_scene
from i2icli.errors import ConfigError

SMALL = DemoPlan(size=40, train=3, test=2, seed=5)


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(np.float64) / 255


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "set"
    make_demo_set(folder, SMALL)
    return folder


@pytest.fixture
def built_in(monkeypatch, tmp_path):
    """Make the built-in set tiny, in a home of its own."""
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(demo, "DemoPlan", partial(DemoPlan, size=32, train=1, test=1))
    return tmp_path / "home" / "datasets" / "demo"


def test_set_has_the_standard_layout_with_truth_and_masks(small_set):
    names = {path.name: sorted(p.name for p in path.iterdir()) for path in small_set.glob("t*")}
    assert set(names) == {"trainA", "trainB", "testA", "testB", "testA_truth", "testA_mask"}
    assert names["trainA"] == ["a_0001.png", "a_0002.png", "a_0003.png"]
    assert names["testB"] == ["b_0001.png", "b_0002.png"]
    assert names["testA"] == names["testA_truth"] == names["testA_mask"]


def test_same_seed_gives_the_same_bytes(small_set, tmp_path):
    make_demo_set(tmp_path / "again", SMALL)
    assert contents(tmp_path / "again") == contents(small_set)


def test_every_picture_is_another_scene(small_set, tmp_path):
    make_demo_set(tmp_path / "other", DemoPlan(size=40, train=3, test=2, seed=6))
    scenes = [
        data
        for folder in (small_set, tmp_path / "other")
        for name, data in contents(folder).items()
        if name.split("/")[0] in ("trainA", "trainB", "testA", "testB")
    ]
    assert len(set(scenes)) == len(scenes) == 20


def test_truth_changes_the_animals_and_nothing_else(small_set):
    for path in sorted((small_set / "testA").iterdir()):
        source, truth = pixels(path), pixels(small_set / "testA_truth" / path.name)
        mask = pixels(small_set / "testA_mask" / path.name)
        assert set(np.unique(mask)) == {0.0, 1.0}
        assert 0.05 < mask.mean() < 0.6
        assert np.array_equal(source[mask == 0], truth[mask == 0])
        assert np.abs(source - truth)[mask == 1].mean() > 0.15


@pytest.mark.parametrize("number", range(4))
def test_bands_of_the_truth_are_where_the_plain_coat_shows_them(number):
    both = render_both(draw_scene(np.random.default_rng([9, number])), size=128)
    # What differs from a neighbour four pixels away, where both belong to an animal.
    inside = (both.mask[:, 4:] > 0) & (both.mask[:, :-4] > 0)
    steps = [p.mean(axis=2)[:, 4:] - p.mean(axis=2)[:, :-4] for p in (both.plain, both.striped)]
    assert np.corrcoef(steps[0][inside], steps[1][inside])[0, 1] > 0.7


def test_coats_share_light_tone_and_dark_tone_only_in_place():
    both = render_both(draw_scene(np.random.default_rng([9, 1])), size=128)
    inside = both.mask > 0
    plain, striped = both.plain[inside].mean(axis=1), both.striped[inside].mean(axis=1)
    # Light parts grow lighter and dark parts stay dark: no inverted translation fits as well.
    is_light = striped > 128
    assert (striped - plain)[is_light].mean() > 40
    assert abs((striped - plain)[~is_light]).mean() < 25
    assert plain[is_light].mean() > 1.5 * plain[~is_light].mean()


def test_training_pictures_of_b_are_striped_scenes(small_set):
    scene = draw_scene(np.random.default_rng([SMALL.seed, 1, 0]))
    with Image.open(small_set / "trainB" / "b_0001.png") as image:
        assert np.array_equal(np.asarray(image), render_scene(scene, size=40, coat="striped"))


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="is not empty and nothing is overwritten"):
        make_demo_set(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (DemoPlan(size=8), "--size is 8"),
        (DemoPlan(train=0), "--count 1 or more"),
        (DemoPlan(seed=-1), "--seed is -1"),
    ],
)
def test_impossible_numbers_are_refused(plan, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        make_demo_set(tmp_path / "set", plan)
    assert not list(tmp_path.iterdir())


def test_built_in_set_is_made_once(built_in):
    seen = []
    assert demo_folder(lambda done, total: seen.append((done, total))) == built_in
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert demo_folder(lambda done, total: seen.append((done, total))) == built_in
    assert len(seen) == 4
    assert [path.name for path in built_in.parent.iterdir()] == ["demo"]


def test_built_in_set_of_an_older_version_is_made_anew(built_in):
    demo_folder()
    marker = built_in / demo.MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "version": 0}))
    (built_in / "trainA" / "a_0001.png").unlink()
    demo_folder()
    assert (built_in / "trainA" / "a_0001.png").exists()
    assert json.loads(marker.read_text())["version"] == demo.VERSION
    assert [path.name for path in built_in.parent.iterdir()] == ["demo"]


def test_built_in_set_survives_many_askers_at_once(built_in):
    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(lambda _: demo_folder(), range(6)))
    assert folders == [built_in] * 6
    assert len(contents(built_in)) == 7
    assert [path.name for path in built_in.parent.iterdir()] == ["demo"]


def test_an_interrupted_set_leaves_nothing_behind(built_in):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_folder(stop)
    assert not list(built_in.parent.iterdir())
