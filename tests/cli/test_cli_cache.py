"""`i2i cache`: the content of the home, and room made in it."""

import json
import os

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("I2I_HOME", str(folder))
    for name, size in {
        "features/a.npz": 1000,
        "features/b.parts/rows.f32": 300,
        "cache/compiled/ab/kernel.so": 200,
        "cache/trials.json": 20,
        "cache/weights/x.safetensors": 400,
        "datasets/demo/trainA/1.png": 50,
        "weights/vgg16.pth": 5000,
        "zoo/mine/model.safetensors": 70,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    return folder


def files(home):
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def test_list_says_what_there_is_and_how_it_comes_back(home, i2i):
    code, out, _ = i2i("cache", "list")
    assert code == 0
    assert "features" in out
    assert f"all             0.0 MB  in {home}" in out
    assert "pretrained weights (comes back by `i2i weights get NAME`)" in out
    assert "listings" not in out  # there are none
    document = json.loads(i2i("cache", "list", "--json")[1])
    sizes = {row["name"]: row["bytes"] for row in document["holdings"]}
    assert sizes == {
        "features": 1300,
        "compiled": 200,
        "listings": 0,
        "tensors": 400,
        "trials": 20,
        "downloads": 0,
        "datasets": 50,
        "weights": 5000,
        "zoo": 70,
    }
    assert document["bytes"] == sum(sizes.values())


def test_clean_removes_what_comes_back_by_itself_and_leaves_work_in_progress(home, i2i):
    code, out, _ = i2i("cache", "clean", "--json")
    assert code == 0
    parts = home / "features" / "b.parts"
    assert json.loads(out) == {"folder": str(home), "freed": 1620, "left": [str(parts)]}
    kept = ["datasets/demo/trainA/1.png", "weights/vgg16.pth", "zoo/mine/model.safetensors"]
    assert files(home) == sorted([*kept, "features/b.parts/rows.f32"])
    for path in (parts, parts / "rows.f32"):  # nobody has written to it for an hour
        os.utime(path, (1e9, 1e9))
    assert "freed in" in i2i("cache", "clean")[1]
    assert files(home) == kept


def test_clean_removes_what_is_named(home, i2i):
    assert i2i("cache", "clean", "weights", "datasets")[0] == 0
    assert not [name for name in files(home) if name.startswith(("weights", "datasets"))]
    assert "features/a.npz" in files(home)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("feature", "holds nothing called 'feature'; did you mean features?"),
        ("zoo", "what no command brings back: remove it by hand"),
    ],
)
def test_clean_refuses_other_names_before_anything_is_removed(home, i2i, name, words):
    before = files(home)
    code, _, err = i2i("cache", "clean", "features", name)
    assert code == 2
    assert words in err
    assert files(home) == before


def test_a_home_that_is_not_there_holds_nothing(tmp_path, monkeypatch, i2i):
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "none"))
    assert i2i("cache", "list")[0] == 0
    assert "0.0 MB freed" in i2i("cache", "clean")[1]
    assert not (tmp_path / "none").exists()
